"""A demo pages nobody about the pipeline: the sample, an hour of `simulate`, then nothing for as long as one likes."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from sqlalchemy import select

from alert_assets import cli
from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.evaluate import evaluate, record
from alert_assets.checks.tables import CHECKS
from alert_assets.defs.reliability import assets
from alert_assets.kernel.clock import utc_now
from alert_assets.state.tables import outbox

if TYPE_CHECKING:
    from alert_assets_tests.support.pipeline import Pipeline

SAMPLE = Path(__file__).parents[3] / "data" / "landing"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sample_simulate_then_nothing(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, lakehouse = pipeline.settings, pipeline.lakehouse
    breakers = circuit_breakers(settings)
    for path in SAMPLE.glob("_sample-*"):
        shutil.copy(path, pipeline.landing / path.name.removeprefix("_"))
    pipeline.run()
    monkeypatch.setenv("ALERTS_DATA_DIR", str(settings.data_dir))
    with pytest.raises(SystemExit):
        cli.main(["simulate"])
    pipeline.run()
    refresh_platinum(lakehouse, settings)
    resources = {"settings": settings, "lakehouse": lakehouse, "breakers": breakers}

    for minutes in (0, 5, 11, 16, 21, 45, 61, 120):
        now = utc_now() + timedelta(minutes=minutes)
        monkeypatch.setattr(assets, "utc_now", lambda now=now: now)
        with dg.DagsterInstance.ephemeral() as instance:
            assert dg.materialize(assets.ASSETS, instance=instance, resources=resources).success
        for contract, checks in CHECKS.values():
            done = list(evaluate(lakehouse, settings, breakers, contract, checks(), now=now))
            record(breakers.state, contract, done, at=now, run_id=f"checks-{minutes}")

    with breakers.state.reading() as connection:
        urgent = outbox.c.severity.in_(["CRITICAL", "HIGH"]) & (outbox.c.kind != "incident")
        assert list(connection.scalars(select(outbox.c.subject).where(urgent))) == []
