"""Whether platinum has work to do, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.analysis.refresh import incidents_wait, refresh_platinum
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.rows import append_rows
from alert_assets_tests.commands.lake import incident

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def test_it_has_when_gold_changed_or_a_failure_may_be_tried_again(settings: Settings) -> None:
    lakehouse = Lakehouse(settings)
    assert not incidents_wait(lakehouse, settings)
    append_rows(lakehouse, GOLD_INCIDENTS, [incident(1)])
    assert incidents_wait(lakehouse, settings)
    refresh_platinum(lakehouse, settings)
    assert not incidents_wait(lakehouse, settings)

    lakehouse.update(PLATINUM_INCIDENTS, "true", {"error": "'the model is off'", "attempts": "1"})
    assert incidents_wait(lakehouse, settings)
    lakehouse.update(PLATINUM_INCIDENTS, "true", {"attempts": f"{settings.analysis_max_attempts}"})
    assert not incidents_wait(lakehouse, settings)

    append_rows(lakehouse, GOLD_INCIDENTS, [incident(2)])
    assert incidents_wait(lakehouse, settings)
