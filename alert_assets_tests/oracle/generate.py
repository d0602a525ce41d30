"""Landing lines that are as awkward as real ones, reproducible from a seed.

A few applications on a few hosts over six hours, so that alerts come in storms and incidents find rich
evidence. On top of that everything that has a rule: ties, window and lookback edges to the microsecond,
redeliveries (byte for byte, or the same content spelled differently), re-fires under one alert_id, late
events, every spelling of a timestamp and, when `dirty`, every kind of line that must not reach bronze.

What the design leaves open is left out, unless asked for: nothing is within a day of the future limit,
no nesting is near its limit, and one (event_id, timestamp) has one content.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPAN = timedelta(hours=6)
BOM = b"\xef\xbb\xbf"

APPLICATIONS = ("payments-api", "orders", "検索-api", "checkout")
HOSTS = ("host-a", "host-a", "host-b", "שרת-1", "ho\u0301st", None, "")
ALERT_TYPES = ("cpu_high", "memory_high", "error_rate_high", "Überlast-😀")
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "ERROR", "ERROR", "FATAL")
# U+FF5E sorts before an emoji by code point and after it by UTF-16 unit.
ERROR_CODES = ("TimeoutException", "DBConnectionError", "～E", "😀E", "E,1", "שגיאה", "", None)
CHANGE_TYPES = ("rolling_update", "canary", "config", None, "")
MESSAGES = (
    "connection reset by peer",
    "אבג دهو \u202eright to left",
    "👩\u200d👩\u200d👧 e\u0301 \ufffd",
    "next\u0085line \u2028 separators \x7f",
    'quotes " and back\\slashes, tabs\tand\nnewlines\r\n',
    "nul \x00 inside",
    "",
    None,
)
UNKNOWN_FIELDS: dict[str, Any] = {
    "region": "eu-central-1",
    "Event_ID": "differs only in case",
    "Severity": 3,
    "tags": [1, "two", None, 0.5, True],
    "nested": {"event_id": "inner", "timestamp": "never", "deep": {"er": [{}]}},
    "trace": None,
    "big": 12345678901234567890,
    "_rescued": "mine",
    "_batch_id": 7,
    "fingerprint": "f" * 64,
    "": "no name",
    "naïve 😀": "\u2029",
}
OFFSETS_MINUTES = (0, 120, -330, 345, 840, -720, 1080, -1080, 1)


def generate_lines(
    seed: int,
    count: int,
    *,
    now: datetime,
    dirty: bool = True,
    conflicts: bool = False,
    future_edges: bool = False,
    window_minutes: int = 5,
    lookback_minutes: int = 60,
    future_skew_minutes: int = 5,
) -> list[bytes]:
    """Make exactly `count` lines, without newlines, roughly in order of arrival.

    Args:
        now: the moment the last events happen; nothing valid is later than two minutes after it.
        dirty: mix in blank, malformed, invalid and future lines (about one in five).
        conflicts: let some events arrive with two contents.
        future_edges: add events exactly at `now` plus the skew and one microsecond after it; only for
            a reader whose clock stands still at `now`.
        window_minutes, lookback_minutes: where the edges are that events are put on.
    """
    rng = random.Random(seed)
    telemetry = _Telemetry(rng, now, timedelta(minutes=window_minutes), timedelta(minutes=lookback_minutes))
    edges = [now + timedelta(minutes=future_skew_minutes), now + timedelta(minutes=future_skew_minutes) + MICROSECOND]
    n_edges = len(edges) if future_edges else 0
    n_dirty = count // 5 if dirty else 0
    n_conflicts = count // 50 if conflicts else 0
    n_repeated = count // 8
    events = telemetry.events(count - n_edges - n_dirty - n_conflicts - n_repeated)

    arrivals = [(_arrival(rng, event.instant), _encode(rng, event)) for event in events]
    for _ in range(n_repeated if events else 0):
        position = rng.randrange(len(events))
        arrived, line = arrivals[position]
        again = line if rng.random() < 0.5 else _encode(rng, events[position])
        arrivals.append((arrived + rng.choice((timedelta(), MINUTE, 90 * MINUTE)), again))
    alerts = [event for event in events if event.record["event_type"] == "alert"]
    for _ in range(n_conflicts if alerts else 0):
        event = _contradict(rng, rng.choice(alerts))
        arrivals.append((_arrival(rng, event.instant), _encode(rng, event)))
    arrivals.extend(
        (now, _encode(rng, telemetry.metric(rng.choice(APPLICATIONS), instant))) for instant in edges[:n_edges]
    )
    arrivals.extend((now - SPAN * rng.random(), _dirty_line(rng, telemetry, position)) for position in range(n_dirty))
    while len(arrivals) < count:  # too few events to repeat or contradict
        arrivals.append((now, _encode(rng, telemetry.log(rng.choice(APPLICATIONS), now))))
    arrivals.sort(key=lambda arrival: arrival[0])
    return [line for _, line in arrivals]


def write_files(lines: list[bytes], folder: Path, rng: random.Random, max_files: int, gzip_share: float) -> list[Path]:
    """Cut the lines at random into 1 to `max_files` landing files, in order; some are empty, some compressed.

    The newline after a file's last line is missing at times. Files appear under their final names only when whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cuts = sorted(rng.randint(0, len(lines)) for _ in range(rng.randint(1, max_files) - 1))
    paths = []
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=False)):
        data = b"".join(line + b"\n" for line in lines[start:end])
        if data and lines[end - 1] and rng.random() < 0.3:
            data = data[:-1]
        compress = rng.random() < gzip_share
        name = f"events-{number:04d}-{rng.getrandbits(32):08x}.jsonl" + (".gz" if compress else "")
        unfinished = folder / f".{name}"
        unfinished.write_bytes(gzip.compress(data, mtime=0) if compress else data)
        paths.append(unfinished.rename(folder / name))
    return paths


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Event:
    instant: datetime
    record: dict[str, Any]  # canonical spelling, without the timestamp; None is an absent field


