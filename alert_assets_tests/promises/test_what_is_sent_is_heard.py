"""Alertmanager posts to `alert-assets serve`, and a person hears of it once, and when it is over; secrets stay here.

The server is killed in between. What it answered is not lost, what is posted again is the same, and what no mapping
knows is kept.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from alert_assets_tests.intake.site import start
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.promises.conftest import site_in

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOKEN = "Bearer abcdefghijklmnop0123456789"
STARTED = datetime.now(UTC).replace(microsecond=0)


def posted(status: str) -> dict[str, Any]:
    """What version 4 of the webhook has."""
    ended = STARTED + timedelta(seconds=1) if status == "resolved" else None
    return {
        "version": "4",
        "groupKey": "shop",
        "status": status,
        "receiver": "alert-assets",
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "HighCPU", "service": "shop", "instance": "h1:9100", "severity": "critical"},
                "annotations": {"summary": f"CPU is high; Authorization: {TOKEN}"},
                "startsAt": STARTED.isoformat(),
                "endsAt": ended.isoformat() if ended else "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus.example.com/graph",
                "fingerprint": "0123456789abcdef",
            }
        ],
    }


def test_an_alert_of_alertmanager_is_heard_once_and_when_it_is_over(tmp_path: Path) -> None:
    with running() as service:
        site = site_in(
            tmp_path,
            **service.variables,
        )
        folder = site.settings.data_dir

        def post(sender: str, payload: Any) -> None:
            assert httpx.post(f"{server.url}/intake/{sender}", json=payload, trust_env=False).status_code == 202

        def heard() -> Counter[str]:
            messages = [request.json for request in service.requests]
            return Counter(one["action"] for one in messages if one["alert"]["application"] == "shop")

        server = start(folder)
        post("alertmanager", posted("firing"))
        post("grafana", {"unknown": True})
        server.kill()
        server = start(folder)
        post("alertmanager", posted("firing"))
        server.stop()
        site.materialize()
        site.command("alerts", "notify")
        assert heard()["open"] == 1
        assert "resolve" not in heard()

        server = start(folder)
        post("alertmanager", posted("resolved"))
        server.stop()
        for _ in range(2):
            site.materialize()
            site.command("alerts", "notify")

        assert (heard()["open"], heard()["resolve"]) == (1, 1)
        sent = "".join(request.body.decode() for request in service.requests)
        assert "CPU is high" in sent
        assert TOKEN not in sent
        assert "unmapped:grafana" in site.command("quarantine", "reasons")
