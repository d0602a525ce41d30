"""Labelled faults of real telemetry, landed and asked for by the command: what the product says, not its parts."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets import cli
from alert_assets.errors import UserError
from benchmarks import signal

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets_tests.conftest import NewPipeline

pytestmark = pytest.mark.slow

#: After the injection: metrics of one minute have shown it by then.
SEEN_AFTER = timedelta(minutes=3)


@pytest.fixture(scope="module")
def telemetry() -> Path:
    try:
        return signal.find_telemetry()
    except UserError as error:
        pytest.skip(str(error))


def land(new_pipeline: NewPipeline, data: Path, monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    landing = data / "landing"
    pipeline = new_pipeline(data, landing_dir=str(landing))
    landing.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for file in folder.glob("*.gz"):
            shutil.copyfile(file, landing / f"{folder.name}-{file.name}")
    assert pipeline.ingest().quarantined == 0
    monkeypatch.setenv("ALERTS_DATA_DIR", str(data))


def causes(capsys: pytest.CaptureFixture[str], at: datetime, *options: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as left:
        cli.main(["causes", "--at", at.isoformat(), "--json", *options])
    assert not left.value.code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("day", "first", "three", "of"), [("nezha-2022-08-22", 19, 19, 24), ("nezha-2023-01-30", 17, 17, 17)]
)
def test_the_injected_service_comes_first(
    new_pipeline: NewPipeline,
    telemetry: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    day: str,
    first: int,
    three: int,
    of: int,
) -> None:
    land(new_pipeline, tmp_path / "data", monkeypatch, telemetry / day, telemetry / f"dependencies-{day}")
    found, seconds = [], []
    for fault in signal.labels(telemetry, day):
        began = perf_counter()
        names = [cause["application_id"] for cause in causes(capsys, fault.at + SEEN_AFTER)["causes"]]
        seconds.append(perf_counter() - began)
        found.append((fault.application_id in names[:1], fault.application_id in names))

    assert len(found) == of
    assert sum(hit for hit, _ in found) >= first
    assert sum(hit for _, hit in found) >= three
    assert sorted(seconds)[len(seconds) // 2] < 2


def test_the_culprit_of_every_issue_comes_first(
    new_pipeline: NewPipeline,
    telemetry: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    land(new_pipeline, tmp_path / "data", monkeypatch, telemetry / signal.PETSHOP)
    for fault in signal.labels(telemetry, signal.PETSHOP):
        best = causes(capsys, fault.at, "--application", str(fault.symptom))["causes"][0]
        assert (best["application_id"], best["host"]) == (fault.application_id, fault.host)
        assert best["change"].startswith("config_change")
