"""Links of an alert into the Dagster UI."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from alert_assets.notify.alert import Alert
from alert_assets.notify.links import with_links
from alert_assets.notify.routing.file import load_routing

NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)
ALERT = Alert("check_failure", "check/silver_alerts/schema", "HIGH", "failed", NOON, NOON)


def test_an_alert_links_to_its_run_and_its_table() -> None:
    alert = replace(ALERT, run_id="a b/c", table="silver_alerts", links={"Run": "https://mine"})
    assert with_links(alert, "https://dagster.example/").links == {
        "Run": "https://mine",
        "silver_alerts": "https://dagster.example/assets/silver_alerts?view=checks",
    }
    assert with_links(replace(alert, links={}), "http://d").links["Run"] == "http://d/runs/a%20b%2Fc"


def test_what_the_resident_process_does_has_no_run_in_dagster() -> None:
    assert with_links(replace(ALERT, run_id="stream/1"), "http://d").links == {}


def test_a_breaker_links_to_its_steps_and_without_a_url_there_are_no_links() -> None:
    step = replace(ALERT, kind="breaker_transition")
    assert list(with_links(step, "http://d").links) == ["Circuit breakers"]
    assert with_links(step, "").links == {}


def test_an_incident_links_to_its_problems_page() -> None:
    alert = replace(ALERT, incident_id="0123456789abcdef")
    assert with_links(alert, "", "https://alerts.example").links == {
        "Problem": "https://alerts.example/incidents/0123456789abcdef"
    }
    assert with_links(alert, "", "").links == {}
    assert with_links(ALERT, "", "https://alerts.example").links == {}


def test_routing_fills_them_in() -> None:
    routing = replace(load_routing(), dagster_url="http://d")
    assert routing.enrich(replace(ALERT, run_id="r")).links == {"Run": "http://d/runs/r"}
