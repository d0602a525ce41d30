"""Tables held against what the oracle makes of the same lines."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets_tests.oracle import reference
from alert_assets_tests.oracle.generate import generate_lines
from alert_assets_tests.oracle.reference import Event, Quarantined

if TYPE_CHECKING:
    import random

    from alert_assets.settings import Settings
    from alert_assets_tests.support.pipeline import Pipeline, Row

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)

#: The oracle's name of each event column, in the names of the table.
_COLUMNS = {field.name: field.name for field in fields(Event)} | {name: f"_{name}" for name in ("rescued", "adapted")}


@dataclass(frozen=True)
class Expected:
    """What the oracle makes of some lines."""

    events: list[Event]
    quarantined: list[Quarantined]
    blank: int
    silver: dict[Any, Row]
    gold: dict[Any, Row]


def expected_of(lines: list[bytes], settings: Settings, now: datetime = NOW) -> Expected:
    events, quarantined, blank = reference.judge_all(lines, now, settings.max_future_skew_minutes)
    silver = reference.silver(events, settings)
    return Expected(events, quarantined, blank, silver, reference.gold(events, silver, settings))


def make_lines(seed: int, count: int, **options: Any) -> list[bytes]:
    """Generated lines whose verdict is the same today as it was at NOW: the pipeline's clock is the real one."""
    today = datetime.now(UTC)
    generated = generate_lines(seed, count, now=NOW, **options)
    return [line for line in generated if reference.judge(line, NOW, 5) == reference.judge(line, today, 5)]


def assert_same_rows(got: dict[Any, Row], expected: dict[Any, Row]) -> None:
    """Equality, with a message that names the columns of the first rows that differ."""
    assert got.keys() == expected.keys(), (
        f"{len(got.keys() - expected)} keys too many, {len(expected.keys() - got)} missing"
    )
    different = [
        {name: (got[key].get(name), value) for name, value in row.items() if got[key].get(name) != value}
        for key, row in expected.items()
        if got[key] != row
    ]
    assert not different, f"{len(different)} of {len(expected)} rows differ, as (got, expected): {different[:3]}"


def assert_same_tables(pipeline: Pipeline, expected: Expected) -> None:
    """Silver and gold, row for row."""
    assert_same_rows(pipeline.by_key(SILVER_ALERTS), expected.silver)
    assert_same_rows(pipeline.by_key(GOLD_INCIDENTS), expected.gold)


def assert_same_bronze(pipeline: Pipeline, expected: Expected) -> None:
    """Every delivery of every event as the oracle reads it, and every other line byte for byte with its reasons."""
    got = [{name: row[column] for name, column in _COLUMNS.items()} for row in pipeline.rows(BRONZE_EVENTS)]
    for event in got:
        event["rescued"] = event["rescued"] and json.loads(event["rescued"], parse_int=float)
    assert Counter(map(_spelled, got)) == Counter(_spelled(asdict(event)) for event in expected.events)
    quarantined = Counter(
        (row["raw_bytes"] or row["raw"].encode(), *sorted(row["reasons"])) for row in pipeline.rows(BRONZE_QUARANTINE)
    )
    assert quarantined == Counter((line.raw, *line.reasons) for line in expected.quarantined)


def _spelled(event: dict[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, default=str)


def cut(lines: list[bytes], rng: random.Random, batches: int) -> list[list[bytes]]:
    cuts = sorted(rng.sample(range(1, len(lines)), batches - 1))
    return [lines[start:end] for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
