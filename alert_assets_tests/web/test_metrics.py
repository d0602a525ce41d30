"""What a Prometheus scrapes of `serve`: the names, the figures, bounded labels, and who may."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.observe import metrics
from alert_assets_tests.commands.lake import event, quarantined, write
from alert_assets_tests.web.lake import notify, problem, put

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from alert_assets.settings import Settings
    from alert_assets_tests.web.conftest import Open

PROMTOOL = shutil.which("promtool")


def scraped(client: TestClient) -> dict[tuple[str, ...], float]:
    """Name and label values, and the figure."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_the_figures(client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_SECONDS", -1.0)
    put(settings, problem(1, severity="CRITICAL"), problem(2), problem(3, state="resolved"))
    notify(settings, problem(2))
    write(settings, BRONZE_EVENTS, event(1), event(2, source="grafana"))
    write(settings, BRONZE_QUARANTINE, quarantined("x", "malformed_json"), quarantined("y", "malformed_json"))
    breakers = circuit_breakers(settings)
    breakers.trip("pipeline", "3 failures")
    found = scraped(client)
    expected = {
        ("problems_open", "CRITICAL"): 1, ("problems_open", "HIGH"): 1, ("problems_open", "LOW"): 0,
        ("table_rows", "bronze_events"): 2, ("events_total", "log", "grafana"): 1, ("events_total", "log", ""): 1,
        ("quarantined_total", "malformed_json"): 2, ("notifications_total", "log", "sent"): 1,
        ("breaker_state", "pipeline", "OPEN"): 1, ("breaker_state", "pipeline", "CLOSED"): 0,
    }  # fmt: skip
    assert {key: found.get((f"alert_assets_{key[0]}", *key[1:])) for key in expected} == expected
    assert found["alert_assets_table_freshness_seconds", "gold_problems"] > 0
    # What a commit replaces was not there before.
    write(settings, BRONZE_EVENTS, event(3, source="grafana"))
    assert scraped(client)["alert_assets_events_total", "log", "grafana"] >= 2


def test_sources_without_end_are_bounded(client: TestClient, settings: Settings) -> None:
    write(settings, BRONZE_EVENTS, *(event(n, source=f"s{n}") for n in range(200)))
    found = {key: value for key, value in scraped(client).items() if key[0] == "alert_assets_events_total"}
    assert len(found) == 51
    assert found["alert_assets_events_total", "log", "other"] == 150
    assert sum(found.values()) == 200


@pytest.mark.skipif(PROMTOOL is None, reason="Debian's prometheus is needed")
def test_promtool_finds_nothing_wrong(client: TestClient, settings: Settings) -> None:
    put(settings, problem(1))
    checked = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=client.get("/metrics").content, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("header", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong-horse"}, 401), ({"Authorization": "Bearer correct-horse"}, 200)],
)
def test_from_elsewhere_a_token_is_needed(open_pages: Open, header: dict[str, str], status: int) -> None:
    client = open_pages(host="0.0.0.0", web_tokens="prometheus=correct-horse")
    assert client.get("/metrics", headers=header).status_code == status
    assert client.get("/", headers=header).status_code == 401
