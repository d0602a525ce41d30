"""Whether platinum has work to do, without doing it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from deltalake import CommitProperties, Transaction, write_deltalake

from alert_assets.analysis.refresh import incidents_wait, refresh_platinum
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.lake.lakehouse import Lakehouse, append, cursor_app
from alert_assets_tests.commands.lake import incident

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def test_it_has_when_gold_changed_or_a_failure_may_be_tried_again(settings: Settings) -> None:
    lakehouse = Lakehouse(settings)
    assert not incidents_wait(lakehouse, settings)
    append(lakehouse, GOLD_INCIDENTS, [incident(1)])
    assert incidents_wait(lakehouse, settings)
    refresh_platinum(lakehouse, settings)
    assert not incidents_wait(lakehouse, settings)

    lakehouse.update(PLATINUM_INCIDENTS, "true", {"error": "'the model is off'", "attempts": "1"})
    assert incidents_wait(lakehouse, settings)
    lakehouse.update(PLATINUM_INCIDENTS, "true", {"attempts": f"{settings.analysis_max_attempts}"})
    assert not incidents_wait(lakehouse, settings)

    append(lakehouse, GOLD_INCIDENTS, [incident(2)])
    assert incidents_wait(lakehouse, settings)


def test_it_has_when_an_older_release_made_the_table(settings: Settings) -> None:
    lakehouse = Lakehouse(settings)
    append(lakehouse, GOLD_INCIDENTS, [incident(1)])
    refresh_platinum(lakehouse, settings)
    rows = lakehouse.rows(PLATINUM_INCIDENTS).drop_columns(["_batch_id"])
    transactions = [Transaction(cursor_app(GOLD_INCIDENTS), lakehouse.cursor(PLATINUM_INCIDENTS, GOLD_INCIDENTS))]
    shutil.rmtree(lakehouse.uri(PLATINUM_INCIDENTS))
    properties = CommitProperties(app_transactions=transactions)
    write_deltalake(lakehouse.uri(PLATINUM_INCIDENTS), rows, commit_properties=properties)
    assert incidents_wait(lakehouse, settings)
    refresh_platinum(lakehouse, settings)
    assert not incidents_wait(lakehouse, settings)