class _Telemetry:
    """What a few applications report. Every event it makes has an identity of its own."""

    def __init__(self, rng: random.Random, now: datetime, window: timedelta, lookback: timedelta) -> None:
        self.rng = rng
        self.now = now
        self.window = window
        self.lookback = lookback
        self.serial = 0
        self.troubles = [(name, now - SPAN * rng.uniform(0.05, 0.9)) for name in APPLICATIONS for _ in range(3)]

    def events(self, count: int) -> list[_Event]:
        scenes: list[tuple[Callable[[], list[_Event]], int]] = [
            (self._storm, 6),
            (self._edges, 2),
            (self._resolved_only, 2),
            (self._logs, 8),
            (self._metrics, 8),
            (self._deployments, 3),
            (self._tie, 2),
            (self._from_long_ago, 1),
        ]
        made: list[_Event] = []
        while len(made) < count:
            scene = self.rng.choices([scene for scene, _ in scenes], [weight for _, weight in scenes])[0]
            made += self._reuse_ids(scene())
        del made[count:]
        if count >= 500:
            for position in self.rng.sample(range(count), 2):
                made[position].record["message"] = self.rng.choice(("x" * 1_000_000, "é😀" * 40_000))
        return made

    # one event

    def _event(self, event_type: str, application: str, instant: datetime, **known: Any) -> _Event:
        rng = self.rng
        self.serial += 1
        record = {
            "event_id": rng.choice(("evt-", "evt-", "evt-", "EVT-", "～", "😀")) + f"{self.serial:06d}",
            "event_type": event_type,
            "application_id": application,
            "host": rng.choice(HOSTS),
            "source": rng.choice(("prometheus", "datadog", "", None)),
            "labels": rng.choice((None, {}, {"team": rng.choice(("core", "web", "")), "zone": "z😀"}, {"": "no name"})),
            "message": rng.choice(MESSAGES),
            **known,
        }
        if rng.random() < 0.08:
            record.update({name: UNKNOWN_FIELDS[name] for name in rng.sample(sorted(UNKNOWN_FIELDS), 3)})
        return _Event(instant, record)

    def alert(self, application: str, instant: datetime, **known: Any) -> _Event:
        rng = self.rng
        fields: dict[str, Any] = {
            "alert_type": rng.choice(ALERT_TYPES),
            "severity": rng.choice(SEVERITIES),
            "status": rng.choice((None, None, "firing")),
            "alert_id": rng.choice((None, None, None, f"AL-{rng.randint(1, 9)}", "")),
            "current_value": _number(rng),
            "threshold": rng.choice((80, 85.0, 0.005, 99.995, None)),
        }
        if rng.random() < 0.1:  # evidence of another kind that must not be counted as such
            fields.update(
                log_level="ERROR", error_code="NotALog", cpu_percent=1000.5, deployment_id="none", version="0"
            )
        return self._event("alert", application, instant, **{**fields, **known})

    def log(self, application: str, instant: datetime) -> _Event:
        rng = self.rng
        fields: dict[str, Any] = {"log_level": rng.choice(LOG_LEVELS), "error_code": rng.choice(ERROR_CODES)}
        if rng.random() < 0.1:
            fields.update(cpu_percent=2000.25, memory_percent=3000, severity="LOW", status="firing", alert_id="AL-1")
        return self._event("log", application, instant, **fields)

    def metric(self, application: str, instant: datetime) -> _Event:
        rng = self.rng
        cpu, memory = _percent(rng), _percent(rng)
        error_rate = rng.choice((round(rng.random(), 4), 0.125, 0.005, 0, 1, _raw("-0.0"), _raw("1.0"), None))
        more: Any = rng.choice((None, {}, {"p99 ms": 12.5}, {"queue": -3, "é😀": _raw("1E-7")}))
        if cpu is None and memory is None and error_rate is None and not more:
            more = {"uptime": 1}
        return self._event(
            "metric", application, instant, cpu_percent=cpu, memory_percent=memory, error_rate=error_rate, metrics=more
        )

    def deployment(self, application: str, instant: datetime, **known: Any) -> _Event:
        rng = self.rng
        fields = {
            "deployment_id": rng.choice(("dep-", "～", "😀")) + str(rng.randint(1, 999)),
            "version": f"v{rng.randint(1, 3)}.{rng.randint(0, 9)}",
            "change_type": rng.choice(CHANGE_TYPES),
        }
        return self._event("deployment", application, instant, **{**fields, **known})

    # several events that belong together

    def _near_trouble(self) -> tuple[str, datetime]:
        application, centre = self.rng.choice(self.troubles)
        around = centre + self.rng.triangular(-70, 25, 0) * MINUTE
        return application, _coarse(self.rng, min(around, self.now))

    def _boundary(self, instant: datetime) -> datetime:
        """The start of the last window that was over, with the one after it, when `instant` came."""
        return EPOCH + (min(instant, self.now) - EPOCH) // self.window * self.window - 2 * self.window

    def _storm(self) -> list[_Event]:
        """One alert over and over, under one alert_id or many, often resolved in the end or between."""
        rng = self.rng
        application, instant = self._near_trouble()
        start = self._boundary(instant)
        host, alert_type = rng.choice(HOSTS), rng.choice(ALERT_TYPES)
        shared = {"alert_id": f"AL-{rng.randint(1, 40)}"} if rng.random() < 0.4 else {}
        times = [_coarse(rng, start + rng.random() * self.window * 2) for _ in range(rng.randint(2, 9))]
        if rng.random() < 0.4:
            times += rng.choice(([start], [times[0]], [start + self.window, start + self.window - MICROSECOND]))
        firings = [self.alert(application, time, host=host, alert_type=alert_type, **shared) for time in times]
        ends = [max(times) + MINUTE / 4, rng.choice(times), min(times) - MICROSECOND][: rng.choice((0, 1, 2, 3))]
        return firings + [
            self.alert(application, time, host=host, alert_type=alert_type, **{**shared, "status": "resolved"})
            for time in ends
        ]

    def _edges(self) -> list[_Event]:
        """An alert first seen exactly at a window's start, and events on each side of every edge around it."""
        rng = self.rng
        application, instant = self._near_trouble()
        first_seen = self._boundary(instant)
        host, alert_type = rng.choice(HOSTS), rng.choice(ALERT_TYPES)
        alert_times = [first_seen, first_seen - MICROSECOND, first_seen + self.window - MICROSECOND]
        alert_times.append(first_seen + self.window)
        evidence_times = [first_seen + step * MICROSECOND for step in (-1, 0, 1)]
        evidence_times += [first_seen - self.lookback + step * MICROSECOND for step in (-1, 0, 1)]
        make = rng.choice((self.log, self.metric, self.deployment, self.alert))
        return [
            self.alert(application, time, host=host, alert_type=alert_type, status="firing")
            for time in alert_times[: rng.randint(1, 4)]
        ] + [make(application, time) for time in evidence_times]

    def _resolved_only(self) -> list[_Event]:
        application, instant = self._near_trouble()
        host = self.rng.choice(("host-r", None))
        return [
            self.alert(application, instant + step * MINUTE / 3, host=host, status="resolved")
            for step in range(self.rng.choice((1, 1, 2)))
        ]

    def _logs(self) -> list[_Event]:
        application, instant = self._near_trouble()
        return [self.log(application, instant + step * MINUTE / 7) for step in range(self.rng.randint(1, 6))]

    def _metrics(self) -> list[_Event]:
        application, instant = self._near_trouble()
        return [self.metric(application, instant + step * MINUTE / 3) for step in range(self.rng.randint(1, 5))]

    def _deployments(self) -> list[_Event]:
        """One, or one id reported twice at the same moment with two versions."""
        application, instant = self._near_trouble()
        made = [self.deployment(application, instant)]
        if self.rng.random() < 0.2:
            same = {name: made[0].record[name] for name in ("deployment_id", "change_type")}
            made.append(self.deployment(application, instant, version="v9.9", **same))
        return made

    def _tie(self) -> list[_Event]:
        """Events of every type, alerts of two hosts among them, all at one moment."""
        application, instant = self._near_trouble()
        makers = (self.alert, self.alert, self.log, self.metric, self.deployment, self.deployment)
        return [make(application, instant) for make in makers]

    def _from_long_ago(self) -> list[_Event]:
        oldest = datetime(2000, 1, 1, tzinfo=UTC)
        instant = self.rng.choice((oldest, self.now - timedelta(days=3), self.now - timedelta(days=400)))
        make = self.rng.choice((self.log, self.metric, self.alert))
        return [make(self.rng.choice(APPLICATIONS), instant)]

    def _reuse_ids(self, events: list[_Event]) -> list[_Event]:
        """A producer that forgets to count: one event_id at two moments is two events."""
        if len({event.instant for event in events}) == len(events) > 1 and self.rng.random() < 0.1:
            for event in events[1:]:
                event.record["event_id"] = events[0].record["event_id"]
        return events


