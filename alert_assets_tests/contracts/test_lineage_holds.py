"""Column lineage is what the transforms do: one input column is changed at a time, and only declared outputs change.

A small outage is told once for each change, under names of its own, so that all changes of all columns are computed
at once: from the tables as they are, and from the tables with each telling changed in one column of one table. What
differs in a telling's rows is what that column decides.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import pyarrow as pa
import pytest

from alert_assets.analysis.refresh import refresh_platinum, refresh_platinum_problems
from alert_assets.contracts import (
    BRONZE_EVENTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
    Contract,
)
from alert_assets.contracts.lineage import ROWS, ColumnRef, Lineage
from alert_assets.lake.lakehouse import cursor_app
from alert_assets.transforms.baselines import refresh_baselines
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets.transforms.problems import refresh_problems
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

Row = dict[str, Any]
Tables = dict[Contract, list[Row]]

T0 = datetime(2026, 2, 14, 10, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)

#: Fingerprints are made of this label, so that all else of an alert may differ within a window.
DEDUP_FIELDS = ("labels.rule",)

#: What the clock says, and who counts commits.
NOT_COMPARED = ("analyzed_at", "_batch_id")

#: What fills a table, from which tables.
TRANSFORMS: dict[Contract, tuple[tuple[Contract, ...], Callable[[Pipeline], object]]] = {
    SILVER_ALERTS: ((BRONZE_EVENTS,), Pipeline.refresh_silver),
    SILVER_DEPENDENCIES: ((BRONZE_EVENTS,), lambda p: refresh_dependencies(p.lakehouse)),
    SILVER_BASELINES: ((BRONZE_EVENTS,), lambda p: refresh_baselines(p.lakehouse)),
    GOLD_INCIDENTS: ((SILVER_ALERTS, BRONZE_EVENTS), Pipeline.refresh_gold),
    GOLD_PROBLEMS: (
        (GOLD_INCIDENTS, SILVER_ALERTS, SILVER_DEPENDENCIES, SILVER_BASELINES, BRONZE_EVENTS),
        lambda p: refresh_problems(p.lakehouse, p.settings),
    ),
    PLATINUM_INCIDENTS: ((GOLD_INCIDENTS,), lambda p: refresh_platinum(p.lakehouse, p.settings)),
    PLATINUM_PROBLEMS: (
        (GOLD_PROBLEMS, GOLD_INCIDENTS),
        lambda p: refresh_platinum_problems(p.lakehouse, p.settings),
    ),
}


def bronze(tag: str) -> list[Row]:
    """An outage of `db`, which `shop` calls, under names of this telling; all times are within two hours."""

    def event(name: str, kind: str, minute: float, application: str = "shop", **fields: Any) -> Row:
        return {
            "event_id": name,
            "event_type": kind,
            "application_id": f"{application}#{tag}#",
            "timestamp": T0 + minute * MINUTE,
            "_source_file": "/landing/a.jsonl",
            "_landed_at": T0,
            "_ingested_at": T0,
            **fields,
        }

    def alert(
        name: str, minute: float, rule: str, application: str = "shop", *, more: str = "no", **fields: Any
    ) -> Row:
        said = {
            "host": "h1",
            "alert_id": f"id-{name}",
            "alert_type": "latency_high",
            "severity": "HIGH",
            "status": "firing",
            "current_value": 90.0 + minute,
            "threshold": 80.0,
            "source": "grafana",
            "message": f"slow {name}",
            "url": f"https://x.example/{name}",
            "labels": {"rule": f"{rule}#{tag}#", "more": more},
        }
        return event(name, "alert", minute, application, **{**said, **fields})

    def metric(name: str, minute: float, application: str, **fields: Any) -> Row:
        numbers = {"requests": 100.0, "latency_ms": 20.0 if minute < 0 else 500.0}
        said = {"host": "h1", "cpu_percent": 20.0 + minute % 3, "memory_percent": 50.0, "error_rate": 0.01}
        return event(name, "metric", minute, application, **{**said, "metrics": numbers, **fields})

    def call(name: str, minute: float, callee: str = "db", caller: str = "shop") -> Row:
        numbers = {"requests": 100.0, "client_latency_ms": 15.0 if minute < 0 else 480.0, "server_latency_ms": 12.0}
        about: Row = {"host": "h1", "depends_on": f"{callee}#{tag}#", "depends_on_host": "d1", "metrics": numbers}
        return event(name, "dependency", minute, caller, **about)

    def log(name: str, minute: float, level: str, application: str = "shop", **fields: Any) -> Row:
        return event(name, "log", minute, application, **{"host": "h1", "log_level": level, **fields})

    def deployment(name: str, minute: float, application: str, change_type: str = "rolling_update") -> Row:
        about = {"deployment_id": f"id-{name}", "version": f"v-{name}", "change_type": change_type}
        return event(name, "deployment", minute, application, **about)

    once = [
        # At the same moment: which is the first and which the last is for the ids to say.
        alert("a1", 1, "one"),
        alert(
            "a2",
            1,
            "one",
            "web",
            host="h2",
            alert_type="errors_high",
            source="prometheus",
            threshold=70.0,
            current_value=95.0,
        ),
        alert("a3", 2, "one", severity="CRITICAL", current_value=200.0, source="zabbix", more="yes"),
        alert("a4", 2, "one", host="h3", severity="LOW", message="other", current_value=10.0),
        alert("a5", 4, "one", status="resolved"),
        alert("a6", 3, "two", "db", current_value=85.0),
        alert("a7", 7, "two", "db", alert_type="cpu_high"),
        alert("a8", 8, "three", status="resolved", severity="LOW"),
        alert("a9", -3, "four", severity="MEDIUM", alert_type="disk_full"),
        alert("s1", 1.5, "five", "solo", host="h5"),
        alert("s2", 6.5, "five", "solo", status="resolved"),
        # One fingerprint goes on, elsewhere; another was over before it did.
        alert("v1", -8, "six", "lone"),
        alert("v2", 7.5, "six", host="h6"),
        alert("q1", -8, "seven", "far"),
        alert("q2", -7, "seven", "far", status="resolved"),
        alert("q3", 7.6, "seven", host="h7"),
        # An alert is not without evidence, whenever it was and whatever its application is called.
        *(log(f"{app}{minute}", minute, "INFO", app) for app in APPLICATIONS for minute in (-150, -20, 90)),
        # Hours before, what is usual; then what is not.
        *(metric(f"{app}{n}", -480 + 15 * n, app) for app in ("shop", "db", "cache", "isle") for n in range(5)),
        *(call(f"c{n}", -480 + 15 * n) for n in range(5)),
        *(log(f"u{n}", -480 + n, "INFO", "solo") for n in range(30)),
        metric("m1", -5, "shop", cpu_percent=70.0, memory_percent=80.0, error_rate=0.4),
        *(metric(f"b{n}", n / 2, "db", cpu_percent=99.0, error_rate=0.6) for n in range(3)),
        *(metric(f"p{n}", n / 2, "shop", error_rate=0.5, memory_percent=60.0) for n in range(3)),
        *(metric(f"k{n}", n / 2, "cache", error_rate=0.3) for n in range(3)),
        *(metric(f"i{n}", n / 2, "isle", error_rate=0.8) for n in range(3)),
        *(call(f"d{n}", n / 2) for n in range(3)),
        *(call(f"e{n}", n / 2, "cache") for n in range(3)),
        log("l1", -3, "ERROR", error_code="Timeout", message="timed out after 30 ms"),
        log("l2", -2, "ERROR", error_code="Refused", message="connection refused"),
        log("l3", -2, "INFO", error_code="Ignored", message="all is well"),
        log("l4", 0.5, "FATAL", error_code="Timeout", message="timed out after 31 ms"),
        *(log(f"w{n}", n, "ERROR", "solo", error_code="Broken", message="no") for n in range(4)),
        # Behind the last firing: of a problem that goes on.
        *(log(f"w{n}", 7 + n / 20, "ERROR", "solo", error_code="Broken", message="no") for n in range(4, 8)),
        deployment("y9", 9, "solo"),
        # Two problems that a third alert makes one: the middle is near both ends, which are not near each other.
        *(call(f"g{n}", 10, f"p{n + 1}", f"p{n}") for n in (1, 2, 3)),
        alert("p1", 20, "eight", "p1"),
        alert("p4", 21, "nine", "p4"),
        alert("p2", 22, "ten", "p2"),
        deployment("y1", -5, "shop"),
        deployment("y2", -5, "shop", "canary"),
        deployment("y3", -4, "db", "config"),
        deployment("y4", -3, "cache"),
        deployment("y5", -3, "solo"),
        deployment("y6", -3, "isle"),
        deployment("y7", -100, "solo"),
        deployment("y8", -100, "shop"),
    ]
    # One redelivery of each kind.
    return [*once, *(dict(row) for row in once if row["event_id"] in ("a3", "a9", "m1", "b1", "d1", "l2", "w1", "y5"))]


class Change(NamedTuple):
    """One telling's change: of which column of which table, in which of its rows (all when None), and how."""

    table: Contract
    column: str
    row: int | None
    way: int


