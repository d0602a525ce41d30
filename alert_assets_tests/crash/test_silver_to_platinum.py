"""Silver, gold and platinum, killed around their commits, and silver and gold while Spark computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS, SILVER_ALERTS
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.crash.conftest import ALL_STEPS, Expected, Site
from alert_assets_tests.crash.kill import Kill
from alert_assets_tests.crash.telemetry import FILES, land

if TYPE_CHECKING:
    from pathlib import Path

TABLES = (SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS)


@pytest.fixture(scope="session")
def behind(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> dict[str, Site]:
    """Tables in which bronze has all files, and the table named and those after it lack the later ones."""
    folder = tmp_path_factory.mktemp("behind")
    silver = Site(settings_in(folder / "silver"), environment)
    land(silver.landing, 0)
    silver.must_run(*ALL_STEPS)
    land(silver.landing, *range(1, FILES))
    silver.must_run("ingest")
    gold = silver.copy(folder / "gold")
    gold.must_run("silver")
    platinum = gold.copy(folder / "platinum")
    platinum.must_run("gold")
    return {"silver": silver, "gold": gold, "platinum": platinum}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asset", "run", "kill"),
    [
        ("silver", "silver", Kill("pipeline", "before", "merge", "silver_alerts")),
        ("silver", "silver", Kill("pipeline", "after", "merge", "silver_alerts")),
        ("silver", "silver", Kill("server", "before", "deduplicate")),
        ("silver", "rebuild_silver", Kill("pipeline", "before", "commit", "silver_alerts")),
        ("silver", "rebuild_silver", Kill("pipeline", "after", "commit", "silver_alerts")),
        ("gold", "gold", Kill("pipeline", "before", "merge", "gold_incidents")),
        ("gold", "gold", Kill("pipeline", "after", "merge", "gold_incidents")),
        ("gold", "gold", Kill("server", "before", "correlate")),
        ("gold", "rebuild_gold", Kill("pipeline", "before", "commit", "gold_incidents")),
        ("gold", "rebuild_gold", Kill("pipeline", "after", "commit", "gold_incidents")),
        ("platinum", "platinum", Kill("pipeline", "after", "delete", "platinum_incidents")),
        ("platinum", "platinum", Kill("pipeline", "before", "merge", "platinum_incidents")),
        ("platinum", "platinum", Kill("pipeline", "after", "merge", "platinum_incidents")),
    ],
    ids=lambda value: f"{value.victim} {value.moment} {value.step}" if isinstance(value, Kill) else value,
)
def test_next_run_ends_in_the_same_tables(
    behind: dict[str, Site], expected: Expected, tmp_path: Path, asset: str, run: str, kill: Kill
) -> None:
    site = behind[asset].copy(tmp_path / "data")
    before = site.tables(*TABLES)
    # The server has to do with it only where there is too much for one process.
    killed = site.run(run, kill=kill, refresh_engine="spark" if kill.victim == "server" else "auto")
    assert killed.returncode == (-9 if kill.victim == "pipeline" else 1), killed.stderr[-4000:]

    for contract in TABLES:
        old, new = before[contract.name], expected.tables[contract.name]
        if contract is not PLATINUM_INCIDENTS:
            assert site.rows(contract) in (old, new)
        # Platinum's rows stand alone: what it says of an incident that is gone goes in a commit of its own.
        assert all(row in old or row in new for row in site.rows(contract))

    site.must_run(*ALL_STEPS[ALL_STEPS.index(asset) :])
    for contract in TABLES:
        assert site.rows(contract) == expected.tables[contract.name], contract.name
