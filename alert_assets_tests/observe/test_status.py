"""How far a table is behind, beside others that commit and with a long log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.observe.status import table_status
from alert_assets_tests.commands.lake import event, write

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.mark.parametrize(("seen", "batches", "rows"), [(2, 0, 0), (1, 1, 2)])
def test_no_commit_is_read_that_was_taken_in(settings: Settings, seen: int, batches: int, rows: int) -> None:
    """Where no alert fires there may be a month of commits without rows behind the last that has some."""
    lakehouse = Lakehouse(settings)
    for count in (3, 2):
        write(settings, BRONZE_EVENTS, *(event(number) for number in range(count)))
    is_unseen = lakehouse.snapshot(BRONZE_EVENTS).version - batches + 1
    for number in range(5):
        lakehouse.move_cursors(BRONZE_EVENTS, {"another": number})
    lakehouse.create(SILVER_ALERTS)
    lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): seen})
    bronze = lakehouse.table_to_write(BRONZE_EVENTS)
    assert bronze is not None
    bronze.create_checkpoint()
    for version in range(is_unseen):
        Path(lakehouse.uri(BRONZE_EVENTS), "_delta_log", f"{version:020}.json").write_text('{"commitInfo": unreadable')

    behind = table_status(lakehouse, SILVER_ALERTS.name, utc_now()).behind
    assert behind is not None
    assert (behind.batches, behind.rows) == (batches, rows)


def test_the_last_commit_is_that_of_the_version_which_is_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process commits between the look at the table and that at its log."""
    write(settings, BRONZE_EVENTS, event(1))
    lakehouse = Lakehouse(settings)
    looked_at = lakehouse.snapshot(BRONZE_EVENTS)
    before = datetime.now(UTC)
    write(settings, BRONZE_EVENTS, event(2))
    monkeypatch.setattr(lakehouse, "snapshot", lambda _: looked_at)

    found = table_status(lakehouse, BRONZE_EVENTS.name, utc_now())
    assert (found.version, found.rows) == (1, 1)
    assert found.last_commit is not None
    assert found.last_commit <= before