def _contradict(rng: random.Random, event: _Event) -> _Event:
    """The same event with another content; what a default fingerprint is made of stays as it was."""
    changes: dict[str, Any] = {
        "severity": rng.choice(SEVERITIES),
        "status": rng.choice(("firing", "resolved")),
        "current_value": _number(rng),
        "alert_id": f"AL-{rng.randint(1, 40)}",
    }
    kept = rng.sample(sorted(changes), 2)
    return _Event(event.instant, {**event.record, **{name: changes[name] for name in changes if name not in kept}})


def _number(rng: random.Random) -> Any:
    return rng.choice(
        (
            round(rng.uniform(0, 120), 2),
            round(rng.uniform(0, 120), 4),
            rng.randint(0, 120) + rng.choice((0.125, 0.375, 0.625, 0.875)),
            rng.randint(0, 120) + rng.choice((0.005, 0.015, 0.145, 0.995)),
            rng.randint(-5, 100),
            rng.choice((-0.001, -0.005, 1e-9, 123456789.125, -73.125)),
            rng.choice((_raw("-0.0"), _raw("9.25e1"), _raw("92.50"), _raw("1E+2"), _raw("-0"))),
            None,
        )
    )


def _percent(rng: random.Random) -> Any:
    return rng.choice(
        (
            round(rng.uniform(0, 100), 2),
            round(rng.uniform(0, 100), 4),
            rng.randint(0, 99) + rng.choice((0.125, 0.375, 0.005, 0.995)),
            rng.randint(0, 99) + 0.5,
            rng.choice((0, 100, 250.5, 1600, _raw("-0.0"))),
            None,
            None,
        )
    )


