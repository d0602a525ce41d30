"""silver_baselines against the oracle: in any batches, in any order, redelivered, and rebuilt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from alert_assets.analysis.causes import Window, rank
from alert_assets.analysis.causes.bronze import History, Sources, needed_hours
from alert_assets.contracts import BRONZE_EVENTS, SILVER_BASELINES
from alert_assets.kernel.sql import literal
from alert_assets.lake.lakehouse import rows_in
from alert_assets.transforms.baselines import refresh_baselines
from alert_assets_tests.checks.lake import Lake, line
from alert_assets_tests.oracle import baselines as oracle

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings

T0 = datetime(2026, 2, 14, 9, 0, tzinfo=UTC)


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def metric(number: object, application: str, minute: float, host: str | None = "h", **fields: Any) -> bytes:
    return line(f"m{number}", at(minute), "metric", application_id=application, host=host, **fields)


def call(number: object, caller: str, callee: str, minute: float, **metrics: float) -> bytes:
    return line(
        f"d{number}", at(minute), "dependency", application_id=caller, depends_on=callee,
        **({"metrics": metrics} if metrics else {}),
    )  # fmt: skip


def log(number: object, application: str, minute: float, level: str) -> bytes:
    return line(f"l{number}", at(minute), application_id=application, log_level=level)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings)


def rows(lake: Lake) -> dict[tuple[str, datetime], dict[str, Any]]:
    return {
        (row["series_id"], row["hour"]): {name: value for name, value in row.items() if name != "_batch_id"}
        for row in lake.rows(SILVER_BASELINES)
    }


def hours(lake: Lake, *columns: str) -> dict[tuple[str, datetime], tuple[Any, ...]]:
    return {(row["measure"], row["hour"]): tuple(row[name] for name in columns) for row in rows(lake).values()}


def test_an_hour_has_its_values_each_event_once(lake: Lake) -> None:
    lines = [
        metric(1, "web", 3, cpu_percent=40.0, metrics={"requests": 10.0, "latency_ms": 20.0}),
        metric(2, "web", 4, error_rate=0.5, metrics={"requests": 5.6, "latency_ms": 10.0}),
        call(1, "web", "cart", 5, requests=4.0, client_latency_ms=12.0, server_latency_ms=9.5, errors=1.0),
        log(1, "web", 58.5, "ERROR"), log(2, "web", 58.7, "INFO"), log(3, "web", 59.5, "INFO"),
    ]  # fmt: skip
    lake.land(*lines, *lines[:2])
    refresh_baselines(lake.lakehouse)
    next_hour = T0 + timedelta(hours=1)
    assert hours(lake, "samples", "weight", "values") == {
        ("cpu_percent", T0): (1, 1, [40.0]),
        ("latency_ms", T0): (2, 16, [10.0, 20.0]),
        ("error_rate", T0): (1, 6, [0.5]),
        ("calls", T0): (1, 1, [4.0]),
        ("client_latency_ms", T0): (1, 4, [12.0]),
        ("server_latency_ms", T0): (1, 4, [9.5]),
        ("network_ms", T0): (1, 4, [2.5]),
        ("call_error_share", T0): (1, 4, [0.25]),
        ("bad_log_share", T0): (1, 2, [0.5]),
        ("bad_log_share", next_hour): (1, 1, [0.0]),
    }
    assert rows(lake) == oracle.baselines(lake.events)


def test_of_many_values_sixty_stand_for_all(lake: Lake) -> None:
    lake.land(*(metric(n, "web", n / 20, cpu_percent=float(n)) for n in range(1000)))
    refresh_baselines(lake.lakehouse)
    ((samples, values),) = hours(lake, "samples", "values").values()
    assert (samples, len(values)) == (1000, 60)
    assert values[0] < 1000 / 60
    assert values[-1] > 1000 - 1000 / 60
    assert abs(sum(values) / 60 - 499.5) < 1
    assert rows(lake) == oracle.baselines(lake.events)


def test_only_what_new_events_touch_is_written_and_nothing_new_commits_nothing(lake: Lake) -> None:
    lake.land(metric(1, "web", 3, cpu_percent=40.0), metric(2, "cart", 3, cpu_percent=40.0))
    refresh_baselines(lake.lakehouse)
    lake.land(metric(1, "web", 3, cpu_percent=40.0), metric(3, "web", 90, cpu_percent=50.0), log(1, "web", 1, "INFO"))
    assert refresh_baselines(lake.lakehouse).changed == 3
    batches = {
        (row["measure"], row["application_id"], row["hour"]): row["_batch_id"] for row in lake.rows(SILVER_BASELINES)
    }
    assert batches["cpu_percent", "cart", T0] == 1
    assert not refresh_baselines(lake.lakehouse).committed
    lake.land(line("a1", T0, "alert", alert_type="x", severity="LOW"))
    assert refresh_baselines(lake.lakehouse).committed
    assert lake.lakehouse.cursor(SILVER_BASELINES, BRONZE_EVENTS) == 3


names = st.sampled_from("ab")
minutes = st.integers(0, 130).map(float) | st.floats(0, 200, width=32)
some = st.sampled_from([0.0, 1.0, 2.5, 30.0])
measured = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("requests", "latency_ms", "client_latency_ms", "errors"), some)
)
ids = st.integers(0, 9)


@st.composite
def landed(draw: st.DrawFn) -> bytes:
    number, application, minute = draw(ids), draw(names), draw(minutes)
    kind = draw(st.sampled_from(["metric", "call", "log"]))
    if kind == "log":
        return log(number, application, minute, draw(st.sampled_from(["INFO", "WARN", "ERROR"])))
    metrics = draw(measured)
    if kind == "call":
        return call(number, application, draw(names), minute, **metrics)
    fields: dict[str, Any] = {"metrics": metrics} if metrics else {}
    error_rate = draw(st.none() | st.just(0.5))
    return metric(number, application, minute, cpu_percent=draw(some), error_rate=error_rate, **fields)


events = st.lists(landed(), min_size=1, max_size=12)


@hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, min_size=1, max_size=3))
def test_any_batches_give_the_rows_of_the_oracle_and_of_a_full_refresh(
    tmp_path_factory: Any, settings: Settings, batches: list[list[bytes]]
) -> None:
    folder: Path = tmp_path_factory.mktemp("lake")
    lake = Lake(settings.model_copy(update={"data_dir": folder, "lake_dir": str(folder / "lake")}))
    for batch in batches:
        lake.land(*batch)
        refresh_baselines(lake.lakehouse)
    by_increments = rows(lake)
    assert by_increments == oracle.baselines(lake.events)
    refresh_baselines(lake.lakehouse, full_refresh=True)
    assert rows(lake) == by_increments


def test_a_ranking_sees_the_same_with_the_table_and_without(lake: Lake) -> None:
    many = [
        *(metric(f"w{n}", "web", 7 * n, metrics={"requests": 9.0, "latency_ms": 20.0 + n % 5}) for n in range(120)),
        *(metric(f"c{n}", "cart", n / 3, host=f"h{n % 2}", cpu_percent=float(n % 50)) for n in range(2400)),
        *(call(n, "web", "cart", 11 * n, requests=3.0, client_latency_ms=5.0) for n in range(70)),
        *(log(n, "cart", 13 * n, "ERROR" if n % 9 == 0 else "INFO") for n in range(60)),
        # Of "dense" the newest hours are enough; what "moved" was measured on another host long before.
        *(metric(f"d{n}", "dense", n, cpu_percent=float(n % 7)) for n in range(850)),
        *(metric(f"m{n}", "moved", n, host=f"h{n // 400}", cpu_percent=float(n % 5)) for n in range(850)),
    ]
    lake.now = at(900)
    lake.land(*many)
    refresh_baselines(lake.lakehouse)
    windows = [(at(minute), at(minute + 5)) for minute in (200, 610, 720, 840)]

    def seen(sources: Sources) -> list[Any]:
        alone = [History(sources, [window], lookback=timedelta(hours=1)).seen_from(*window) for window in windows]
        history = History(sources, windows, lookback=timedelta(hours=1))
        rankings = [
            [rank(one, Window(*(end.timestamp() for end in window)), symptom="web").causes for one in (found, together)]
            for window, found in zip(windows, alone, strict=True)
            for together in [history.seen_from(*window)]
        ]
        assert all(one == other for one, other in rankings), "what is seen from a window depends on no other"
        return [(one.graph, one.series, one.hosts, one.hours, one.begins) for one in alone] + rankings

    kept = Sources.of(lake.lakehouse)
    assert kept.has_all(at(-10_000), at(840))
    assert seen(kept) == seen(Sources(kept.bronze))
    lake.land(metric("late", "web", 100, metrics={"requests": 9.0, "latency_ms": 900.0}))
    behind = Sources.of(lake.lakehouse)
    assert not behind.has_all(at(0), at(840))
    assert behind.has_all(at(300), at(840))
    assert seen(behind) == seen(Sources(behind.bronze)), "what is late in the table is read from bronze"


def test_of_the_week_before_the_hours_are_read_whose_values_count(lake: Lake) -> None:
    lake.now = at(1800)
    lake.land(
        *(metric(f"d{n}", "dense", n, cpu_percent=float(n % 7)) for n in range(1800)),
        *(metric(f"s{n}", "sparse", 30 * n, cpu_percent=1.0) for n in range(60)),
    )
    refresh_baselines(lake.lakehouse)
    first = at(1740).replace(minute=0)
    baselines = lake.lakehouse.table(SILVER_BASELINES)
    assert baselines is not None
    needed = needed_hours(baselines, f"hour < {literal(first)}", first)
    read = rows_in(
        lake.lakehouse, SILVER_BASELINES, f"SELECT application_id, count(*) AS n FROM t WHERE {needed} GROUP BY 1"
    )
    hours = {row["application_id"]: row["n"] for row in read}
    assert hours["sparse"] >= 30
    assert 6 <= hours["dense"] <= 8


def test_a_full_refresh_keeps_hours_together(lake: Lake) -> None:
    lake.land(*(metric(n, f"app{n % 7}", n, cpu_percent=1.0) for n in range(120)))
    refresh_baselines(lake.lakehouse, full_refresh=True)
    table = lake.lakehouse.table(SILVER_BASELINES)
    assert table is not None
    (file,) = table.file_uris()
    kept = pq.read_table(file, columns=["hour", "application_id"])
    places = list(zip(kept["hour"].cast("int64").to_pylist(), kept["application_id"].to_pylist(), strict=True))
    assert len(set(places)) == 14
    assert places == sorted(places)
