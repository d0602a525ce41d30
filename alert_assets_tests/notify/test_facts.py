"""The pipeline's own facts as alerts: what each is called, how bad it is, when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.notify import facts
from alert_assets.notify.alert import Alert
from alert_assets.notify.routing.file import load_routing
from alert_assets.notify.routing.rules import Matcher, Team
from alert_assets_tests.commands.lake import T0, Row, analysis, incident, window

NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("check", "passed", "blocking", "kind", "severity", "status"),
    [
        ("key_unique", False, True, "check_failure", "HIGH", "firing"),
        ("freshness", False, False, "check_failure", "MEDIUM", "firing"),
        ("schema", False, True, "contract_break", "HIGH", "firing"),
        ("schema", True, True, "contract_break", "INFO", "resolved"),
    ],
)
def test_a_check(check: str, passed: bool, blocking: bool, kind: str, severity: str, status: str) -> None:
    alert = facts.check_alert(
        "gold_incidents", check, passed=passed, blocking=blocking, description="d", run_id="r", at=NOON
    )
    assert (alert.kind, alert.severity, alert.status) == (kind, severity, status)
    assert (alert.episode, alert.owner) == (f"check/gold_incidents/{check}", "team:on-call")


def slo_row(severity: str | None) -> dict[str, Any]:
    rate = {"long_burn_rate": 20.0, "long_window_minutes": 60, "limit": 14.4, "firing": severity is not None}
    return {
        "slo": "freshness",
        "service": "pipeline",
        "severity": severity,
        "evaluated_at": NOON,
        "burn_rates": [rate],
        "budget_left_percent": 12.5,
    }


def test_an_slo_is_as_bad_as_its_fastest_burn_and_over_when_nothing_burns() -> None:
    burning, over = facts.slo_alert(slo_row("CRITICAL")), facts.slo_alert(slo_row(None))
    assert (burning.severity, burning.status, over.status) == ("CRITICAL", "firing", "resolved")
    assert burning.description == "20.0 times over 60 minutes (limit 14.4). 12.5 % of its error budget is left."
    assert burning.episode == over.episode == "slo/freshness"


def known(gold: Row, **fields: Any) -> Row:
    """A row of silver with what gold knows of it."""
    of_gold = {name: gold[name] for name in ("incident_id", "incident_context_text")}
    return {**window(gold), **of_gold, **fields}


def test_an_incident_is_of_the_team_that_owns_its_application_else_of_its_table() -> None:
    alert = facts.incident_alert(known(incident(1)))
    team = Team(owns=(Matcher({"application": (str(alert.application),)}),))
    assert replace(load_routing(), teams={"team:pay": team}).enrich(alert).owner == "team:pay"
    assert load_routing().enrich(alert).owner == GOLD_INCIDENTS.owner


def test_an_incident_says_what_its_alert_said_and_belongs_to_its_fingerprint() -> None:
    gold = incident(1)
    alert = facts.incident_alert(known(gold))
    assert (alert.episode, alert.status) == (f"incident/{gold['fingerprint']}", "firing")
    assert (alert.occurrence, alert.count) == (gold["window_start"].isoformat(), 12)
    assert (alert.since, alert.at, alert.fired_at) == (
        gold["first_seen_timestamp"],
        *[gold["last_seen_timestamp"]] * 2,
    )
    assert (alert.source, alert.message, alert.url) == ("grafana", "CPU is high", "https://x.example/1")
    assert (alert.value, alert.threshold, alert.host, alert.alert_type) == (97.5, 80.0, "host-a", "cpu_high")
    assert alert.description == gold["incident_context_text"]
    assert alert.incident_id == gold["incident_id"]
    assert (alert.cause, alert.confidence, alert.suggested_action) == (None, None, None)


def test_ours_win_over_an_events_labels() -> None:
    gold = incident(1)
    labels = {"team": "core", "host": "spoofed", "incident_id": "0", "alert_type": "none"}
    ours = {"host": "host-a", "incident_id": gold["incident_id"], "alert_type": "cpu_high"}
    assert facts.incident_alert(known(gold, labels=list(labels.items()))).labels == {"team": "core", **ours}
    assert facts.incident_alert(known(gold, labels=None, host=None, incident_id=None)).labels == {
        "alert_type": "cpu_high"
    }


def test_an_analysed_incident_has_a_cause_and_an_action() -> None:
    gold = incident(1)
    of_platinum = {name: analysis(gold)[name] for name in ("summary", "root_cause", "recommended_action")}
    alert = facts.incident_alert(known(gold, **of_platinum, confidence_score=0.8))
    assert alert.description == "cpu_high on payments-api: 92.30 where 80.00 is allowed."
    assert alert.cause == "Hypothesis: the rollout of v2.3.1 exhausted the connection pool."
    assert (alert.confidence, alert.suggested_action) == (0.8, "Roll v2.3.1 back.")


def test_an_incident_is_over_when_nothing_fired_after_its_resolution() -> None:
    gold = incident(1)
    last = gold["last_seen_timestamp"]
    over = facts.incident_alert(known(gold, resolved_at=last))
    assert (over.status, over.at, over.resolved_at, over.fired_at) == ("resolved", last, last, last)
    # As the release before wrote it: the first resolution.
    assert facts.incident_alert(known(gold, resolved_at=last - timedelta(seconds=1))).status == "firing"


def test_resolutions_alone_count_nothing() -> None:
    nothing = dict.fromkeys(("first_seen_timestamp", "last_seen_timestamp", "max_value", "current_value"))
    over = facts.incident_alert(window(incident(1), **nothing, alert_count=0, resolved_at=T0, source=None))
    assert (over.status, over.count, over.fired_at, over.since, over.at) == ("resolved", 0, None, T0, T0)
    assert (over.source, over.incident_id, over.description) == ("alert_assets", None, "")


def test_every_fact_comes_back_from_json_as_it_was() -> None:
    alerts = [
        facts.held_alert(3, 1, ("too bad",), ("/landing/a.jsonl",), NOON, NOON),
        facts.held_decided_alert(3, "released", "ann", NOON),
        facts.slo_alert(slo_row("LOW")),
        facts.incident_alert(known(incident(1))),
        facts.run_alert(
            "nightly", "r", failed=True, error="x" * 5000, stack_trace="\n".join(map(str, range(99))),
            since=NOON, at=NOON, owner=None,
        ),
    ]  # fmt: skip
    for alert in alerts:
        assert Alert.from_json(alert.to_json()) == alert
    assert len(alerts[-1].error or "") == 2000
    assert (alerts[-1].stack_trace or "").splitlines() == [str(n) for n in range(84, 99)]
