"""Accepted is landed: a landing file that goes missing before it is ingested is a problem that `status` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.ingest.balance import Balance, intake_balance
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.commands.conftest import Run, run
from alert_assets_tests.commands.conftest import settings as in_environment
from alert_assets_tests.commands.lake import event, write
from alert_assets_tests.intake.site import start

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings

__all__ = ["in_environment", "run"]


@pytest.fixture
def settings(in_environment: Settings) -> Settings:
    return in_environment


def landed(settings: Settings) -> list[Path]:
    """Of three requests, a file each; the server was killed after the last, and another one recovered it."""
    folder = settings.data_dir
    server = start(folder, ALERTS_INTAKE_ROLL_SECONDS="0")
    for count in (1, 2):
        body = b'{"event_id": "e"}\n' * count
        assert httpx.post(f"{server.url}/intake/events", content=body, trust_env=False).status_code == 202
    server.kill()
    server = start(folder, ALERTS_INTAKE_ROLL_SECONDS="3600")
    for _ in range(2):
        body = b'{"event_id": "late"}\n' * 4
        assert httpx.post(f"{server.url}/intake/events", content=body, trust_env=False).status_code == 202
    server.kill()
    start(folder).stop()
    return sorted((folder / "landing").glob("intake-*.jsonl"))


def balance(settings: Settings) -> Balance:
    return intake_balance(Lakehouse(settings), settings)


def test_what_was_accepted_and_is_gone_is_named(settings: Settings, run: Run) -> None:
    files = landed(settings)
    assert balance(settings) == Balance(11, 11, ())
    assert "Intake: 11 lines accepted, 11 of them landed" in run("status").out

    kept = files[1].read_bytes()
    files[1].unlink()
    assert balance(settings) == Balance(11, 9, (files[1].name,))
    result = run("status")
    assert result.code == 1
    assert f"2 lines that intake accepted are neither in the landing zone nor ingested: {files[1].name}" in result.err
    files[1].write_bytes(kept[:-1])
    assert balance(settings).missing == (files[1].name,)
    files[1].write_bytes(kept)
    assert balance(settings).missing == ()


def test_what_is_in_bronze_may_leave_the_landing_zone(settings: Settings) -> None:
    [first, *rest] = landed(settings)
    first.unlink()
    assert balance(settings).missing == (first.name,)
    write(settings, BRONZE_EVENTS, event(1, _source_file=str(first), _landed_at=utc_now()))
    assert balance(settings).missing == ()
    assert len(rest) >= 2
