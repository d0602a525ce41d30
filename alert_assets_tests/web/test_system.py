"""How the product itself is: each page has what its command prints."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE, QUALITY_SCORES, SLO_STATUS
from alert_assets.intake.activity import Activity
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.check_results import record_check
from alert_assets.state.database import State
from alert_assets.state.tables import deliveries
from alert_assets.web.system import PAGES
from alert_assets_tests.commands.lake import event, quarantined, write
from alert_assets_tests.web.lake import notify, problem, slo_status
from alert_assets_tests.web.test_problems import token

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from alert_assets.settings import Settings

MARKUP = "<b>bold</b>"


@pytest.mark.parametrize("name", PAGES)
def test_with_nothing_there_yet(client: TestClient, name: str) -> None:
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    assert f'<a href="/{name}" aria-current="page">' in answer.text


def test_a_runbook_is_a_page(client: TestClient) -> None:
    html = client.get("/runbooks/breaker_transition").text
    assert "<h1>A circuit breaker opened</h1>" in html
    assert "<code>alert-assets breaker history NAME --limit 5</code>" in html
    for none in ("nothing", "..%2f..%2fsettings"):
        assert client.get(f"/runbooks/{none}").status_code == 404


def test_tables(client: TestClient, settings: Settings) -> None:
    write(settings, BRONZE_EVENTS, *(event(n, timestamp=utc_now() - timedelta(days=2)) for n in range(3)))
    html = client.get("/tables").text
    assert '<th scope="row">bronze_events</th>' in html
    assert '<td class="warn"><time' in html
    assert "3 rows of bronze_events" in html
    assert "Not running" in html


def test_tables_are_as_they_are_each_time(client: TestClient, settings: Settings) -> None:
    write(settings, BRONZE_EVENTS, event(1))
    assert "1 row of bronze_events" in client.get("/tables").text
    write(settings, BRONZE_EVENTS, event(1), event(2))
    assert "3 rows of bronze_events" in client.get("/tables").text


def test_quality(client: TestClient, settings: Settings) -> None:
    now = utc_now()
    with State(settings.state_url).writing() as connection:
        result = {"table_name": "silver_alerts", "severity": "ERROR", "blocking": True, "at": now}
        record_check(connection, **result, check_name="key_unique", passed=False, description=f"2 keys twice {MARKUP}")
        record_check(connection, **result, check_name="schema", passed=True)
    score = {"table_name": "silver_alerts", "dimension": "validity", "evaluated_at": now, "score": 91.25}
    write(settings, QUALITY_SCORES, score, {**score, "evaluated_at": now - timedelta(days=1), "score": 55.5})
    html = client.get("/quality").text
    assert "2 keys twice &lt;b&gt;bold&lt;/b&gt;" in html
    assert "1 of 2 checks failed" in html
    assert '<td class="n warn">91.2</td>' in html
    assert "55.5" not in html


def test_slos(client: TestClient, settings: Settings) -> None:
    write(settings, SLO_STATUS, slo_status(utc_now()))
    html = client.get("/slos").text
    assert "CRITICAL: 20.5 over 1h, 31.0 over 5m, limit 14.4" in html
    assert "12.5%" in html
    assert "<td>30d</td>" in html


def test_a_breaker_is_reset_by_a_form_of_ours_alone(client: TestClient, settings: Settings) -> None:
    breakers = circuit_breakers(settings)
    breakers.trip("pipeline", f"3 failures in a row {MARKUP}")
    html = client.get("/breakers").text
    assert "3 failures in a row &lt;b&gt;" in html
    assert client.post("/breakers/pipeline/reset").status_code == 403
    assert {status.name: status.state for status in breakers.all()}["pipeline"] == "OPEN"
    form = {"token": token(html), "why": "mended"}
    assert client.post("/breakers/none/reset", data=form).status_code == 409
    answer = client.post("/breakers/pipeline/reset", data=form)
    assert answer.headers["location"] == "/breakers?done=reset"
    assert "runs are let through" in client.get("/breakers?done=reset").text
    last = breakers.history(limit=1)[0]
    assert (last.to_state, last.who, last.reason) == ("CLOSED", "ann", "mended")


def test_quarantine_and_held_batches(client: TestClient, settings: Settings) -> None:
    write(settings, BRONZE_QUARANTINE, quarantined(f"{MARKUP} password=hunter2hunter2", "malformed_json"))
    held = {
        "batch": 3, "raw": "x", "because": ["60 % of the lines are broken"], "_source_file": "/landing/a.jsonl",
        "_landed_at": utc_now(), "_ingested_at": utc_now(),
    }  # fmt: skip
    write(settings, BRONZE_HELD, held)
    html = client.get("/quarantine").text
    assert "1 line open" in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "hunter2" not in html
    assert "Batch 3" in html
    assert "60 % of the lines are broken" in html


def test_who_reads_lines_as_they_came_is_in_the_audit(client: TestClient, settings: Settings) -> None:
    line = f"{MARKUP} jane.doe@example.com password=hunter2hunter2"
    write(settings, BRONZE_QUARANTINE, quarantined(line, "malformed_json"))
    html = client.get("/quarantine").text
    assert "jane.doe" not in html
    assert "j***@example.com" in html
    assert client.post("/quarantine/lines").status_code == 403
    assert Notifications(State(settings.state_url)).audit() == []
    html = client.post("/quarantine/lines", data={"token": token(html)}).text
    assert "jane.doe@example.com" in html
    assert "hunter2" not in html
    assert "<b>bold" not in html
    (entry,) = Notifications(State(settings.state_url)).audit()
    assert (entry.who, entry.action, entry.subject) == ("ann", "read", "bronze_quarantine")
    # What keeps pages fresh asks for the address that it is at.
    assert client.get("/quarantine/lines").headers["location"] == "/quarantine"


def test_senders(client: TestClient, settings: Settings) -> None:
    activity = Activity(settings.state_dir, 8080)
    activity.record("grafana", 3, 1, b'{"event_type":"alert","application_id":"shop"}', utc_now())
    activity.save()
    html = client.get("/senders").text
    assert '<th scope="row">grafana</th>' in html
    assert "alert shop" in html
    assert "<b>alertmanager</b>" in html


def test_deliveries_that_failed(client: TestClient, settings: Settings) -> None:
    notify(settings, problem(1, title=MARKUP))
    assert "Everything that was sent has arrived." in client.get("/deliveries").text
    with State(settings.state_url).writing() as connection:
        connection.execute(deliveries.update().values(status="dead", last_error=f"the service said no {MARKUP}"))
    html = client.get("/deliveries").text
    assert "given up" in html
    assert "the service said no &lt;b&gt;" in html
