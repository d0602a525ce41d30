"""An alert lands while `alert-assets stream` runs, and a webhook has it in seconds; SIGKILL costs nothing but time."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import NOTIFIED_STAGE, PIPELINE_LATENCY
from alert_assets_tests.notify.channels.service import Service, running
from alert_assets_tests.oracle.comparison import assert_same_tables, expected_of
from alert_assets_tests.promises.conftest import site_in, tables
from alert_assets_tests.support.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: On a machine that does nothing else; one with five things to do for each core takes five times as long.
SECONDS = 15.0

#: For what includes the start of Spark.
PATIENCE_SECONDS = 300.0


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def site(tmp_path: Path, service: Service) -> Site:
    return site_in(
        tmp_path,
        **service.variables,
    )


def event(application: str, status: str = "firing") -> dict[str, Any]:
    """An event of this moment."""
    return {
        "event_id": f"{application}-{status}",
        "event_type": "alert",
        "application_id": application,
        "host": "h1",
        "timestamp": datetime.now(UTC).isoformat(),
        "alert_type": "cpu_high",
        "severity": "CRITICAL",
        "status": status,
    }


def heard(service: Service) -> Counter[tuple[str, str]]:
    """How often each application was heard of, by action."""
    messages = [request.json for request in service.requests]
    return Counter((one["alert"]["application"], one["action"]) for one in messages)


def await_(service: Service, application: str, action: str, seconds: float) -> float:
    """Seconds until a message came."""
    began = time.monotonic()
    while heard(service)[application, action] == 0:
        assert time.monotonic() - began < seconds, heard(service)
        time.sleep(0.05)
    return time.monotonic() - began


def test_an_alert_is_heard_in_seconds_and_a_kill_loses_nothing(site: Site, service: Service) -> None:
    with Stream(site) as stream:
        # The first one waits for what its cycle loads.
        site.land("first.jsonl", event("first"))
        await_(service, "first", "open", PATIENCE_SECONDS)
        site.land("shop.jsonl", event("shop"))
        await_(service, "shop", "open", SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))

        with pytest.raises(AssertionError, match="Another `alert-assets stream` works on"):
            site.command("stream")

        # Bronze has it, and what is downstream has not.
        site.land("cut-short.jsonl", event("cut-short"))
        stream.await_line("Batch 2:")
        stream.end(signal.SIGKILL)
    site.land("over.jsonl", event("shop", "resolved"), event("first", "resolved"))
    with Stream(site) as stream:
        await_(service, "cut-short", "open", PATIENCE_SECONDS)
        await_(service, "shop", "resolve", PATIENCE_SECONDS)
        await_(service, "first", "resolve", PATIENCE_SECONDS)
        assert "Stopped." in stream.end(signal.SIGTERM)
        assert stream.process.returncode == 0

    site.command("alerts", "notify")
    # With rules the analysis is in the first message.
    assert heard(service) == Counter(
        {("first", "open"): 1, ("shop", "open"): 1, ("cut-short", "open"): 1}
        | {("first", "resolve"): 1, ("shop", "resolve"): 1}
    )
    site.check_tables()
    site.materialize("pipeline_latency")
    stage = f"SELECT sum(row_count) AS openings FROM t WHERE stage = '{NOTIFIED_STAGE}'"
    assert site.lakehouse.rows(PIPELINE_LATENCY, stage)["openings"].to_pylist() == [3]
    landed = sorted((site.settings.data_dir / "landing").iterdir())
    lines = [line for path in landed for line in path.read_bytes().splitlines()]
    assert_same_tables(tables(site), expected_of(lines, site.settings, datetime.now(UTC)))
