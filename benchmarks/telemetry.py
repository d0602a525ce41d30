"""Landing files of any size from a seed: what a few hundred hosts report, broken lines included.

The shape is that of two days of real telemetry (Nezha): a line has about 370 bytes, most are logs, some are
metrics. Alerts are few there, one in two thousand; here they are one in fifty, because alerts are what costs: each
silver row looks back over an hour of its application. Event time passes at a fixed rate, so that twice the events
are twice the hours, and not twice as many events in every lookback.

Event times lie in the past and are part of the seed: the same parameters give the same bytes on any day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2025, 6, 2, tzinfo=UTC)

_HOUR_MS = 3_600_000
_ALERTS_PER_INCIDENT = 120
_INCIDENT_MS = 15 * 60_000
_CHUNK = 100_000

_LOG, _METRIC, _ALERT, _DEPLOYMENT = range(4)
_ALERT_TYPES = ("cpu_high", "memory_high", "error_rate_high", "latency_high", "disk_full", "error_log_burst")
_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")
_CODES = ("TimeoutException", "DBConnectionError", "NullPointerException", "HTTP_502", "OutOfMemoryError", "E1042")
_CHANGES = ("rolling_update", "canary", "config", "rollback")
_VOCABULARY = (
    "order payment request response status user cache miss retry route station train price config token session "
    "queue latency upstream downstream connection pool timeout shard replica commit rollback fetch parse render"
)
_WORDS = _VOCABULARY.split()


@dataclass(frozen=True)
class Profile:
    """What a data set is made of.

    Attributes:
        shares: of logs, metrics, alerts and deployments.
        applications, hosts: hosts are of each application.
        alert_types: how many of them fire.
        events_per_hour: of event time.
        span_hours: event time in all, whatever the number of events; None follows the rate.
        hot_share: of the events that are of one application.
        broken_share: lines that break the contract, malformed ones among them.
        redelivered_share: lines that come a second time, byte for byte.
        late_share: events 15 to 60 minutes behind.
    """

    name: str
    shares: tuple[float, float, float, float] = (0.70, 0.275, 0.02, 0.005)
    applications: int = 100
    hosts: int = 4
    alert_types: int = len(_ALERT_TYPES)
    events_per_hour: int = 83_333
    span_hours: float | None = None
    hot_share: float = 0.0
    broken_share: float = 0.003
    redelivered_share: float = 0.005
    late_share: float = 0.01

    def span(self, count: int) -> timedelta:
        """Event time that so many events take."""
        return timedelta(hours=self.span_hours if self.span_hours is not None else count / self.events_per_hour)


#: An ordinary day: two million events.
MIXED = Profile("mixed")
#: Alerts of 200 fingerprints within an hour, and nothing else; more of them make the storm denser, not longer.
STORM = Profile(
    "storm",
    shares=(0.0, 0.0, 1.0, 0.0),
    applications=20,
    hosts=5,
    alert_types=2,
    span_hours=1,
    broken_share=0.0,
    late_share=0.0,
)
#: Four of five events are of one application; more of them take more hours.
SKEW = Profile("skew", hot_share=0.8)

PROFILES = {profile.name: profile for profile in (MIXED, STORM, SKEW)}


def write_files(
    folder: Path,
    count: int,
    *,
    profile: Profile = MIXED,
    seed: int = 1,
    start: datetime = START,
    lines_per_file: int = 50_000,
    name: str = "events",
) -> list[Path]:
    """Write `count` lines in order of arrival, each file under its final name only when it is whole.

    Args:
        start: the first event; event ids hold it, so that data sets with different starts have no id in common.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = generate(count, profile=profile, seed=seed, start=start)
    paths = []
    for number in range(-(-count // lines_per_file)):
        part = [next(lines) for _ in range(min(lines_per_file, count - number * lines_per_file))]
        target = folder / f"{name}-{number:05d}.jsonl"
        being_written = target.with_name(f".{target.name}")
        being_written.write_text("".join(part), encoding="utf-8")
        paths.append(being_written.rename(target))
    return paths


def generate(count: int, *, profile: Profile = MIXED, seed: int = 1, start: datetime = START) -> Iterator[str]:
    """Exactly `count` lines, newlines included, in order of arrival."""
    rng = np.random.default_rng([seed, count, int(start.timestamp())])
    broken = int(count * profile.broken_share)
    redelivered = int(count * profile.redelivered_share)
    distinct = count - broken - redelivered
    columns = _columns(profile, distinct, rng, start, profile.span(count))
    # Who comes when: each event at its time, some once more a little later, broken lines in between.
    span_ms = max(1, int(profile.span(count) / timedelta(milliseconds=1)))
    again = rng.integers(0, max(1, distinct), redelivered)
    arrival = np.concatenate(
        [columns["arrival"], columns["arrival"][again] + rng.integers(0, 300_000, redelivered), np.zeros(broken, int)]
    )
    arrival[distinct + redelivered :] = rng.integers(0, span_ms, broken)
    source = np.concatenate([np.arange(distinct), again, np.full(broken, -1)])[np.argsort(arrival, kind="stable")]
    messages = _messages(rng)
    prefix = f"{seed:x}{int(start.timestamp() * 1000):x}"
    broken_lines = iter(range(broken))
    for begin in range(0, count, _CHUNK):
        rows = source[begin : begin + _CHUNK]
        real = rows[rows >= 0]
        lines = iter(_lines(real, {key: values[real] for key, values in columns.items()}, prefix, messages))
        for row in rows.tolist():
            yield next(lines) if row >= 0 else _broken_line(next(broken_lines), prefix)


def _columns(
    profile: Profile, count: int, rng: np.random.Generator, start: datetime, span: timedelta
) -> dict[str, np.ndarray[Any, Any]]:
    """One value an event; times in milliseconds since the epoch, `arrival` since `start`."""
    span_ms = max(1, int(span / timedelta(milliseconds=1)))
    kind = rng.choice(4, count, p=profile.shares)
    at = rng.integers(0, span_ms, count)
    application = rng.integers(0, profile.applications, count)
    host = rng.integers(0, profile.hosts, count)
    alert_type = rng.integers(0, profile.alert_types, count)
    is_alert = kind == _ALERT
    # Those that began before count too: a few minutes hold parts of several incidents.
    alerts_each = _ALERTS_PER_INCIDENT * span_ms / (span_ms + _INCIDENT_MS)
    incidents = max(1, round(int(is_alert.sum()) / alerts_each))
    incident = rng.integers(0, incidents, count)
    of_incident = {
        "begin": rng.integers(0, span_ms, incidents),
        "application": rng.integers(0, profile.applications, incidents),
        "host": rng.integers(0, profile.hosts, incidents),
        "type": rng.integers(0, profile.alert_types, incidents),
    }
    trouble = np.zeros(count, bool)
    if profile.span_hours is None:
        # An incident fires from one or two hosts with one or two types, after errors and often a deployment.
        draw = rng.random(count)
        trouble = (kind == _LOG) & (draw < 0.04)
        deployed = (kind == _DEPLOYMENT) & (draw < 0.6)
        tied = is_alert | trouble | deployed
        within = rng.random(count)
        offset = np.where(is_alert, within * _INCIDENT_MS, within * 2 * _INCIDENT_MS - 1.5 * _INCIDENT_MS)
        offset = np.where(deployed, -within * 2.5 * _INCIDENT_MS, offset)
        at = np.where(tied, (of_incident["begin"][incident] + offset).astype(np.int64) % span_ms, at)
        application = np.where(tied, of_incident["application"][incident], application)
        host = np.where(is_alert, (of_incident["host"][incident] + (draw < 0.4)) % profile.hosts, host)
        alert_type = np.where(
            is_alert, (of_incident["type"][incident] + (draw * 10 % 1 < 0.4)) % profile.alert_types, alert_type
        )
    application = np.where(rng.random(count) < profile.hot_share, 0, application)
    late = rng.random(count) < profile.late_share
    behind = np.where(late, rng.integers(15 * 60_000, 60 * 60_000, count), 0)
    return {
        "kind": kind,
        "arrival": at,
        "time": at - behind + int(start.timestamp() * 1000),
        "application": application,
        "host": host,
        "alert_type": alert_type,
        "incident": incident,
        "trouble": trouble,
        "a": rng.random(count),
        "b": rng.random(count),
        "pick": rng.integers(0, 1 << 30, count),
    }


def _lines(
    numbers: np.ndarray[Any, Any], columns: dict[str, np.ndarray[Any, Any]], prefix: str, messages: list[str]
) -> Iterator[str]:
    times = np.datetime_as_string(columns.pop("time").astype("datetime64[ms]"), unit="ms").tolist()
    plain = [columns[key].tolist() for key in ("kind", "application", "host", "alert_type", "incident", "trouble")]
    draws = [columns[key].tolist() for key in ("a", "b", "pick")]
    for number, time, kind, app, host, alert_type, incident, trouble, a, b, pick in zip(
        numbers.tolist(), times, *plain, *draws, strict=True
    ):
        event_id = f"{prefix}{number:08x}"
        about = (
            f'"application_id": "app-{app:03d}-service", '
            f'"host": "app-{app:03d}-service-{app * 7919 % 65521:04x}-{host}", '
            f'"timestamp": "{time}Z", "source": "bench"'
        )
        more = ""
        if pick % 7 == 0:
            more = f', "labels": {{"team": "team-{app % 12}", "zone": "zone-{host % 3}"}}'
        if pick % 53 == 0:
            more += f', "trace_id": "{pick:08x}{number:08x}", "region": "eu-central-{app % 3}"'
        if kind == _LOG:
            level = "ERROR" if trouble else _LEVELS[pick % 64]
            if level in ("ERROR", "FATAL"):
                more += f', "error_code": "{_CODES[(incident if trouble else pick) % len(_CODES)]}"'
            detail = f'"log_level": "{level}", "message": "{messages[pick % len(messages)]} id={pick:08x}"'
            yield f'{{"event_id": "{event_id}", "event_type": "log", {about}, {detail}{more}}}\n'
        elif kind == _METRIC:
            detail = f'"cpu_percent": {a * 120:.4f}, "memory_percent": {b * 100:.4f}'
            if pick % 3:
                detail += (
                    f', "error_rate": {a * b * b:.4f}, "metrics": {{"client_latency_p99_s": {a:.4f}, '
                    f'"server_latency_p99_s": {b:.4f}, "workload_ops": {a * 90:.4f}}}'
                )
            yield f'{{"event_id": "{event_id}", "event_type": "metric", {about}, {detail}{more}}}\n'
        elif kind == _ALERT:
            if incident % 2:
                more += f', "alert_id": "AL-{incident}-{host}-{alert_type}"'
            if pick % 25 == 0:
                more += ', "status": "resolved"'
            detail = (
                f'"alert_type": "{_ALERT_TYPES[alert_type]}", "severity": "{_SEVERITIES[pick % 5]}", '
                f'"current_value": {80 + a * 40:.4f}, "threshold": 80.0, "message": "{messages[pick % len(messages)]}"'
            )
            yield f'{{"event_id": "{event_id}", "event_type": "alert", {about}, {detail}{more}}}\n'
        else:
            detail = (
                f'"deployment_id": "dep-{pick % 99991:05d}", "version": "v{pick % 4}.{pick % 31}.{pick % 7}", '
                f'"change_type": "{_CHANGES[pick % 4]}"'
            )
            yield f'{{"event_id": "{event_id}", "event_type": "deployment", {about}, {detail}{more}}}\n'


_LEVELS = ("FATAL",) + ("ERROR",) + ("WARN",) * 3 + ("warning",) + ("DEBUG",) * 4 + ("INFO",) * 54


def _broken_line(number: int, prefix: str) -> str:
    """One way after the other to break the contract."""
    good = {
        "event_id": f'"{prefix}b{number:x}"',
        "event_type": '"metric"',
        "application_id": '"app-001-service"',
        "timestamp": '"2025-06-02T00:00:00Z"',
        "cpu_percent": "12.5",
    }
    change: dict[str, str | None] = _BROKEN[number % len(_BROKEN)]
    fields = {**good, **change}
    text = "{" + ", ".join(f'"{key}": {value}' for key, value in fields.items() if value is not None) + "}"
    return (text[: len(text) // 2] if not change else text) + "\n"


#: An empty change is a line that was cut off.
_BROKEN: tuple[dict[str, str | None], ...] = (
    {},
    {"event_id": None},
    {"timestamp": '"2025-06-02T00:00:00"'},
    {"timestamp": '"1970-01-01T00:00:00Z"'},
    {"event_type": '"trace"'},
    {"application_id": "[]"},
    {"cpu_percent": "-3"},
    {"cpu_percent": '"high"'},
    {"error_rate": "1.7"},
    {"cpu_percent": None},
    {"event_type": '"log"'},
    {"event_type": '"alert"', "severity": '"HIGH"'},
    {"application_id": '"  "'},
)


def _messages(rng: np.random.Generator) -> list[str]:
    """Texts of about 200 characters, as real logs have them."""
    lengths = rng.integers(8, 44, 400)
    return [" ".join(_WORDS[i] for i in rng.integers(0, len(_WORDS), length)) for length in lengths]
