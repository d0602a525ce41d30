"""`alert-assets slo`: the last evaluation, what is configured, and whether the files are right."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import SLO_STATUS
from alert_assets.quality.health import RunRecord
from alert_assets.slo.budget import slo_status
from alert_assets.slo.openslo import PACKAGED, load_slos
from alert_assets.slo.sli import History
from alert_assets_tests.commands.lake import MINUTE, T0, Row, write

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run


def evaluated(at: timedelta, status: str, runs: int) -> list[Row]:
    """The rows of an evaluation that saw a success two hours before, and so many runs with that outcome now."""
    now = T0 + at
    before = now - 120 * MINUTE
    records = [RunRecord(f"r{n}", "lake", status, now, now, now) for n in range(runs)]
    records.append(RunRecord("r", "lake", "SUCCESS", before, before, before))
    return slo_status(load_slos(), History(runs=records), now)


def test_before_the_first_evaluation(run: Run) -> None:
    result = run("slo", "status", "--fail-if-burning")
    assert result.code == 0
    assert "No SLO has been evaluated yet" in result.out
    assert "--select slo_status" in result.out
    assert run("slo", "status", "--json").json["slos"] == []


def test_the_last_evaluation_is_shown(settings: Settings, run: Run) -> None:
    write(settings, SLO_STATUS, *evaluated(timedelta(), "FAILURE", 20), *evaluated(MINUTE, "SUCCESS", 30))
    result = run("slo", "status")
    shown = {line.split()[0]: line for line in result.out.splitlines() if line}

    assert result.code == 0
    assert result.err == ""
    assert shown["run-success"].split()[1:5] == ["ok", "95.00%", "100.00%", "100.00%"]
    assert "0 of 31" in shown["run-success"]
    assert "30d" in shown["run-success"]
    assert shown["gold-freshness"].split()[1] == "no_data"
    assert "Evaluated 2026-02-14 10:07:00Z" in result.out
    assert run("slo", "status", "--fail-if-burning").code == 0


def test_a_fast_burn_is_shown_and_tested_for(settings: Settings, run: Run) -> None:
    write(settings, SLO_STATUS, *evaluated(timedelta(), "FAILURE", 20))
    result = run("slo", "status", "--fail-if-burning")
    assert result.code == 1
    assert "CRITICAL: 20.0 over 1h, 20.0 over 5m, limit 14.4" in result.out
    assert run("slo", "status").code == 0


def test_what_is_missing_while_it_warms_up_is_shown(settings: Settings, run: Run) -> None:
    now = T0
    runs = [RunRecord(f"r{n}", "lake", "FAILURE", now, now, now - 5 * MINUTE) for n in range(3)]
    write(settings, SLO_STATUS, *slo_status(load_slos(), History(runs=runs), now))
    shown = next(line for line in run("slo", "status").out.splitlines() if line.startswith("run-success"))
    assert shown.split()[1] == "warming_up"
    assert "5 of 60 minutes of history, 3 of 10 runs" in shown
    assert run("slo", "status", "--fail-if-burning").code == 0


def test_json_has_the_columns_of_the_table(settings: Settings, run: Run) -> None:
    rows = evaluated(timedelta(), "FAILURE", 20)
    write(settings, SLO_STATUS, *rows)
    found = {slo["slo"]: slo for slo in run("slo", "status", "--json").json["slos"]}

    assert sorted(found) == sorted(row["slo"] for row in rows)
    burning = found["run-success"]
    assert (burning["state"], burning["severity"]) == ("burning", "CRITICAL")
    # 20 of 21 bad where 5 % may be, for 2 hours of 720.
    assert burning["budget_left_percent"] == pytest.approx(100 - 100 * (20 / 21 / 0.05) * 2 / 720)
    assert burning["evaluated_at"] == "2026-02-14T10:06:00.000000Z"
    assert burning["burn_rates"][0] == {
        "severity": "CRITICAL",
        "long_window_minutes": 60,
        "short_window_minutes": 5,
        "long_burn_rate": 20.0,
        "short_burn_rate": 20.0,
        "limit": 14.4,
        "events": 20,
        "firing": True,
    }


def test_list(run: Run) -> None:
    result = run("slo", "list")
    assert result.code == 0
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == [slo.name for slo in load_slos()]
    slos = {slo["slo"]: slo for slo in run("slo", "list", "--json").json["slos"]}
    assert slos["quarantine-ratio"]["opens_breaker"] == "pipeline"
    assert slos["ingested-to-bronze-latency"]["counts"] == "batches"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged files."""
    copy = tmp_path / "slos"
    copy.mkdir()
    for path in PACKAGED.glob("*.yaml"):
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_check_what_is_right(run: Run, folder: Path) -> None:
    assert (run("slo", "check").code, run("slo", "check", str(folder)).code) == (0, 0)
    assert run("slo", "check", str(folder)).out == f"20 SLOs in {folder}: nothing wrong.\n"


def test_check_names_file_line_and_field(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "pipeline.yaml"
    text = path.read_text("utf-8").replace("stage: event_to_gold", "stage: gold", 1)
    path.write_text(text, "utf-8")
    line = text[: text.index("stage: gold")].count("\n") + 1
    result = run("slo", "check", str(folder))

    assert (result.code, result.out) == (1, "")
    assert f"{path}:{line}: spec.indicator.spec.thresholdMetric.metricSource.spec.stage is 'gold'" in result.err
    monkeypatch.setenv("ALERTS_SLO_DIR", str(folder))
    assert run("slo", "check").code == 1
    assert run("slo", "list").code == 2


def test_check_a_folder_that_is_not_there_is_wrong_use(run: Run, tmp_path: Path) -> None:
    result = run("slo", "check", str(tmp_path / "nowhere"))
    assert result.code == 2
    assert "cannot be read" in result.err
    assert "ALERTS_SLO_DIR" in result.err
