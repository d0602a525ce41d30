"""A column that freezes for an hour: from landed lines to what a person is sent, and that it is over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import COLUMN_PROFILES, DRIFT_STATUS
from alert_assets.defs.reliability.assets import column_profiles, drift_status
from alert_assets.defs.table_checks import table_checks
from alert_assets.notify.round import notify
from alert_assets.notify.stack import NotificationStack
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.ingest.test_without_spark import no_spark
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.quality.test_drift_status import Event, events, frozen
from alert_assets_tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings

pytestmark = pytest.mark.slow


def land(settings: Settings, name: str, found: list[Event]) -> None:
    """Land events, and ingest them as one batch."""
    pipeline = Pipeline(settings, no_spark)
    pipeline.land(f"{name}.jsonl", *(json.dumps(event).encode() for event in found))
    assert pipeline.ingest().rows == len(found)


def measure(settings: Settings) -> None:
    """The two tables and their checks as a run makes them, and the round at its end."""
    breakers = circuit_breakers(settings)
    pipeline = Pipeline(settings, no_spark)
    definitions = dg.Definitions(
        assets=[column_profiles, drift_status],
        asset_checks=table_checks([COLUMN_PROFILES.name, DRIFT_STATUS.name]),
        jobs=[dg.define_asset_job("measure")],
        resources={"settings": settings, "lakehouse": pipeline.lakehouse, "breakers": breakers},
    )
    assert definitions.resolve_job_def("measure").execute_in_process(raise_on_error=False).success
    notify(NotificationStack(settings), settings, budget_seconds=20)


def test_a_frozen_column_is_one_message_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(
        tmp_path, landing_engine="arrow", refresh_engine="arrow", drift_baseline_days=2, allowed_hosts="127.0.0.1"
    )
    with running() as service:
        for name, value in service.variables.items():
            monkeypatch.setenv(name, value)

        def landed(first: int, hours: int = 1, *, is_frozen: bool = False) -> list[tuple[str, str]]:
            """Messages so far when these hours have landed."""
            found = events(hours, first)
            for event in found if is_frozen else ():
                frozen(event)
            land(settings, f"hour-{first}", found)
            measure(settings)
            return service.told

        assert landed(0, 27) == []
        assert landed(27, is_frozen=True) == [], "the hour is not over"
        opened = ("open", "Check drift_of_bronze_events of drift_status failed")
        assert landed(28) == [opened]
        said = service.last.json["alert"]["description"]
        assert "memory_percent at 2026-02-03 03:00Z: one value in" in said
        resolved = ("resolve", "Check drift_of_bronze_events of drift_status passes again")
        assert landed(29) == [opened, resolved]
        assert landed(30) == [opened, resolved]
