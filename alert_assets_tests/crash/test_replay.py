"""The replay of quarantine, killed between its two tables: each line moves exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.crash.conftest import Expected, Site
from alert_assets_tests.crash.kill import Kill
from alert_assets_tests.crash.telemetry import FILES, land

if TYPE_CHECKING:
    from pathlib import Path

#: With it, the events three hours ahead pass.
A_DAY = {"max_future_skew_minutes": 1440}


@pytest.fixture(scope="session")
def quarantined(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Site:
    """All files but the last are in bronze and quarantine."""
    site = Site(settings_in(tmp_path_factory.mktemp("quarantined") / "data"), environment)
    land(site.landing, *range(FILES - 1))
    site.must_run("ingest")
    return site


@pytest.mark.slow
@pytest.mark.parametrize("lands_in_between", [False, True], ids=["", "and more lands"])
@pytest.mark.parametrize(
    "kill",
    [
        Kill("pipeline", "before", "commit", "bronze_events"),
        Kill("pipeline", "after", "commit", "bronze_events"),
        Kill("server", "after", "commit", "bronze_events"),
        Kill("pipeline", "before", "commit", "bronze_quarantine"),
        Kill("pipeline", "after", "commit", "bronze_quarantine"),
    ],
    ids=lambda kill: f"{kill.victim} {kill.moment} {kill.table}",
)
def test_each_line_moves_once(
    quarantined: Site, expected: Expected, tmp_path: Path, kill: Kill, lands_in_between: bool
) -> None:
    site = quarantined.copy(tmp_path / "data")
    # The copy's checkpoint names the files where they were: here they have not landed.
    for path in site.landing.iterdir():
        path.unlink()
    killed = site.run("replay", kill=kill, **A_DAY)
    assert killed.returncode == (-9 if kill.victim == "pipeline" else 1), killed.stderr[-4000:]
    files = FILES - 1
    if lands_in_between:
        land(site.landing, files)
        files += 1
        site.must_run("ingest")
    site.must_run("replay", "replay", **A_DAY)

    in_files = {f"part-{number}.jsonl" for number in range(files)}
    ahead = {f"soon{number}" for number in range(files)}
    events = site.rows(BRONZE_EVENTS)
    assert sorted(row["event_id"] for row in events if row["event_id"].startswith("soon")) == sorted(ahead)
    usual = [row for row in expected.tables[BRONZE_EVENTS.name] if row["_source_file"] in in_files]
    assert sorted(row["event_id"] for row in events if row["event_id"] not in ahead) == sorted(
        row["event_id"] for row in usual
    )
    lines = site.rows(BRONZE_QUARANTINE)
    assert sorted((row["raw"], row["reasons"]) for row in lines) == sorted(
        (row["raw"], row["reasons"])
        for row in expected.tables[BRONZE_QUARANTINE.name]
        if row["_source_file"] in in_files
    )
    assert {row["raw"] for row in lines if row["replayed_at"]} == {row["raw"] for row in lines if '"soon' in row["raw"]}