def _coarse(rng: random.Random, instant: datetime) -> datetime:
    """Most producers report whole seconds or milliseconds."""
    step = rng.choice((1_000_000, 1_000_000, 1000, 1))
    return instant.replace(microsecond=instant.microsecond // step * step)


def _arrival(rng: random.Random, instant: datetime) -> datetime:
    return instant + (rng.uniform(10, 240) if rng.random() < 0.1 else rng.random()) * MINUTE


# --- how an event is spelled ------------------------------------------------------------------------------------


def _raw(number: str) -> str:
    """A number in exactly this spelling; `_dump` takes the marks off again."""
    return f"@raw {number}@"


def _dump(record: dict[str, Any], **options: Any) -> str:
    return re.sub(r'"@raw ([^@]*)@"', r"\1", json.dumps(record, **options))


def _spell_time(rng: random.Random, instant: datetime) -> str:
    minutes = rng.choice(OFFSETS_MINUTES)
    local = instant + timedelta(minutes=minutes)
    fraction = f"{local.microsecond:06d}" if local.microsecond else rng.choice(("", "", "0", "000", "0000009"))
    if local.microsecond:
        fraction = rng.choice((fraction, fraction.rstrip("0"), fraction + "000", fraction + "999"))
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    offset = rng.choice(("Z", "Z", "z", "+00:00", "-00:00")) if minutes == 0 else f"{sign}{hours:02d}:{rest:02d}"
    separator = rng.choice(("T", "T", "T", "t", " "))
    return f"{local:%Y-%m-%d}{separator}{local:%H:%M:%S}{'.' if fraction else ''}{fraction}{offset}"


def _any_case(rng: random.Random, text: str) -> str:
    return rng.choice((text, text.lower(), text.upper(), text.title()))


def _spell(rng: random.Random, event: _Event) -> dict[str, Any]:
    record = {**event.record, "timestamp": _spell_time(rng, event.instant)}
    if record.get("log_level") == "WARN":
        record["log_level"] = rng.choice(("WARN", "WARNING"))
    for name in ("severity", "log_level", "status"):
        if record.get(name):
            record[name] = _any_case(rng, record[name])
    names = [name for name in record if record[name] is not None or name in UNKNOWN_FIELDS or rng.random() < 0.5]
    if rng.random() < 0.3:
        rng.shuffle(names)
    return {name: record[name] for name in names}


def _encode(rng: random.Random, event: _Event) -> bytes:
    separators = rng.choice(((",", ":"), (", ", ": "), (" ,\t", "  :\r ")) if rng.random() < 0.3 else ((",", ":"),))
    text = _dump(_spell(rng, event), ensure_ascii=rng.random() < 0.5, separators=separators)
    line = text.encode()
    if rng.random() < 0.1:
        line = rng.choice((line + b"\r", b"  " + line + b"\t", BOM + line))
    return line


# --- lines that must not reach bronze ---------------------------------------------------------------------------

STRING_FIELDS = (
    "event_id",
    "event_type",
    "application_id",
    "timestamp",
    "alert_type",
    "severity",
    "log_level",
    "deployment_id",
    "version",
    "host",
    "source",
    "alert_id",
    "status",
    "error_code",
    "message",
    "change_type",
)
NUMBER_FIELDS = ("current_value", "threshold", "cpu_percent", "memory_percent", "error_rate")
NOT_STRINGS: tuple[Any, ...] = (5, 1.5, True, False, [], {}, ["text"], {"text": "text"})
NOT_NUMBERS: tuple[Any, ...] = (
    "92",
    "",
    "NaN",
    True,
    False,
    [],
    {},
    [1],
    _raw("1e400"),
    _raw("-1e400"),
    _raw("1" + "0" * 400),
)
NOT_GIVEN = (None, "", " ", " \t\r\n")
BAD_VALUES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(STRING_FIELDS, (*NOT_STRINGS, *NOT_GIVEN)),
    **dict.fromkeys(NUMBER_FIELDS, NOT_NUMBERS),
    "labels": ([], "text", 1, True, {"team": 1}, {"team": None}, {"team": ["core"]}, {"a": "b", "c": {}}),
    "metrics": ([], "text", 1, {"a": "1"}, {"a": None}, {"a": True}, {"a": _raw("1e999")}, {"a": 1, "b": [1]}, {}),
}
BAD_VALUES["event_type"] += ("ALERT", "Log", "trace", " alert", "alerts")
BAD_VALUES["severity"] += ("URGENT", "P1", " HIGH", "5")
BAD_VALUES["status"] += ("ok", "firing ", "suppressed")
BAD_VALUES["log_level"] += ("ERR", "NOTICE", "warn ")
BAD_VALUES["cpu_percent"] += (-0.01, -1)
BAD_VALUES["memory_percent"] += (-0.01, -1)
BAD_VALUES["error_rate"] += (-0.01, 1.0001, 15)
BAD_VALUES["timestamp"] += (
    1771063500,
    "yesterday",
    "2026-02-14",
    "2026-02-14T10:05:00",
    "2026-02-14T10:05Z",
    "2026-02-14T10Z",
    "2026-02-14T10:05:00.Z",
    "2026-02-14T10:05:00,5Z",
    "2026-02-14T10:05:00 Z",
    " 2026-02-14T10:05:00Z",
    "2026-02-14T10:05:00Z\n",
    "2026-02-14_10:05:00Z",
    "2026-02-14  10:05:00Z",
    "20260214T100500Z",
    "2026-2-14T10:05:00Z",
    "26-02-14T10:05:00Z",
    "2026-045T10:05:00Z",
    "2026-02-14T10:05:00+1:00",
    "2026-02-14T10:05:00+0100",
    "2026-02-14T10:05:00+01",
    "2026-02-14T10:05:00+01:60",
    "2026-02-14T10:05:00+18:01",
    "2026-02-14T10:05:00-19:00",
    "2026-02-14T10:05:00 Europe/Berlin",
    "2026-02-14T10:05:00+01:00[Europe/Paris]",
    "2026-02-14T24:00:00Z",
    "2026-02-14T10:60:00Z",
    "2016-12-31T23:59:60Z",
    "2026-02-14T10:05:61Z",
    "2026-02-30T10:05:00Z",
    "2025-02-29T10:05:00Z",
    "2026-13-01T10:05:00Z",
    "2026-00-10T10:05:00Z",
    "2026-01-00T10:05:00Z",
    "٢٠٢٦-02-14T10:05:00Z",
    "+2026-02-14T10:05:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+18:00",
    "1999-12-31T23:59:59.999999Z",
    "2000-01-01T00:30:00+01:00",
    "2101-01-01T00:00:00Z",
    "2100-12-31T23:30:00-01:00",
    "9999-12-31T23:59:59-18:00",
    "1999-12-31T23:30:00-01:00",  # the one that is right: 2000 in UTC
)