#: Other words where only some are allowed, by column.
WORDS = {
    "event_type": {"alert": "log", "log": "metric", "metric": "log", "deployment": "log", "dependency": "metric"},
    "status": {"firing": "resolved", "resolved": "firing"},
    "severity": {"CRITICAL": "INFO", "HIGH": "CRITICAL", "MEDIUM": "CRITICAL", "LOW": "CRITICAL", "INFO": "CRITICAL"},
    "log_level": {"ERROR": "INFO", "FATAL": "INFO", "INFO": "ERROR"},
    "state": {"firing": "resolved", "resolved": "firing"},
    "measure": {
        **{"latency_ms": "error_rate", "error_rate": "cpu_percent", "cpu_percent": "latency_ms"},
        **{"bad_log_share": "cpu_percent", "calls": "network_ms", "network_ms": "client_latency_ms"},
        **{"client_latency_ms": "network_ms", "server_latency_ms": "network_ms", "call_error_share": "network_ms"},
    },
}
#: Another application of which something is known, by each.
APPLICATIONS = {
    **{"shop": "db", "db": "cache", "cache": "web", "web": "solo", "solo": "isle", "isle": "lone"},
    **{"lone": "far", "far": "p1", "p1": "p2", "p2": "p3", "p3": "p4", "p4": "shop"},
}
#: How far a time moves: within its minute, to the window before, out of the lookback, past what follows, past a day.
MOVES = (7 * SECOND, -4 * MINUTE, -120 * MINUTE, 8 * MINUTE, -1500 * MINUTE)
#: When calls are known no more, or not yet.
DAYS = {"first_seen": 8, "last_seen": -8}


