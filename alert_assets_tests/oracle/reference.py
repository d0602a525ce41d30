"""What the pipeline must compute, written a second time and as plainly as possible.

The Spark transforms and this module share nothing but the design: no code, no expression, no constant.
A test lands the lines of `generate.py`, lets the pipeline run over them in whatever batches it likes,
and compares its tables with what these functions say about the same lines. Speed is no concern here;
being obviously right is.

Times are aware `datetime`s in UTC, rows are dicts keyed by the column names of the tables. Columns that
depend on how the lines were cut into batches (`_batch_id`, `_ingested_at`, ...) are not in the rows.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

UTC = UTC
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNIT_SEPARATOR = "\x1f"
BOM = b"\xef\xbb\xbf"
MAX_NESTING = 64
MAX_LINE_BYTES = 1_048_576
MAX_FIELD_CHARS = 32_768
MAX_LABELS = 256
BLANK_CHARACTERS = " \t\n\r\v\f"

EVENT_TYPES = ("alert", "log", "metric", "deployment", "dependency")
SEVERITIES = ("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL")  # lowest first: the index is the rank
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
STATUSES = ("firing", "resolved")

ALWAYS_REQUIRED = ("event_id", "event_type", "application_id", "timestamp")
REQUIRED_FOR = {
    "alert": ("alert_type",),
    "log": ("log_level",),
    "metric": (),  # at least one measurement, which is not a matter of one field
    "deployment": ("deployment_id", "version"),
    "dependency": ("depends_on",),
}
MEASUREMENTS = ("cpu_percent", "memory_percent", "error_rate", "metrics")  # `metrics` counts when it is not empty
# A blank text in one of these is no value.
NEVER_BLANK = (
    *("timestamp", "labels", "url", "severity", "status", "log_level", "event_type", "current_value", "threshold"),
    *MEASUREMENTS,
)

#: Words for which another one is stored, and `_adapted` says so.
OTHER_WORDS = {
    "severity": {
        "CRITICAL": "crit page fatal emergency disaster p1",
        "HIGH": "error major p2",
        "MEDIUM": "warning warn minor p3",
        "LOW": "p4",
        "INFO": "none ok informational",
    },
    "status": {"firing": "alerting triggered open active problem", "resolved": "ok recovered closed inactive"},
    "log_level": {
        "ERROR": "err",
        "FATAL": "critical crit panic emerg emergency alert",
        "INFO": "information informational notice",
        "TRACE": "verbose",
    },
    "event_type": {name: name for name in EVENT_TYPES},
}


class Knobs(Protocol):
    """The settings the oracle looks at; the pipeline's own `Settings` has them."""

    @property
    def dedup_fields(self) -> tuple[str, ...]: ...
    @property
    def dedup_window_minutes(self) -> int: ...
    @property
    def correlation_lookback_minutes(self) -> int: ...


@dataclass(frozen=True)
class Event:
    """A line that passed, as bronze holds it: normalised, with the defaults filled in."""

    event_id: str
    event_type: str
    application_id: str
    timestamp: datetime
    host: str | None = None
    source: str | None = None
    labels: dict[str, str] | None = None
    url: str | None = None
    alert_id: str | None = None
    alert_type: str | None = None
    severity: str | None = None
    status: str | None = None
    current_value: float | None = None
    threshold: float | None = None
    cpu_percent: float | None = None
    memory_percent: float | None = None
    error_rate: float | None = None
    metrics: dict[str, float] | None = None
    log_level: str | None = None
    error_code: str | None = None
    message: str | None = None
    deployment_id: str | None = None
    version: str | None = None
    change_type: str | None = None
    depends_on: str | None = None
    depends_on_host: str | None = None
    rescued: dict[str, Any] | None = None  # the `_rescued` column, parsed
    adapted: list[str] | None = None  # the `_adapted` column

    @property
    def identity(self) -> tuple[str, datetime]:
        """The producer's idempotency key: a redelivery carries both unchanged."""
        return self.event_id, self.timestamp

    @property
    def is_firing(self) -> bool:
        return self.event_type == "alert" and self.status == "firing"