def _dirty_line(rng: random.Random, telemetry: _Telemetry, position: int) -> bytes:
    """Every kind in turn, so that a few hundred lines have them all."""
    application = rng.choice(APPLICATIONS)
    make = rng.choice((telemetry.alert, telemetry.log, telemetry.metric, telemetry.deployment))
    event = make(application, telemetry.now - rng.randint(1, 300) * MINUTE)
    kind, turn = position % 10, position // 10
    if kind == 0:
        return (b"", b" ", b"\r", b" \t \r", BOM, b"")[turn % 6]
    if kind == 1:
        return _encode(rng, _Event(telemetry.now + rng.choice((1, 2, 400, 5000)) * timedelta(days=1), event.record))
    if kind <= 5:
        plain = _dump({**event.record, "timestamp": _spell_time(rng, event.instant)}, ensure_ascii=kind == 2)
        return ODD_JSON[(turn * 4 + kind - 2) % len(ODD_JSON)](plain)
    return _spoiled(rng, event)


def _spoiled(rng: random.Random, event: _Event) -> bytes:
    """One to three fields taken away or given a value that may be wrong (some are fine, on some types of event)."""
    record = _spell(rng, event)
    names = ["timestamp"] if rng.random() < 0.2 else []  # there are more ways to get this one wrong
    names += rng.sample(sorted(BAD_VALUES), rng.choice((0, 1, 2) if names else (1, 1, 2, 3)))
    for name in dict.fromkeys(names):
        record[name] = rng.choice(BAD_VALUES[name])
        if rng.random() < 0.15:
            del record[name]
    if rng.random() < 0.1:
        record = {name: value for name, value in record.items() if name not in NUMBER_FIELDS and name != "metrics"}
    return _dump(record, ensure_ascii=rng.random() < 0.5).encode()


