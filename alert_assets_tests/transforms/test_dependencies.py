"""silver_dependencies: each call once, however it was delivered; increments and a full refresh say the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from alert_assets.contracts import BRONZE_EVENTS, SILVER_DEPENDENCIES
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets_tests.checks.lake import Lake, line

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings

T0 = datetime(2026, 2, 14, 9, 0, tzinfo=UTC)


def call(number: int, caller: str, callee: str, minute: int, requests: float | None = None) -> bytes:
    measured = {} if requests is None else {"metrics": {"requests": requests}}
    at = T0 + timedelta(minutes=minute)
    return line(f"d{number}", at, "dependency", application_id=caller, depends_on=callee, **measured)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings)


def pairs(lake: Lake, *columns: str) -> dict[tuple[str, str], Any]:
    names = columns or ("first_seen", "last_seen", "requests")
    return {
        (row["caller"], row["callee"]): tuple(row[name] for name in names) for row in lake.rows(SILVER_DEPENDENCIES)
    }


def test_a_pair_has_its_times_and_its_requests(lake: Lake) -> None:
    lake.land(call(1, "web", "cart", 3, 10), call(2, "web", "cart", 90, 5.6), call(3, "cart", "ledger", 4))
    assert refresh_dependencies(lake.lakehouse).changed == 2
    first, last = T0 + timedelta(minutes=3), T0 + timedelta(minutes=90)
    at = T0 + timedelta(minutes=4)
    assert pairs(lake) == {("web", "cart"): (first, last, 16), ("cart", "ledger"): (at, at, 0)}


def test_a_redelivery_counts_once_and_only_what_changes_is_written(lake: Lake) -> None:
    lake.land(call(1, "web", "cart", 3, 10), call(2, "cart", "ledger", 3, 1))
    refresh_dependencies(lake.lakehouse)
    lake.land(call(1, "web", "cart", 3, 10), call(3, "cart", "ledger", 5, 2))
    assert refresh_dependencies(lake.lakehouse).changed == 1
    assert pairs(lake, "requests", "_batch_id") == {("web", "cart"): (10, 1), ("cart", "ledger"): (3, 2)}
    assert not refresh_dependencies(lake.lakehouse).committed, "nothing new commits nothing"


def test_events_without_calls_only_move_the_cursor(lake: Lake) -> None:
    lake.land(line("e1", T0))
    assert refresh_dependencies(lake.lakehouse).committed
    assert lake.lakehouse.cursor(SILVER_DEPENDENCIES, BRONZE_EVENTS) == 1
    assert lake.rows(SILVER_DEPENDENCIES) == []


names = st.sampled_from("abc")
calls = st.lists(
    st.builds(call, st.integers(0, 8), names, names, st.integers(0, 3000), st.sampled_from([None, 1, 2.5, 1e300, -3])),
    min_size=1,
    max_size=12,
)


@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls, min_size=1, max_size=3))
def test_increments_are_a_full_refresh(tmp_path_factory: Any, settings: Settings, batches: list[list[bytes]]) -> None:
    folder: Path = tmp_path_factory.mktemp("lake")
    lake = Lake(settings.model_copy(update={"data_dir": folder, "lake_dir": str(folder / "lake")}))
    for batch in batches:
        lake.land(*batch)
        refresh_dependencies(lake.lakehouse)
    by_increments = pairs(lake)
    refresh_dependencies(lake.lakehouse, full_refresh=True)
    assert pairs(lake) == by_increments
    events = {(e.application_id, e.depends_on, e.event_id, e.timestamp) for e in lake.events}
    assert {(caller, callee) for caller, callee, *_ in events} == by_increments.keys()
    for (caller, callee), (first, last, _) in by_increments.items():
        times = [at for one, other, _, at in events if (one, other) == (caller, callee)]
        assert (first, last) == (min(times), max(times))