@dataclass(frozen=True)
class Quarantined:
    """A line that did not pass: as it came, and every reason why, sorted."""

    raw: bytes
    reasons: list[str]


@dataclass(frozen=True)
class Blank:
    """A line of nothing but whitespace: counted, not kept."""


#: A value as it is stored, whether it was written in another way, and what of it means nothing.
Read = tuple[Any, bool, Any]


class Unfit(ValueError):
    """A line, or the value of one field, breaks a rule."""


# --- one line ---------------------------------------------------------------------------------------------------


def judge(line: bytes, now: datetime, future_skew_minutes: int) -> Event | Quarantined | Blank:
    """Say where one line, without its newline, belongs.

    `now` is the clock that future timestamps are held against; exactly `now` plus the skew still passes.
    """
    if found := re.match(rb'\{"_unmapped":"([a-z][a-z0-9_-]{0,63})"', line):
        return Quarantined(line, [f"unmapped:{found[1].decode()}"])
    if len(line) > MAX_LINE_BYTES:
        return Quarantined(line, ["too_long"])
    body = line.removeprefix(BOM)
    if not body.strip():
        return Blank()
    try:
        record, adapted = _parse_object(body)
    except TooDeep:
        return Quarantined(line, ["too_deep"])
    except ValueError:
        return Quarantined(line, ["malformed_json"])

    given = {name: value for name, value in record.items() if name in READERS and value is not None}
    for name in [name for name in NEVER_BLANK if _is_blank(given.get(name))]:
        del given[name]
        adapted.add(name)
    known_type = _known_type(given.get("event_type"))
    required = ALWAYS_REQUIRED + (REQUIRED_FOR[known_type] if known_type else ())
    needed = required + (MEASUREMENTS if known_type == "metric" else ())

    reasons: set[str] = set()
    stored: dict[str, Any] = {}
    rescued = {name: value for name, value in record.items() if name not in READERS}
    for name in required:
        if name not in given or _is_blank(given[name]):
            reasons.add(f"missing:{name}")
    for name, value in given.items():
        if f"missing:{name}" in reasons:
            continue
        try:
            found, is_changed, left = READERS[name](value)
        except ValueError:
            found, is_changed, left = None, True, value
        if left is not None and name in needed:
            reasons.add(f"invalid:{name}")
            continue
        if name == "timestamp" and found and found > now + timedelta(minutes=future_skew_minutes):
            reasons.add("future:timestamp")
            continue
        if isinstance(found, str) and len(found) > MAX_FIELD_CHARS and name in needed:
            reasons.add(f"too_long:{name}")
            continue
        if name == "labels" and found:
            kept = [label for label in sorted(found) if len(label) <= MAX_FIELD_CHARS][:MAX_LABELS]
            for label in found.keys() - kept:
                left = {**(left or {}), label: value[label]}
                del found[label]
                is_changed = True
        short = _shortened(found)
        stored[name] = short
        if is_changed or short != found:
            adapted.add(name)
        if left is not None:
            rescued[name] = left
    if (
        known_type == "metric"
        and not any(f"invalid:{name}" in reasons for name in MEASUREMENTS)
        and not any(stored.get(name) not in (None, {}) for name in MEASUREMENTS)
    ):
        reasons.add("missing:metrics")
    if reasons:
        return Quarantined(line, sorted(reasons))

    if known_type == "alert":
        if stored.get("status") is None:
            stored["status"] = "firing"
        if stored.get("severity") is None:
            stored["severity"] = "MEDIUM"
            adapted.add("severity")
        stored.setdefault("alert_id", stored["event_id"])
        if stored["alert_id"] is None:
            stored["alert_id"] = stored["event_id"]
    return Event(**stored, rescued=rescued or None, adapted=sorted(adapted) or None)


def _known_type(value: object) -> str | None:
    try:
        return None if value is None else _event_type(value)[0]
    except ValueError:
        return None


def _shortened(value: Any) -> Any:
    """A text, or the texts of labels, no longer than is kept."""
    if isinstance(value, str):
        return value[:MAX_FIELD_CHARS]
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    return value


