"""`alert-assets run`: the pipeline from a terminal, in processes as people start them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.ingest.landing import backlog
from alert_assets.kernel.clock import parse_rfc3339, utc_now
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

#: Neither needs Spark.
RELIABILITY = "pipeline_health,slo_status"


@pytest.fixture(autouse=True)
def _home_of_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_a_line_for_each_table_and_a_sample_that_lands_once(settings: Settings, run: Run) -> None:
    begin = utc_now() - timedelta(minutes=61)
    first = run("run", "--sample", "--select", RELIABILITY)

    assert first.code == 0, first.err
    sample, health, slo, *_ = first.out.splitlines()
    assert sample == "Landed a sample: 500 events of the last hour in 4 files."
    assert re.fullmatch(r"  pipeline_health +\d+ rows of \d+ +\d+\.\d s", health)
    assert re.fullmatch(r"  slo_status +\d+ rows of \d+ +\d+\.\d s", slo)
    log = settings.state_dir / "dagster" / "last-run.log"
    assert str(log) in first.out
    assert "RUN_SUCCESS" in log.read_text()
    landed = backlog(settings).pending
    lines = [line for file in landed for line in Path(file.path).read_text().splitlines()]
    times = [parse_rfc3339(json.loads(line)["timestamp"]) for line in lines]
    assert (len(landed), len(times)) == (4, 500)
    assert begin < min(times) < max(times) < utc_now()

    second = run("run", "--sample", "--select", RELIABILITY, "--json").json
    assert second["sample"] == "No sample is landed: 4 files landed before."
    assert backlog(settings).pending == landed
    assert [table["table"] for table in second["tables"]] == ["pipeline_health", "slo_status"]
    assert (second["exit_code"], second["error"]) == (0, None)


@pytest.mark.parametrize("select", ["nope", "key:"])
def test_no_sample_in_a_landing_zone_of_the_users_own_and_one_line_for_a_selection_of_nothing(
    run: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("ALERTS_LANDING_DIR", str(own))
    result = run("run", "--sample", "--select", select)

    assert result.out.startswith("No sample is landed: ALERTS_LANDING_DIR is set")
    assert list(own.iterdir()) == []
    assert result.code == 2
    assert result.err.splitlines()[-1] == (
        f"Error: --select {select!r} selects no asset: name tables, such as gold_incidents or "
        "gold_incidents,platinum_incidents (`alert-assets contracts` lists them), or leave it out for all."
    )
    assert "Dagster" not in result.err.replace("Starting Dagster ...", "")
    assert list((settings.state_dir / "dagster").glob("*.log")) == []


@pytest.mark.slow
def test_two_runs_at_once_have_a_log_each(settings: Settings, tmp_path: Path) -> None:
    """`last-run.log` is that of the run that ended last, and is whole."""
    command = [sys.executable, "-m", "alert_assets.cli", "run", "--select", RELIABILITY, "--json"]
    processes = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [json.loads(process.communicate()[0]) for process in processes]

    runs = {report["run_id"] for report in found}
    assert len(runs) == 2
    last = (settings.state_dir / "dagster" / "last-run.log").read_text()
    assert len([run_id for run_id in runs if run_id in last]) == 1
    assert last.count("RUN_SUCCESS") == 1
    assert list((settings.state_dir / "dagster").glob("run-*.log")) == []


def test_a_run_that_fails_says_what_to_do(settings: Settings, run: Run) -> None:
    result = run("run", "--select", "bronze_events")

    assert result.code == 1
    assert f"The landing folder {settings.landing_dir} does not exist. Create it" in " ".join(result.err.split())


def test_a_refused_run_says_why(settings: Settings, run: Run) -> None:
    assert run("breaker", "open", "pipeline", "--why", "storage is being moved").code == 0
    Path(settings.landing_dir).mkdir(parents=True)
    result = run("run", "--select", "silver_alerts")

    assert result.code == 1
    assert "storage is being moved" in result.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_landing_to_platinum(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("ALERTS_SPARK_MEMORY", "1g")
    result = run("run", "--sample")

    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert max(len(line) for line in lines if "last-run.log" not in line) <= 80
    assert len(lines) < 30
    for table in ("bronze_events", "silver_alerts", "gold_incidents", "platinum_incidents"):
        assert any(line.startswith(f"  {table} ") for line in lines), table
    assert re.search(r"Checks: \d+ passed, \d+ warned, 0 failed", result.out)
    assert Lakehouse(settings).snapshot(GOLD_INCIDENTS).row_count > 0
    assert re.search(r"cause: [a-z-]+, confidence", result.out)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["100% 17 b é, {x}", "%zz*~;&='$(id)`+\""])
def test_the_whole_way_in_a_folder_with_an_awkward_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ALERTS_DATA_DIR", str(tmp_path / name))
    result = run("run", "--sample", "--json").json

    assert (result["exit_code"], result["error"]) == (0, None)
    rows = {table["table"]: table["total"] for table in result["tables"]}
    assert rows["bronze_events"] + rows["bronze_quarantine"] == 500
    assert rows["gold_incidents"] == rows["platinum_incidents"] > 0
    assert result["not_read"] == []
    tables = {table["name"]: table["rows"] for table in run("status", "--json").json["tables"]}
    assert tables["bronze_events"] == rows["bronze_events"]
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["checkpoints", "lake", "landing", "state"]


@pytest.mark.parametrize("name", ["18_org%2Frepo", "17 b é#x", "[x"])
def test_a_folder_no_table_can_be_in_is_refused_at_the_start(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ALERTS_DATA_DIR", str(tmp_path / name))
    for command in (["run", "--sample"], ["status"]):
        result = run(*command)
        assert result.code == 2
        assert "a path without" in result.err
        assert "choose another folder" in result.err
        assert "Traceback" not in result.err
    assert not (tmp_path / name).exists()
