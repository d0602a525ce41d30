"""Operational telemetry that looks real: three incidents in the noise of an ordinary hour.

`events` is the wire format, `scenarios` and `noise` say what happens, `timeline` puts an hour of it in
order, `faults` adds what goes wrong between producer and lake, `landing` writes whole files, and
`runs` plays it all: as a history that has happened, or live.
"""