def _with_field(json_value: str) -> Callable[[str], bytes]:
    """The line with one more field, whose JSON text is wrong."""
    return lambda line: f'{line[:-1]},"extra":{json_value}}}'.encode()


def _with_bytes_in_a_string(data: bytes) -> Callable[[str], bytes]:
    return lambda line: line.encode()[:-1] + b',"extra":"caf' + data + b'"}'


#: Ways to make a line that is not one JSON object out of one that is.
MALFORMED: tuple[Callable[[str], bytes], ...] = (
    lambda line: line.encode()[: len(line) // 2],
    lambda line: line.encode()[:-1],
    lambda line: line.encode()[1:],
    lambda line: line.encode() + b"}",
    lambda line: line.encode() + b",",
    lambda line: line.encode() + b" {}",
    lambda line: line.encode() + line.encode(),
    lambda line: line.encode() + b" trailing text",
    lambda line: line.encode() + b"\x00",
    lambda line: b"[" + line.encode() + b"]",
    lambda line: json.dumps(line).encode(),
    lambda line: BOM + BOM + line.encode(),
    lambda line: b" " + BOM + line.encode(),
    lambda line: json.dumps(json.loads(line), ensure_ascii=True).encode("utf-16"),
    lambda line: line.replace('"', "'").encode(),
    lambda line: f"{line[:-1]},}}".encode(),
    lambda line: f"{line[:-1]},extra:1}}".encode(),
    lambda line: f"// comment\r{line}".encode(),
    lambda line: f"{line[:-1]}/* comment */}}".encode(),
    lambda line: f'{{"event_id":"twice",{line[1:]}'.encode(),
    lambda line: f'{line[:-1]},"event_id":"twice"}}'.encode(),
    lambda line: f'{line[:-1]},"event\\u005fid":"twice"}}'.encode(),
    lambda line: f'{line[:-1]},"extra":1,"extra":1}}'.encode(),
    _with_field('{"inner":{"a":1,"a":2}}'),
    _with_field('[{"a":1,"a":1}]'),
    *map(_with_field, ("NaN", "Infinity", "-Infinity", "[NaN]", "nan", "INF")),
    *map(_with_field, ("01", "-01", "1.", ".5", "+1", "0x1F", "1e", "1_000", "-", "١")),
    *map(_with_field, ("True", "None", "nil", "undefined", "", "[1,]", "{,}", '"open', "[1", "'text'", "[1 2]")),
    *map(_with_field, (r'"\x41"', r'"\u12"', r'"\u00zz"', r'"\'"', '"tab\there"', '"nul\x00here"', '"\x1f"', '"\r"')),
    *map(
        _with_bytes_in_a_string,
        (b"\xe9", b"\xff", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"),
    ),
    *(
        lambda line, text=text: text
        for text in (b"null", b"[]", b'"text"', b"42", b"true", b"{", b"}", b"no json", b"\xff\xfe")
    ),
)

#: Ways to write half a surrogate pair, which is read as U+FFFD.
HALF_PAIRS: tuple[Callable[[str], bytes], ...] = (
    lambda line: f'{line[:-1]},"\\udead":1}}'.encode(),
    *map(_with_field, (r'"\ud800"', r'"\udc00 first"', r'"\ude00\ud83d"', r'"\ud83dx"', r'["\ud800"]')),
)
TOO_DEEP: tuple[Callable[[str], bytes], ...] = (
    *map(_with_field, ("[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000)),
)
ODD_JSON = (*MALFORMED, *HALF_PAIRS, *TOO_DEEP)
