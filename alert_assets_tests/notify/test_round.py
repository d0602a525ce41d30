"""One round of notification: alerts of the lake to a receiver, whoever asks for it."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.round import Round, look_for_incidents, notify
from alert_assets.notify.stack import NotificationStack
from alert_assets.state.tables import outbox
from alert_assets_tests.commands.lake import Row, incident, window
from alert_assets_tests.notify.channels.service import running, stall

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings


def fire(settings: Settings, number: int) -> Row:
    """Silver has one more dedup window, of now, and gold its incident, which is returned."""
    at = utc_now().replace(microsecond=0) - timedelta(minutes=number)
    times = dict.fromkeys(("alert_timestamp", "first_seen_timestamp", "last_seen_timestamp", "window_start"), at)
    gold = incident(number, **times)
    merge(settings, SILVER_ALERTS, window(gold))
    merge(settings, GOLD_INCIDENTS, gold)
    return gold


def merge(settings: Settings, table: Contract, row: Row) -> None:
    """The table has the row, in place of that with its key."""
    lakehouse = Lakehouse(settings)
    schema = pa.schema(lakehouse.create(table).schema().to_arrow())
    columns = pa.schema([field for field in schema if field.name != "_batch_id"])
    lakehouse.merge(table, table.key, pa.Table.from_pylist([row], columns), {})


@pytest.fixture
def stack(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NotificationStack:
    monkeypatch.chdir(tmp_path)
    return NotificationStack(settings)


def keys(stack: NotificationStack) -> list[str]:
    with stack.state.reading() as connection:
        return list(connection.scalars(outbox.select().with_only_columns(outbox.c.idempotency_key)))


def test_an_alert_goes_from_the_lake_to_its_receiver_once(settings: Settings, stack: NotificationStack) -> None:
    assert notify(stack, settings, budget_seconds=40) == Round()
    fire(settings, 1)
    done = notify(stack, settings, budget_seconds=40)
    assert (done.raised, done.dispatched) == (1, 1)
    assert done.sent >= 1
    again = notify(NotificationStack(settings), settings, budget_seconds=40)
    assert (again.raised, again.dispatched, again.sent) == (0, 0, 0), "another process knows how far it was read"


def test_nothing_is_begun_when_the_time_is_over(settings: Settings, stack: NotificationStack) -> None:
    fire(settings, 1)
    assert notify(stack, settings, budget_seconds=0) == Round()
    assert notify(stack, settings, budget_seconds=40).raised == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_receivers_that_never_answer_hold_a_round_up_for_one_request(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default 15 seconds for dispatching, 15 for delivering and 10 for the last request: a tick is under 45."""
    (tmp_path / "routing.yaml").write_text("routes:\n  - {name: everything, add: {webhook: []}}\n")
    for number in range(5):
        fire(settings, number)
    with running(lambda _: stall) as service:
        monkeypatch.setenv("ALERTS_WEBHOOK_URL", f"{service.url}/hook")
        monkeypatch.setenv("ALERTS_WEBHOOK_SECRET", "a-secret-of-the-tests")
        slow = settings.model_copy(
            update={"routing_file": str(tmp_path / "routing.yaml"), "allowed_hosts": "127.0.0.1"}
        )
        begun = time.monotonic()
        done = notify(NotificationStack(slow, budget_seconds=4), slow, budget_seconds=30)
        took = time.monotonic() - begun
    assert done.dispatched == 5
    assert 1 <= len(service.requests) < 5
    assert took < 2 + 2 + 10 + 10, "two ticks, one request, and a busy machine"


def test_a_look_that_is_cut_short_is_repeated(
    settings: Settings, stack: NotificationStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fire(settings, 1)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("alert_assets.notify.round._remember", lambda *_: 1 / 0)
        look_for_incidents(stack.state, settings)
    assert look_for_incidents(stack.state, settings).raised == 0, "it is in the outbox already"
    assert look_for_incidents(stack.state, settings).changed == 0
    assert len(keys(stack)) == 1


def test_a_table_that_was_made_anew_is_read_from_its_beginning(settings: Settings, stack: NotificationStack) -> None:
    for number in range(3):
        fire(settings, number)
    assert look_for_incidents(stack.state, settings).changed == 3
    shutil.rmtree(Lakehouse(settings).uri(SILVER_ALERTS))
    fire(settings, 4)
    assert look_for_incidents(stack.state, settings).raised == 1