def other(value: Any, column: str, way: int) -> Any:
    """Another value of the same kind: a name that sorts before or after, another size, another time."""
    if value is None:
        return None
    if column in WORDS:
        return WORDS[column][value]
    if column == "application_id":
        name, tag = value.split("#", 1)
        return f"{APPLICATIONS[name]}#{tag}"
    if column == "alert_count":
        return 0 if way else value and value + 1
    if isinstance(value, str):
        # A hash stays one.
        changed = value[::-1] if re.fullmatch("[0-9a-f]{16,}", value) else f"{'z0'[way % 2]}{value}"
        return "documentation" if column == "change_type" and way == 2 else changed
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 1 if column == "weight" else value + 1
    if isinstance(value, float):
        return value / 2 if 0 < value <= 1 else value / 4 if way else value * 3 + 1
    if isinstance(value, datetime):
        return value + (timedelta(days=DAYS[column]) if column in DAYS else MOVES[way])
    if isinstance(value, dict):
        return {name: other(part, name, way) for name, part in value.items()}
    assert isinstance(value, list), (column, value)
    # Maps within lists are lists of pairs.
    return [
        (one[0], other(one[1], column, way)) if isinstance(one, tuple) else other(one, column, way) for one in value
    ]


TAG = re.compile(r"#(\d+)#")


def tag_of(row: Row) -> str:
    found = TAG.search(repr(row))
    assert found, row
    return found[1]


