"""Three bad batches open the breaker; then every run is refused, until a person decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.support.dagster_site import Site, kill, materialize

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def failed(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=300)
    finally:
        kill(process)
    assert process.returncode == 1, output
    return output


def test_runs_are_refused_however_they_are_launched_until_the_data_is_good_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.land_sample()
    site.materialize("*")
    before = site.versions()

    for number in range(3):
        (Path(site.settings.landing_dir) / f"bad-{number}.jsonl").write_text('{"event_id": "cut\n' * 200)
        assert "held" in failed(site.start(*materialize("bronze_events")))

    assert site.versions() == before, "no bad batch was published"
    breakers = {
        one["name"]: one["state"] for one in json.loads(site.command("breaker", "status", "--json"))["breakers"]
    }
    assert breakers["pipeline"] == "OPEN"
    for select in ("*", "gold_incidents"):
        refusal = failed(site.start(*materialize(select)))
        assert "breaker" in refusal
        assert "STEP_START" not in refusal
    assert site.versions() == before

    for batch in json.loads(site.command("held", "--json"))["batches"]:
        site.command("held", "discard", str(batch["number"]), "--why", "a producer's bug")
    site.command("breaker", "reset", "pipeline", "--why", "the bad batches are discarded")
    site.land("good.jsonl", {**GOOD, "event_id": "good"})
    site.materialize("*")
    assert all(version > before[name] for name, version in site.versions().items() if name != "bronze_quarantine")


GOOD = {
    "event_type": "alert",
    "application_id": "checkout",
    "timestamp": "2026-02-14T10:00:00Z",
    "alert_type": "cpu_high",
    "severity": "HIGH",
}
