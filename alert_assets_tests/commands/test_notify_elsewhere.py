"""A channel takes nothing for twenty minutes: who stands in hears the whole story, by the commands that people type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.notify.channels import relay as fake
from alert_assets_tests.notify.channels.service import answer, running
from alert_assets_tests.support.dagster_site import Site
from alert_assets_tests.support.faketime import needs_faketime

if TYPE_CHECKING:
    from pathlib import Path

MINUTE = timedelta(minutes=1)
ROUTING = "policies: {P2: {notify: {webhook: []}, escalation: [], reminders: null}}\n"


@needs_faketime
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_began_anew_meanwhile_is_an_opening_elsewhere_too(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text(ROUTING)
    # Runs are of today: Dagster, whose clock is put forward, sleeps no time at all with an error.
    began = datetime.now(UTC) - 30 * MINUTE
    with fake.running(None) as relay, running() as service:
        service.failure = answer(503)
        site = Site(
            tmp_path,
            **service.variables,
            ALERTS_ROUTING_FILE=str(tmp_path / "routing.yaml"),
            **relay.variables("ann@example.test"),
        )

        def happens(minutes: int, status: str) -> None:
            event = {
                "event_id": f"{status}-{minutes}",
                "event_type": "alert",
                "application_id": "shop",
                "timestamp": (began + minutes * MINUTE).isoformat(),
                "alert_type": "cpu_high",
                "severity": "HIGH",
                "status": status,
            }
            site.land(f"{minutes}.jsonl", event)
            site.command("run", "--select", "bronze_events,silver_alerts,gold_incidents")
            site.command("alerts", "notify", ahead=minutes * MINUTE)

        def about_shop() -> list[str]:
            return [subject for one in relay.deliveries if "shop" in (subject := str(one.mail["Subject"]))]

        for minutes, status in ((1, "firing"), (6, "resolved"), (12, "firing")):
            happens(minutes, status)
        assert about_shop() == []
        for minutes in (20, 21, 22):
            site.command("alerts", "notify", ahead=minutes * MINUTE)
        happens(26, "resolved")
        site.command("alerts", "notify", ahead=45 * MINUTE)
    assert about_shop() == ["[HIGH] cpu_high: shop", "[HIGH] Resolved: cpu_high: shop"] * 2
