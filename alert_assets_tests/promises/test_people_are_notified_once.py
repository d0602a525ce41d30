"""An alert lands; a webhook receives one opening, nothing for repetitions, and one resolution when it is over."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.notify.channels.service import Service, running
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.support.dagster_site import DagsterDev, kill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Ten minutes before now, so that what follows within its five-minute window is not in the future.
FIRED_AT = datetime.fromtimestamp(time.time() // 300 * 300 - 600, UTC)


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def dev(tmp_path: Path, service: Service) -> Iterator[DagsterDev]:
    (tmp_path / "routing.yaml").write_text("routes:\n  - {name: everything, add: {webhook: []}}\n")
    site = site_in(
        tmp_path,
        **service.variables,
        ALERTS_ROUTING_FILE=str(tmp_path / "routing.yaml"),
    )
    dev = DagsterDev(site)
    try:
        dev.await_loaded()
        yield dev
    finally:
        kill(dev.process)


def event(second: int, status: str = "firing") -> dict[str, Any]:
    return {
        "event_id": f"cpu-{second}-{status}",
        "event_type": "alert",
        "application_id": "checkout",
        "host": "checkout-1",
        "timestamp": (FIRED_AT + timedelta(seconds=second)).isoformat(),
        "alert_type": "cpu_high",
        "severity": "CRITICAL",
        "status": status,
    }


def test_one_opening_and_one_resolution(dev: DagsterDev, service: Service) -> None:
    def actions() -> list[str]:
        posts = [post for post in (request.json for request in service.requests) if "checkout" in str(post)]
        return [post["action"] for post in posts]

    dev.site.land("firing.jsonl", event(0), event(10), event(20))
    dev.await_(lambda: "open" in actions(), "opening")
    dev.site.land("again.jsonl", event(30))
    dev.site.land("over.jsonl", event(40, "resolved"))
    dev.await_(lambda: "resolve" in actions(), "resolution")
    assert actions().count("open") == 1
    assert actions().count("resolve") == 1
    assert "no open" in dev.site.command("alerts").lower() or "checkout" not in dev.site.command("alerts")