def judge_all(
    lines: Iterable[bytes], now: datetime, future_skew_minutes: int
) -> tuple[list[Event], list[Quarantined], int]:
    """Sort lines into events, quarantined lines and a number of blank ones, each in the order they came."""
    verdicts = [judge(line, now, future_skew_minutes) for line in lines]
    return (
        [verdict for verdict in verdicts if isinstance(verdict, Event)],
        [verdict for verdict in verdicts if isinstance(verdict, Quarantined)],
        sum(isinstance(verdict, Blank) for verdict in verdicts),
    )


def read_lines(paths: Iterable[Path]) -> list[bytes]:
    """The lines of landing files. Only a newline ends a line; the last one may lack it."""
    lines: list[bytes] = []
    for path in paths:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        pieces = data.split(b"\n")
        lines += pieces if pieces[-1] else pieces[:-1]
    return lines


class TooDeep(Unfit):
    """A line is nested too deeply."""


class JsonNumber(float):
    """A number of a line, and how it was spelled there."""

    text: str


def _parse_object(body: bytes) -> tuple[dict[str, Any], set[str]]:
    """One JSON object, and the names of its members that had half a surrogate pair, now U+FFFD.

    By the letter of RFC 8259; ValueError for everything Python lets pass.
    """
    text = body.decode("utf-8")
    if _nesting(text) > MAX_NESTING:
        raise TooDeep("nested too deeply")
    record = json.loads(
        text,
        object_pairs_hook=_without_duplicates,
        parse_constant=_no_constant,
        parse_int=_parse_number,
        parse_float=_parse_number,
    )
    if not isinstance(record, dict):
        raise Unfit("not an object")
    mended = {_mended(name): _mended(value) for name, value in record.items()}
    if len(mended) != len(record):
        raise Unfit("duplicate key")
    changed = {_mended(name) for name, value in record.items() if _has_half_a_pair(name) or _has_half_a_pair(value)}
    return mended, changed


def _nesting(text: str) -> int:
    depth = deepest = 0
    for token in re.finditer(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', text, re.DOTALL):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise Unfit("duplicate key")
    return record


def _no_constant(name: str) -> float:
    raise Unfit(f"{name} is not JSON")


def _parse_number(text: str) -> JsonNumber:
    number = JsonNumber(text)
    number.text = text
    return number


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if 0xD800 <= ord(character) <= 0xDFFF else character for character in value)
    if isinstance(value, dict):
        return _without_duplicates([(_mended(name), _mended(item)) for name, item in value.items()])
    return [_mended(item) for item in value] if isinstance(value, list) else value


def _has_half_a_pair(value: Any) -> bool:
    if isinstance(value, str):
        return any(0xD800 <= ord(character) <= 0xDFFF for character in value)
    if isinstance(value, dict):
        return any(_has_half_a_pair(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(map(_has_half_a_pair, value))


# --- one field --------------------------------------------------------------------------------------------------


# A reader gives the value as it is stored, whether that is another than was written, and what of it means nothing.


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip(BLANK_CHARACTERS)


def _spelling(value: object) -> str:
    """What a producer wrote, as text: numbers as they were spelled."""
    if isinstance(value, JsonNumber):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    raise Unfit("not a text")


def _message(value: object) -> Read:
    return _spelling(value), not isinstance(value, str), None


def _string(value: object) -> Read:
    text = _spelling(value).strip(BLANK_CHARACTERS)
    return text, text != value, None


def _url(value: object) -> Read:
    text, is_changed, _ = _string(value)
    if not re.match(r"https?://[^/ ]", text):
        raise Unfit("not http")
    return text, is_changed, None


def _double(value: object) -> Read:
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value.strip(BLANK_CHARACTERS)):
            raise Unfit("not a number")
        number = float(value)
    elif isinstance(value, JsonNumber):
        number = float(value)
    else:
        raise Unfit("not a number")
    if not math.isfinite(number):
        raise Unfit("not finite")
    return number + 0.0, isinstance(value, str), None  # makes -0.0 into 0.0


def _double_between(low: float, high: float) -> Callable[[object], Read]:
    def read(value: object) -> Read:
        number, is_changed, _ = _double(value)
        if not low <= number <= high:
            raise Unfit("out of range")
        return number, is_changed, None

    return read


def _map_of(read: Callable[[object], Read]) -> Callable[[object], Read]:
    def read_map(value: object) -> Read:
        if value == []:
            return {}, True, None
        if not isinstance(value, dict):
            raise Unfit("not an object")
        found, left, is_changed = {}, {}, False
        for name, item in value.items():
            if item is None:
                is_changed = True
                continue
            try:
                found[name], is_other, _ = read(item)
                is_changed = is_changed or is_other
            except Unfit:
                left[name] = item
        return found, is_changed or bool(left), left or None

    return read_map


def _one_of(field: str, allowed: Mapping[str, str]) -> Callable[[object], Read]:
    """Any case of the keys, stored as their values. Case is ASCII case: a dotless i is not an I."""
    others = {other.upper(): word for word, words in OTHER_WORDS[field].items() for other in words.split()}

    def read(value: object) -> Read:
        text, is_changed, _ = _string(value)
        if text.isascii() and text.upper() in allowed:
            return allowed[text.upper()], is_changed, None
        if text.isascii() and text.upper() in others:
            return others[text.upper()], True, None
        raise Unfit("not one of the allowed values")

    return read


def _event_type(value: object) -> Read:
    text, is_changed, _ = _string(value)
    if text.isascii() and text.lower() in EVENT_TYPES:
        return text.lower(), is_changed or text != text.lower(), None
    raise Unfit("not an event type")


TIMESTAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>\d{2}):(?P<minutes>\d{2}))",
    re.ASCII,
)


