"""`alert-assets run`: the pipeline from a terminal, in processes as people start them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.ingest.landing import backlog
from alert_assets.kernel.clock import utc_now
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


def test_a_line_for_each_table_and_the_log_in_a_file(settings: Settings, run: Run) -> None:
    result = run("run", "--select", RELIABILITY)

    assert result.code == 0, result.err
    health, slo, *_ = result.out.splitlines()
    assert re.fullmatch(r"  pipeline_health +\d+ rows of \d+ +\d+\.\d s", health)
    assert re.fullmatch(r"  slo_status +\d+ rows of \d+ +\d+\.\d s", slo)
    log = settings.state_dir / "dagster" / "last-run.log"
    assert str(log) in result.out
    assert "RUN_SUCCESS" in log.read_text()


def test_json_has_what_the_lines_have(run: Run) -> None:
    found = run("run", "--select", RELIABILITY, "--json").json

    assert [table["table"] for table in found["tables"]] == ["pipeline_health", "slo_status"]
    assert (found["exit_code"], found["error"], found["sample"]) == (0, None, None)
    assert json.dumps(found)


def test_a_run_that_cannot_begin_ends_in_one_line_and_dagsters_exit_code(run: Run) -> None:
    result = run("run", "--select", "key:")

    assert result.code == 1
    assert "Invalid selection string: key:" in result.err
    assert "The full log is in" in result.err
    assert "Traceback" not in result.err


def test_a_refused_run_says_why(settings: Settings, run: Run) -> None:
    assert run("breaker", "open", "pipeline", "--why", "storage is being moved").code == 0
    Path(settings.landing_dir).mkdir(parents=True)
    result = run("run", "--select", "silver_alerts")

    assert result.code == 1
    assert "storage is being moved" in result.err


def test_the_sample_is_an_hour_that_ends_now_and_lands_once(settings: Settings, run: Run) -> None:
    first = run("run", "--sample", "--select", "slo_status")
    assert first.out.startswith("Landed a sample: 500 events of the last hour in 4 files.\n")
    landed = backlog(settings).pending
    assert len(landed) == 4
    times = [json.loads(line)["timestamp"] for file in landed for line in Path(file.path).read_text().splitlines()]
    assert max(times) > f"{utc_now():%Y-%m-%dT%H}"[:-3]

    second = run("run", "--sample", "--select", "slo_status")
    assert second.out.startswith("No sample is landed: 4 files landed before.\n")
    assert backlog(settings).pending == landed


def test_a_landing_zone_that_is_somebodys_own_gets_no_sample(
    settings: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    monkeypatch.setenv("ALERTS_LANDING_DIR", str(tmp_path / "theirs"))
    result = run("run", "--sample", "--select", "slo_status")

    assert result.out.startswith("No sample is landed: ALERTS_LANDING_DIR is set")
    assert list((tmp_path / "theirs").iterdir()) == []


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
    assert "Hypothesis" in result.out
