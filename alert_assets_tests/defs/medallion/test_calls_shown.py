"""The graph of calls on the metadata of silver_dependencies: bounded, the busiest callers first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.defs.medallion.incidents import _graph
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets_tests.checks.lake import DAY, T0, Lake, line

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def test_the_callers_with_most_requests_and_some_callees_of_each(settings: Settings) -> None:
    lake = Lake(settings)
    lake.now = T0 + 30 * DAY
    assert _graph(lake.lakehouse).records == []

    def call(caller: str, callee: str, requests: float, days: int = 0) -> bytes:
        name = f"{caller}{callee}"
        known = {"application_id": caller, "depends_on": callee, "metrics": {"requests": requests}}
        return line(name, T0 + days * DAY, "dependency", **known)

    lake.land(
        *(call("hub", f"c{n:02}", 100 - n) for n in range(30)),
        *(call(f"small-{n:02}", "hub", 1) for n in range(60)),
        call("old", "hub", 1e6, days=-8),
    )
    refresh_dependencies(lake.lakehouse)
    first, *others = [record.data for record in _graph(lake.lakehouse).records]
    assert (first["caller"], first["number"]) == ("hub", 30)
    assert first["calls"] == ", ".join(f"c{n:02}" for n in range(20)) + " and 10 more"
    assert len(others) == 49
    assert all(other["calls"] == "hub" for other in others)
    assert "old" not in {other["caller"] for other in others}
