"""What a snapshot says of a table from the log alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.commands.lake import event
from alert_assets_tests.lake.appending import append

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def test_null_shares_are_of_what_came_last(settings: Settings) -> None:
    lakehouse = Lakehouse(settings)
    assert lakehouse.snapshot(BRONZE_EVENTS).null_percent() == {}
    append(lakehouse, BRONZE_EVENTS, event(1, host="a"), event(2, host="b"))
    append(lakehouse, BRONZE_EVENTS, event(3, host="a"), event(4), event(5), event(6))
    found = lakehouse.snapshot(BRONZE_EVENTS).null_percent(newer_than=1)
    assert (found["host"], found["error_code"]) == (75, 100)
    assert lakehouse.snapshot(BRONZE_EVENTS).null_percent()["host"] == 50
    assert "event_id" not in found  # never null