def by_tag(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[tag_of(row)].append(row)
    return found


OUTAGE = bronze("")
#: Rows of the outage that are changed one at a time too; the others only all at once.
SINGLE = (
    *("a1", "a2", "a3", "a4", "a5", "a7", "a9", "s1", "m1", "b1", "d1", "e1", "l2", "l3", "w1", "y1", "y3", "y5"),
    "shop4",
)


#: What tells rows apart, orders or groups them: changed in one row at a time too, of bronze in these events.
ONE_BY_ONE: dict[Contract, dict[str, tuple[str, ...]]] = {
    BRONZE_EVENTS: {
        **dict.fromkeys(("event_id", "timestamp", "status", "event_type", "application_id", "labels"), SINGLE),
        **{"host": ("b1",), "depends_on": ("d1",), "depends_on_host": ("d1",), "deployment_id": ("y1",)},
        "change_type": ("y3",),
    },
    SILVER_ALERTS: dict.fromkeys(("fingerprint", "application_id", "alert_count", "first_seen_timestamp"), ()),
    SILVER_DEPENDENCIES: dict.fromkeys(("caller", "callee", "first_seen", "last_seen"), ()),
    GOLD_INCIDENTS: dict.fromkeys(("application_id", "fingerprint", "first_seen_timestamp", "last_seen_timestamp"), ()),
}
#: Ways to change a column, where there is more than one.
WAYS = {
    **{"event_id": (0, 1), "alert_count": (0, 1), "values": (0, 1), "change_type": (0, 2), "timestamp": (0, 1, 2)},
    **{"first_seen_timestamp": (0, 1, 2, 4), "last_seen_timestamp": (0, 3), "resolved_at": (0, 2), "hour": (0, 2, 4)},
}


def changes_of(table: Contract) -> Iterator[Change]:
    """What to change of the rows that one telling has in a table."""
    for name, column in table.columns.items():
        if name == "_batch_id":
            continue
        rows: list[int] = []
        if name in ONE_BY_ONE.get(table, {}):
            rows = list(range(9 if table is GOLD_INCIDENTS else 3))
            if table is BRONZE_EVENTS:
                some = ONE_BY_ONE[table][name]
                rows = [n for n, row in enumerate(OUTAGE) if row["event_id"] in some and row.get(name) is not None]
        # Out of reach of all evidence, which no incident is without, goes only what has its evidence.
        for way in WAYS.get(name, (0,)) if table is not SILVER_ALERTS else WAYS.get(name, (0,))[:3]:
            yield from (Change(table, name, number, way) for number in (None, *rows))
        # What an event has to have, and what the pipeline computes, is there.
        may_be_gone = table is BRONZE_EVENTS and not {"required_for", "default_for"} & set(column.metadata)
        if name in ("resolved_at", "merged_into") or (column.nullable and may_be_gone):
            yield Change(table, name, None, GONE)


#: In place of a way: there is no value.
GONE = -1


def changed(change: Change, rows: Sequence[Row]) -> list[Row]:
    """A telling's rows with its change; of one that it has not, as they are."""
    in_order = rows
    if change.table is not BRONZE_EVENTS:
        in_order = sorted(
            rows, key=lambda row: (row[change.table.time_column], str(row.get("application_id", row.get("callee"))))
        )

    def value(row: Row) -> Any:
        return None if change.way == GONE else other(row.get(change.column), change.column, change.way)

    return [
        {**row, change.column: value(row)} if change.row in (None, number) else row
        for number, row in enumerate(in_order)
    ]


def put(pipeline: Pipeline, table: Contract, rows: Sequence[Row]) -> None:
    """Make these the rows of a table that has seen all of bronze."""
    lakehouse = pipeline.lakehouse
    schema = pa.schema(lakehouse.create(table).schema().to_arrow())
    schema = schema.remove(schema.get_field_index("_batch_id"))
    found = pa.Table.from_pylist(list(rows), schema)
    if table is BRONZE_EVENTS:
        return lakehouse.append(table, found)
    return lakehouse.merge(
        table, table.key, found, {cursor_app(BRONZE_EVENTS): lakehouse.snapshot(BRONZE_EVENTS).last_batch_id}
    )


def compute(folder: Path, tables: Tables) -> Tables:
    """Every table, each from `tables`, or where it is not there from those that were just computed."""
    made: Tables = {}
    for target, (inputs, transform) in TRANSFORMS.items():
        pipeline = pipeline_in(folder / target.name)
        # Bronze, which the others have seen, comes first.
        for table in reversed(inputs):
            put(pipeline, table, tables.get(table, made.get(table, [])))
        transform(pipeline)
        made[target] = pipeline.rows(target)
    return made


def pipeline_in(folder: Path) -> Pipeline:
    """What Spark computes, Arrow does by the same functions."""

    def spark() -> NoReturn:
        raise AssertionError("the refreshes are told to do without Spark")

    return Pipeline(settings_in(folder, dedup_fields=DEDUP_FIELDS, refresh_engine="arrow"), spark)


class Observed(NamedTuple):
    """What came out different after all changes of one column."""

    columns: frozenset[str]
    rows: bool


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[ColumnRef, str], Observed]:
    """By changed column and table that is made of its table."""
    folder = tmp_path_factory.mktemp("lineage")
    inputs = dict.fromkeys(table for tables, _ in TRANSFORMS.values() for table in tables)
    changes = [change for table in inputs for change in changes_of(table)]
    told = {str(number): change for number, change in enumerate(changes)}
    events = [row for tag in told for row in bronze(tag)]
    before = {BRONZE_EVENTS: events}
    before |= compute(folder / "before", before)
    after: Tables = {table: [] for table in inputs}
    for table in inputs:
        for tag, rows in by_tag(before[table]).items():
            after[table] += changed(told[tag], rows) if told[tag].table is table else rows
    came = compute(folder / "after", after)
    found: dict[tuple[ColumnRef, str], Observed] = {}
    for target, (tables, _) in TRANSFORMS.items():
        was, now = by_tag(before[target]), by_tag(came[target])
        for tag, change in told.items():
            if change.table not in tables:
                assert was.get(tag) is None or Counter(map(_said, was[tag])) == Counter(map(_said, now[tag]))
                continue
            key = ColumnRef(change.table.name, change.column), target.name
            known = found.setdefault(key, Observed(frozenset(), False))
            old, new = was.get(tag, []), now.get(tag, [])
            if len(old) != len(new):
                found[key] = Observed(known.columns, True)
                continue
            differ = {
                name
                for name in target.columns
                if name not in NOT_COMPARED
                and Counter(repr(row[name]) for row in old) != Counter(repr(row[name]) for row in new)
            }
            found[key] = Observed(known.columns | differ, known.rows)
    return found