def _timestamp(value: object) -> Read:
    text, is_changed, _ = _string(value)
    if isinstance(value, bool):
        raise Unfit("not a time")
    match = TIMESTAMP.fullmatch(text)
    if match is None:
        return _since_epoch(text), True, None
    return _date_time(match), is_changed, None


def _since_epoch(text: str) -> datetime:
    """A number of seconds, or of thousandths, millionths or billionths, whichever makes a year that is allowed."""
    if not re.fullmatch(r"[0-9]{9,19}(\.[0-9]{1,30})?|[0-9](\.[0-9]{1,30})?[eE]\+?[0-9]{1,2}", text):
        raise Unfit("not a time")
    for unit in (1, 1_000, 1_000_000, 1_000_000_000):
        microseconds = math.floor(Fraction(text) / unit * 1_000_000)
        if 946_684_800 * 10**6 <= microseconds < 4_133_980_800 * 10**6:
            return EPOCH + timedelta(microseconds=microseconds)
    raise Unfit("out of range")


def _date_time(match: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (int(match[position]) for position in range(1, 7))
    microsecond = int(((match["fraction"] or "") + "000000")[:6])
    local = datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
    offset = timedelta()
    if match["sign"]:
        offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"]))
        if int(match["minutes"]) > 59 or offset > timedelta(hours=18):
            raise Unfit("no such offset")
    try:
        instant = local + offset if match["sign"] == "-" else local - offset
    except OverflowError:
        raise Unfit("out of range") from None
    if not 2000 <= instant.year <= 2100:
        raise Unfit("out of range")
    return instant


READERS: dict[str, Callable[[Any], Read]] = {
    "event_id": _string,
    "event_type": _event_type,
    "application_id": _string,
    "host": _string,
    "timestamp": _timestamp,
    "source": _string,
    "labels": _map_of(_string),
    "url": _url,
    "alert_id": _string,
    "alert_type": _string,
    "severity": _one_of("severity", {severity: severity for severity in SEVERITIES}),
    "status": _one_of("status", {status.upper(): status for status in STATUSES}),
    "current_value": _double,
    "threshold": _double,
    "cpu_percent": _double_between(0, math.inf),
    "memory_percent": _double_between(0, math.inf),
    "error_rate": _double_between(0, 1),
    "metrics": _map_of(_double),
    "log_level": _one_of("log_level", {**{level: level for level in LOG_LEVELS}, "WARNING": "WARN"}),
    "error_code": _string,
    "message": _message,
    "deployment_id": _string,
    "version": _string,
    "change_type": _string,
    "depends_on": _string,
    "depends_on_host": _string,
}
assert {*READERS, "rescued", "adapted"} == {field.name for field in fields(Event)}


def late_by_seconds(
    timestamp: datetime, highest_before_batch: datetime | None, watermark_delay_minutes: int
) -> float | None:
    """Seconds by which an event is older than bronze's highest event time minus the watermark; None when it is not."""
    if highest_before_batch is None:
        return None
    behind = highest_before_batch - timedelta(minutes=watermark_delay_minutes) - timestamp
    return behind.total_seconds() if behind > timedelta() else None


# --- silver -----------------------------------------------------------------------------------------------------

SilverKey = tuple[str, datetime]
Row = dict[str, Any]


def fingerprint(event: Event, dedup_fields: Iterable[str]) -> str:
    def text(name: str) -> str:
        if name.startswith("labels."):
            return (event.labels or {}).get(name[len("labels.") :], "")
        value = getattr(event, name)
        return "" if value is None else value

    return hashlib.sha256(UNIT_SEPARATOR.join(map(text, dedup_fields)).encode()).hexdigest()


def window_start(timestamp: datetime, window_minutes: int) -> datetime:
    width = timedelta(minutes=window_minutes)
    return EPOCH + (timestamp - EPOCH) // width * width


def silver(events: Iterable[Event], settings: Knobs) -> dict[SilverKey, Row]:
    """The rows of silver_alerts for every delivery in bronze, repeated ones included.

    Where one event came with two contents, one of them is taken; `silver_choices` has what else is right.
    """
    return {key: next(rows) for key, rows in _silver_groups(events, settings)}


def silver_choices(events: Iterable[Event], settings: Knobs) -> dict[SilverKey, list[Row]]:
    """Every row that is right for each key: more than one only where one event came with two contents.

    The design leaves open which content wins, only that the choice does not depend on the order of arrival.
    """
    choices: dict[SilverKey, list[Row]] = {}
    for key, rows in _silver_groups(events, settings):
        choices[key] = []
        for row in rows:
            if row not in choices[key]:
                choices[key].append(row)
    return choices


def _silver_groups(events: Iterable[Event], settings: Knobs) -> Iterator[tuple[SilverKey, Iterator[Row]]]:
    groups: defaultdict[SilverKey, list[Event]] = defaultdict(list)
    for event in events:
        if event.event_type == "alert":
            start = window_start(event.timestamp, settings.dedup_window_minutes)
            groups[fingerprint(event, settings.dedup_fields), start].append(event)
    for key, deliveries in groups.items():
        yield key, _silver_rows(key, deliveries, settings.dedup_window_minutes)


def _silver_rows(key: SilverKey, deliveries: list[Event], window_minutes: int) -> Iterator[Row]:
    contents = _contents(deliveries)
    for chosen in itertools.product(*contents):
        yield {
            "fingerprint": key[0],
            "window_start": key[1],
            "window_end": key[1] + timedelta(minutes=window_minutes),
            **_summary_of_alerts(sorted(chosen, key=_by_time_then_id)),
            "duplicate_count": len(deliveries) - len(chosen),
        }


def _contents(deliveries: Iterable[Event]) -> list[list[Event]]:
    """For each event its contents, in a fixed order: one, unless a producer broke the idempotency key."""
    contents: defaultdict[tuple[str, datetime], dict[str, Event]] = defaultdict(dict)
    for event in deliveries:
        contents[event.identity][json.dumps(asdict(event), sort_keys=True, default=str)] = event
    return [[found[text] for text in sorted(found)] for _, found in sorted(contents.items())]


def _by_time_then_id(event: Event) -> tuple[datetime, str]:
    return event.timestamp, event.event_id


def _summary_of_alerts(alerts: list[Event]) -> Row:
    """What one window says about its distinct alerts, which come ordered by (timestamp, event_id)."""
    firings = [alert for alert in alerts if alert.is_firing]
    resolutions = [alert for alert in alerts if not alert.is_firing]
    named_by = firings[0] if firings else alerts[0]
    first = firings[0] if firings else None
    newest = firings[-1] if firings else resolutions[-1]
    severities = [alert.severity for alert in firings or resolutions if alert.severity is not None]
    is_over = resolutions and (not firings or resolutions[-1].timestamp >= firings[-1].timestamp)
    values = [alert.current_value for alert in firings if alert.current_value is not None]
    return {
        "application_id": named_by.application_id,
        "host": named_by.host,
        "alert_type": named_by.alert_type,
        "severity": max(severities, key=SEVERITIES.index, default="MEDIUM"),
        "alert_id": first.alert_id if first else None,
        "current_value": first.current_value if first else None,
        "threshold": first.threshold if first else None,
        "max_value": max(values, default=None),
        "first_seen_timestamp": first.timestamp if first else None,
        "last_seen_timestamp": firings[-1].timestamp if firings else None,
        "alert_count": len(firings),
        "suppressed_count": max(len(firings) - 1, 0),
        "resolved_at": resolutions[-1].timestamp if is_over else None,
        "source": newest.source,
        "labels": newest.labels,
        "message": newest.message,
        "url": newest.url,
    }


# --- gold -------------------------------------------------------------------------------------------------------

GoldKey = tuple[str, datetime]


def gold(
    events: Iterable[Event], silver_rows: Mapping[SilverKey, Row] | Iterable[Row], settings: Knobs
) -> dict[GoldKey, Row]:
    """The rows of gold_incidents for silver's rows and every delivery in bronze.

    A row holds all of silver's columns besides its own. Empty evidence is an empty list, an empty dict, or a
    metric summary of four Nones.
    """
    lookback = timedelta(minutes=settings.correlation_lookback_minutes)
    by_application: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_application[event.application_id].append(event)
    history = {
        name: sorted((contents[0] for contents in _contents(deliveries)), key=_by_time_then_id)
        for name, deliveries in by_application.items()
    }

    incidents: dict[GoldKey, Row] = {}
    for alert in silver_rows.values() if isinstance(silver_rows, Mapping) else silver_rows:
        if alert["alert_count"] == 0:
            continue
        first_seen = alert["first_seen_timestamp"]
        known = history.get(alert["application_id"], [])
        times = [event.timestamp for event in known]
        evidence = known[bisect_left(times, first_seen - lookback) : bisect_right(times, first_seen)]
        row = {
            **alert,
            "incident_id": incident_id(alert["fingerprint"], first_seen),
            "alert_timestamp": first_seen,
            "correlated_deployments": _deployments(evidence),
            "error_summary": _error_summary(evidence),
            "metric_summary": _metric_summary(evidence),
            "top_messages": _top_messages(evidence),
            "prior_alert_count": sum(event.is_firing and event.alert_id != alert["alert_id"] for event in evidence),
            "other_alert_count": sum(
                event.is_firing and fingerprint(event, settings.dedup_fields) != alert["fingerprint"]
                for event in evidence
            ),
            "evidence_count": len(evidence),
        }
        row["incident_context_text"] = context_text(row, settings.correlation_lookback_minutes)
        row["context_hash"] = hashlib.sha256(row["incident_context_text"].encode()).hexdigest()
        incidents[alert["fingerprint"], first_seen] = row
    return incidents


def incident_id(alert_fingerprint: str, alert_timestamp: datetime) -> str:
    time = alert_timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return hashlib.sha256(f"{alert_fingerprint}{UNIT_SEPARATOR}{time}".encode()).hexdigest()[:16]


def _deployments(evidence: Iterable[Event]) -> list[Row]:
    """The newest 50, in time order, then id, texts cut at 200 characters.

    The design stops there; version and change type (none first) make the order total.
    """
    found = [
        {
            "deployment_id": str(event.deployment_id)[:200],
            "version": str(event.version)[:200],
            "change_type": event.change_type if event.change_type is None else event.change_type[:200],
            "timestamp": event.timestamp,
        }
        for event in evidence
        if event.event_type == "deployment"
    ]
    found.sort(
        key=lambda row: (
            row["timestamp"],
            row["deployment_id"],
            row["version"],
            row["change_type"] is not None,
            row["change_type"] or "",
        )
    )
    return found[-50:]


def _errors(evidence: Iterable[Event]) -> list[Event]:
    return [event for event in evidence if event.event_type == "log" and event.log_level in ("ERROR", "FATAL")]


def _error_summary(evidence: Iterable[Event]) -> dict[str, int]:
    """The 50 most frequent codes, on equal counts the first by name, and `other` for what is not among them."""
    counts = Counter(event.error_code[:200] for event in _errors(evidence) if event.error_code is not None)
    called_other = counts.pop("other", 0)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = called_other + sum(count for _, count in ranked[50:])
    return dict(ranked[:50]) | ({"other": rest} if rest else {})


def _top_messages(evidence: Iterable[Event]) -> list[Row]:
    shown = (_one_line(event.message[:10_000]) for event in _errors(evidence) if event.message is not None)
    counts = Counter(re.sub("[0-9]+", "#", text)[:200] for text in shown if text)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"message": message, "count": count} for message, count in ranked[:5]]


