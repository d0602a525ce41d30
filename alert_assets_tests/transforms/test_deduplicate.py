"""Alerts to silver rows, against a few lines of plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.transforms.deduplicate import deduplicate
from alert_assets_tests.support.pipeline import arrow_rows
from alert_assets_tests.transforms.frames import Row, table

if TYPE_CHECKING:
    from collections.abc import Sequence

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
LOWEST_FIRST = ("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL")
CONTENT = (
    "status", "severity", "alert_id", "application_id", "host", "alert_type", "current_value", "threshold",
    "source", "message", "url",
)  # fmt: skip


def alert(at: datetime, event_id: str = "e1", **fields: Any) -> Row:
    return {
        "event_id": event_id,
        "event_type": "alert",
        "application_id": "payments-api",
        "host": "host-a",
        "alert_type": "cpu_high",
        "timestamp": at,
        "status": "firing",
        "severity": "HIGH",
        "alert_id": event_id,
        "current_value": 90.0,
        "threshold": 80.0,
        "source": "alertmanager",
        "labels": None,
        "message": None,
        "url": None,
        **fields,
    }


def silver(
    *alerts: Row, fields: Sequence[str] = ("application_id", "host", "alert_type"), minutes: int = 5
) -> list[Row]:
    found = arrow_rows(deduplicate(table(BRONZE_EVENTS, alerts), dedup_fields=fields, window_minutes=minutes))
    return sorted(found, key=lambda row: (row["window_start"], row["host"] or "", row["alert_type"]))


def expected(alerts: list[Row]) -> dict[tuple[str, datetime], Row]:
    """docs/rules.md, silver_alerts, one row after the other."""
    windows: dict[tuple[str, datetime], list[Row]] = defaultdict(list)
    for row in alerts:
        named = "\x1f".join(row[name] or "" for name in ("application_id", "host", "alert_type"))
        since_epoch = int(row["timestamp"].timestamp())
        start = datetime.fromtimestamp(since_epoch - since_epoch % 300, UTC)
        windows[sha256(named.encode()).hexdigest(), start].append(row)
    found = {}
    for key, delivered in windows.items():
        # One content an event: the smallest, null first.
        contents: dict[tuple[datetime, str], Row] = {}
        ordered = sorted(
            delivered,
            key=lambda row: [
                *((row[name] is not None, row[name]) for name in CONTENT),
                (row["labels"] is not None, sorted((row["labels"] or {}).items())),
            ],
        )
        for row in ordered:
            contents.setdefault((row["timestamp"], row["event_id"]), row)
        events = [contents[identity] for identity in sorted(contents)]
        firings = [row for row in events if row["status"] == "firing"]
        first = firings[0] if firings else {}
        last = (firings or events)[-1]
        over = next((row["timestamp"] for row in reversed(events) if row["status"] != "firing"), None)
        found[key] = {
            "window_end": key[1] + 5 * MINUTE,
            "host": (firings or events)[0]["host"],
            "severity": max((row["severity"] for row in firings or events), key=LOWEST_FIRST.index),
            **{name: first.get(name) for name in ("alert_id", "current_value", "threshold")},
            "max_value": max((row["current_value"] for row in firings), default=None),
            "first_seen_timestamp": first.get("timestamp"),
            "last_seen_timestamp": firings[-1]["timestamp"] if firings else None,
            "alert_count": len(firings),
            "suppressed_count": max(0, len(firings) - 1),
            "duplicate_count": len(delivered) - len(events),
            "resolved_at": over if over and (not firings or over >= last["timestamp"]) else None,
            **{name: last[name] for name in ("source", "labels", "message", "url")},
        }
    return found


def test_a_storm_against_plain_python() -> None:
    """300 alerts of four hosts in twenty minutes; some come again, some with another content, in any order."""
    draw = random.Random(7)
    alerts = [
        alert(
            T0 + draw.randrange(1200) * SECOND,
            f"e{n}",
            host=draw.choice(["host-a", "host-b", "", None]),
            alert_type=draw.choice(["cpu_high", "disk_full"]),
            status=draw.choice(["firing", "firing", "resolved"]),
            severity=draw.choice(LOWEST_FIRST),
            current_value=draw.choice([1.0, 50.5, 99.9]),
            source=draw.choice([None, "grafana"]),
            labels=draw.choice([None, {}, {"team": "core", "zone": "z"}, {"zone": "z"}]),
            message=draw.choice([None, "", "hot"]),
            url=draw.choice([None, "https://alerts.example/1"]),
        )
        for n in range(300)
    ]
    alerts += draw.sample(alerts, 40)
    alerts += [{**row, "current_value": 77.0, "severity": "LOW"} for row in draw.sample(alerts, 40)]
    alerts += [{**row, "labels": {"zone": "y", "team": "core"}} for row in draw.sample(alerts, 40)]
    draw.shuffle(alerts)

    # An empty host and none have one fingerprint; which of them a row shows is that of its first firing.
    wanted, found = expected(alerts), silver(*alerts)

    assert {(row["fingerprint"], row["window_start"]) for row in found} == wanted.keys()
    assert len(found) == len(wanted)
    for row in found:
        want = wanted[row["fingerprint"], row["window_start"]]
        assert {name: row[name] for name in want} == want
    assert set(found[0]) == {name for name in SILVER_ALERTS.columns if name != "_batch_id"}


def test_a_window_is_from_its_start_until_before_its_end() -> None:
    almost = timedelta(microseconds=1)
    alerts = [alert(at, f"e{n}") for n, at in enumerate([T0, T0 + 5 * MINUTE - almost, T0 + 5 * MINUTE])]
    found = silver(*alerts)
    assert [(row["window_start"], row["alert_count"]) for row in found] == [(T0, 2), (T0 + 5 * MINUTE, 1)]


def test_at_one_moment_the_event_id_decides_which_is_first() -> None:
    (row,) = silver(alert(T0, "b", current_value=2.0), alert(T0, "a", current_value=1.0))
    assert (row["alert_id"], row["current_value"], row["max_value"], row["alert_count"]) == ("a", 1.0, 2.0, 2)


def test_resolutions_alone_are_a_row_without_firings() -> None:
    (row,) = silver(alert(T0 + MINUTE, status="resolved", severity="LOW"))
    assert (row["alert_count"], row["suppressed_count"], row["resolved_at"]) == (0, 0, T0 + MINUTE)
    assert (row["severity"], row["alert_id"], row["first_seen_timestamp"]) == ("LOW", None, None)
    assert (row["application_id"], row["host"], row["alert_type"]) == ("payments-api", "host-a", "cpu_high")


def test_a_resolution_before_the_first_firing_resolves_nothing() -> None:
    (row,) = silver(alert(T0, "r", status="resolved"), alert(T0 + SECOND, "f"))
    assert (row["alert_count"], row["resolved_at"]) == (1, None)


def test_a_window_is_over_by_its_last_resolution_if_nothing_fired_after_it() -> None:
    told = [("firing", 30), ("resolved", 31), ("firing", 32), ("resolved", 33)]
    events = [alert(T0 + at * SECOND, f"e{at}", status=status) for status, at in told]
    assert [silver(*events[:n])[0]["resolved_at"] for n in (1, 2, 3, 4)] == [
        None, T0 + 31 * SECOND, None, T0 + 33 * SECOND,
    ]  # fmt: skip
    (at_once,) = silver(alert(T0, "r", status="resolved"), alert(T0, "s"))
    assert at_once["resolved_at"] == T0


def test_the_severity_is_of_the_firings_and_what_it_says_of_the_last() -> None:
    said = {"source": "grafana", "labels": {"b": "2", "a": "1"}, "message": "hotter", "url": "https://x.example/2"}
    (row,) = silver(
        alert(T0, "a", severity="LOW", message="hot", labels={"a": "1"}),
        alert(T0 + SECOND, "b", severity="MEDIUM", **said),
        alert(T0 + 2 * SECOND, "c", status="resolved", severity="CRITICAL", message="cool", labels={}),
    )
    assert row["severity"] == "MEDIUM"
    assert {name: row[name] for name in said} == said


def test_resolutions_without_a_severity_have_that_of_a_firing_without_one() -> None:
    resolved = [alert(T0 + n * SECOND, f"r{n}", status="resolved", severity=None, message=f"ok {n}") for n in (1, 2)]
    (row,) = silver(*resolved)
    assert (row["severity"], row["message"], row["resolved_at"]) == ("MEDIUM", "ok 2", T0 + 2 * SECOND)


def test_fingerprints_by_labels_and_windows_of_other_widths() -> None:
    rows = [alert(T0 + 61 * SECOND, labels={"team": "a"}), alert(T0 + 61 * SECOND, labels=None)]
    for minutes, start in ((1, T0 + MINUTE), (1440, T0.replace(hour=0))):
        found = silver(*rows, fields=("application_id", "labels.team"), minutes=minutes)
        assert {row["fingerprint"]: (row["labels"], row["window_start"]) for row in found} == {
            sha256(f"payments-api\x1f{team}".encode()).hexdigest(): ({"team": team} if team else None, start)
            for team in ("a", "")
        }


def test_no_alerts_are_no_rows() -> None:
    assert silver() == []
