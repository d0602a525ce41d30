"""The pipeline's own facts as alerts: what each is called, how bad it is, when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alert_assets.notify import facts
from alert_assets.notify.alert import Alert
from alert_assets_tests.commands.lake import analysis, incident

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


def test_an_incident_is_its_fingerprint_and_over_when_nothing_fired_since_the_resolution() -> None:
    gold = incident(1)
    firing = facts.incident_alert(gold, None)
    assert (firing.episode, firing.status, firing.count) == (f"incident/{gold['fingerprint']}", "firing", 12)
    assert firing.description == gold["incident_context_text"]
    assert firing.suggested_action is None
    analysed = facts.incident_alert(gold, analysis(gold))
    assert "the rollout of v2.3.1" in analysed.description
    assert analysed.suggested_action == "Roll v2.3.1 back."
    last = gold["last_seen_timestamp"]
    assert facts.incident_alert({**gold, "resolved_at": last}, None).status == "resolved"
    fired_again = {**gold, "resolved_at": last - timedelta(seconds=1)}
    assert facts.incident_alert(fired_again, None).status == "firing"


def test_every_fact_comes_back_from_json_as_it_was() -> None:
    alerts = [
        facts.held_alert(3, 1, ("too bad",), ("/landing/a.jsonl",), NOON, NOON),
        facts.held_decided_alert(3, "released", "ann", NOON),
        facts.slo_alert(slo_row("LOW")),
        facts.incident_alert(incident(1), None),
        facts.run_alert(
            "nightly", "r", failed=True, error="x" * 5000, stack_trace="\n".join(map(str, range(99))),
            since=NOON, at=NOON, owner=None,
        ),
    ]  # fmt: skip
    for alert in alerts:
        assert Alert.from_json(alert.to_json()) == alert
    assert len(alerts[-1].error or "") == 2000
    assert (alerts[-1].stack_trace or "").splitlines() == [str(n) for n in range(84, 99)]
