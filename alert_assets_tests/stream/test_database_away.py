"""The state database is away for a moment just after a message was sent: it is not sent again."""

from __future__ import annotations

import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.notify.channels.service import answer, running
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.promises.test_people_are_notified_in_seconds import PATIENCE_SECONDS, await_, event, heard
from alert_assets_tests.support.faketime import needs_faketime
from alert_assets_tests.support.stream import Stream

if TYPE_CHECKING:
    from alert_assets_tests.notify.channels.service import Received, Reply

AWAY_SECONDS = 4.0


@needs_faketime
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_sent_while_the_database_went_away_is_sent_once(tmp_path: Path) -> None:
    went: list[Path] = []

    def bring_back(moved: dict[Path, Path]) -> None:
        time.sleep(AWAY_SECONDS)
        for there, away in moved.items():
            away.rename(there)

    def answers(received: Received) -> Reply:
        if received.json["alert"]["application"] == "shop" and not went:
            # Before the answer: nothing can be recorded by the time it is there.
            moved = {path: path.with_name(f"away-{path.name}") for path in state.parent.glob(f"{state.name}*")}
            for there, away in moved.items():
                there.rename(away)
            went.extend(moved)
            threading.Thread(target=bring_back, args=(moved,), daemon=True).start()
        return answer(200, {})

    with running(answers) as service:
        site = site_in(tmp_path / "site", **service.variables)
        state = Path(str(site.settings.state_url.get_secret_value()).removeprefix("sqlite:///"))
        with Stream(site) as stream:
            site.land("before.jsonl", event("before"))
            await_(service, "before", "open", PATIENCE_SECONDS)
            site.land("shop.jsonl", event("shop"))
            await_(service, "shop", "open", PATIENCE_SECONDS)
            site.land("after.jsonl", event("after"))
            await_(service, "after", "open", PATIENCE_SECONDS)
            assert "Stopped." in stream.end(signal.SIGTERM)
        assert state in went
        # Beyond what a claim of a process lasts that has died.
        site.command("alerts", "notify", ahead=timedelta(minutes=5))
        assert {name: heard(service)[name, "open"] for name in ("before", "shop", "after")} == {
            "before": 1,
            "shop": 1,
            "after": 1,
        }