def _said(row: Row) -> str:
    return repr({name: value for name, value in row.items() if name not in NOT_COMPARED})


#: An analyst may use all that it reads in all that it says: of these the columns are not proven one by one.
ANALYSED = (PLATINUM_INCIDENTS, PLATINUM_PROBLEMS)
#: What only a model reads, and what rules read of a problem that is another than this one.
NOT_USED_HERE = {
    *("gold_incidents.incident_context_text", "gold_problems.context_text", "gold_incidents.threshold"),
    *("gold_problems.severity", "gold_problems.applications", "gold_problems.changes"),
}
#: Of which problem an incident is, they decide, where this outage has no incident that would be a problem by itself.
ROWS_NOT_SHOWN_HERE = {
    *("gold_incidents.fingerprint", "gold_incidents.last_seen_timestamp"),
    *("silver_alerts.fingerprint", "silver_alerts.resolved_at"),
}

By = dict[tuple[ColumnRef, str], Observed]


@pytest.mark.parametrize("target", TRANSFORMS, ids=lambda target: target.name)
def test_a_columns_change_shows_where_it_is_declared_and_nowhere_else(observed: By, target: Contract) -> None:
    edges = Lineage(DEDUP_FIELDS).edges[target.name]
    declared = {(edge.source, edge.target.column) for edge in edges if edge.how != "rows"}
    of_rows = {edge.source for edge in edges if edge.how == "rows"}
    seen = {(source, name) for (source, at), found in observed.items() if at == target.name for name in found.columns}

    assert {f"{source} -> {name}" for source, name in seen - declared if source not in of_rows} == set()
    if target in ANALYSED:
        assert {str(source) for source, _ in declared} - {str(source) for source, _ in seen} <= NOT_USED_HERE
    else:
        assert {f"{source} -> {name}" for source, name in declared - seen} == set()


@pytest.mark.parametrize("target", TRANSFORMS, ids=lambda target: target.name)
def test_rows_come_and_go_by_the_declared_columns_alone(observed: By, target: Contract) -> None:
    decided_by = Lineage(DEDUP_FIELDS).into(ColumnRef(target.name, ROWS), "rows")
    declared = {str(ref) for ref in decided_by if ref.column != ROWS}
    seen = {str(source) for (source, at), found in observed.items() if at == target.name and found.rows}

    assert seen - declared == set()
    assert declared - seen <= (ROWS_NOT_SHOWN_HERE if target is GOLD_PROBLEMS else set())