def _one_line(text: str) -> str:
    return " ".join(part for part in re.split("[ \t\n\r\v\f]", text) if part)


def _metric_summary(evidence: Iterable[Event]) -> dict[str, float | None]:
    samples = [event for event in evidence if event.event_type == "metric"]
    cpu = [event.cpu_percent for event in samples if event.cpu_percent is not None]
    memory = [event.memory_percent for event in samples if event.memory_percent is not None]
    error_rates = [event.error_rate for event in samples if event.error_rate is not None]
    return {
        "cpu_max": max(cpu, default=None),
        "cpu_avg": exact_mean(cpu) if cpu else None,
        "memory_max": max(memory, default=None),
        "error_rate_max": max(error_rates, default=None),
    }


def exact_mean(values: list[float]) -> float:
    """The mean of the doubles as rational numbers, rounded to a double once: the same in any order."""
    return float(sum(map(Fraction, values)) / len(values))


def context_text(incident: Mapping[str, Any], lookback_minutes: int) -> str:
    """The text of an incident (docs/rules.md), from the columns of a gold row."""
    where = " ".join(name for name in (incident["application_id"], incident["host"]) if _is_given(name))
    deployments = [
        f"  - {deployment['version']} deployed at {_whole_seconds(deployment['timestamp'])}"
        + (f" ({deployment['change_type']})" if _is_given(deployment["change_type"]) else "")
        for deployment in incident["correlated_deployments"]
    ]
    errors = [
        f"  - {code}: {count} occurrences"
        for code, count in sorted(incident["error_summary"].items(), key=lambda item: (-item[1], item[0]))
    ]
    measured = incident["metric_summary"]
    metrics = [
        f"  - {name}: {measured[column]:.2f}{unit}"
        for name, column, unit in (
            ("CPU max", "cpu_max", "%"),
            ("CPU avg", "cpu_avg", "%"),
            ("Memory max", "memory_max", "%"),
            ("Error rate max", "error_rate_max", ""),
        )
        if measured[column] is not None
    ]
    return "\n".join(
        [
            "Incident Alert:",
            f"{incident['alert_type']} triggered on {where}",
            f"Current value: {_value(incident['current_value'])} Threshold: {_value(incident['threshold'])}",
            "",
            "Recent Deployments:",
            *(deployments or ["None"]),
            "",
            f"Error Summary (last {lookback_minutes} mins):",
            *(errors or ["None"]),
            "",
            "Metric Summary:",
            *(metrics or ["None"]),
            "",
            f"Prior alerts in window: {incident['prior_alert_count']}",
            *_appended(incident),
        ]
    )


def _appended(incident: Mapping[str, Any]) -> Iterator[str]:
    """What stands behind the text, each part only where there is something to say."""
    if incident["other_alert_count"]:
        yield from ("", f"Other alerts in window: {incident['other_alert_count']}")
    if message := _one_line(incident["message"] or "")[:1000]:
        yield from ("", f"Message: {message}")
    labels = sorted((incident["labels"] or {}).items())[:10]
    if labels:
        yield from ("", "Labels:", *(f"  - {_one_line(f'{name}={value}')[:200]}" for name, value in labels))
    if incident["top_messages"]:
        yield from ("", "Top error messages:")
        yield from (f"  - {top['message']}: {top['count']} occurrences" for top in incident["top_messages"])


def _is_given(text: str | None) -> bool:
    return text is not None and not _is_blank(text)


def _value(number: float | None) -> str:
    return "None" if number is None else f"{number:.2f}"


def _whole_seconds(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
