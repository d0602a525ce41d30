"""Operational telemetry in, trusted incidents out: a Dagster software-defined-asset project."""
