"""An application's alert lands; the mail goes to the team that owns it, by `alert-assets run` and `alerts notify`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.notify.channels.relay import running
from alert_assets_tests.support.dagster_site import Site

if TYPE_CHECKING:
    from pathlib import Path

ROUTING = """\
contacts:
  on-call: {email: [on-call@example.test]}
teams:
  team:payments:
    owns: [{application: "=~payments-.*"}]
    contacts:
      on-call: {email: [payments@example.test]}
"""


def alert(application: str, status: str, minutes_ago: int) -> dict[str, Any]:
    return {
        "event_id": f"{application}-{status}",
        "event_type": "alert",
        "application_id": application,
        "timestamp": (datetime.now(UTC) - timedelta(minutes=minutes_ago)).isoformat(),
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "status": status,
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_owners_incident_is_mailed_to_the_owner_and_to_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text(ROUTING)
    with running(None) as relay:
        site = Site(
            tmp_path,
            ALERTS_ROUTING_FILE=str(tmp_path / "routing.yaml"),
            **relay.variables("everybody@example.test"),
            ALERTS_LANDING_ENGINE="arrow",
            ALERTS_REFRESH_ENGINE="arrow",
        )
        for minutes_ago, status in ((8, "firing"), (2, "resolved")):
            site.land(f"{status}.jsonl", *(alert(name, status, minutes_ago) for name in ("payments-api", "search")))
            site.command("run", "--select", "bronze_events,silver_alerts,gold_incidents")
            site.command("alerts", "notify")

    mails = [(taken.recipients, str(taken.mail["Subject"])) for taken in relay.deliveries]
    assert sorted(mails) == [
        (("on-call@example.test",), "[HIGH] Resolved: cpu_high: search"),
        (("on-call@example.test",), "[HIGH] cpu_high: search"),
        (("payments@example.test",), "[HIGH] Resolved: cpu_high: payments-api"),
        (("payments@example.test",), "[HIGH] cpu_high: payments-api"),
    ]
