"""The alert that a transition of a circuit breaker raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.breaker.rules import ALARMING
from alert_assets.contracts import ALL_CONTRACTS

if TYPE_CHECKING:
    from alert_assets.breaker.rules import Transition


def is_announced(step: Transition) -> bool:
    """Whether a transition raises an alert: the breaker opened by itself, or is closed, which ends that alert.

    What a person did and the steps on the way back are in the history alone.
    """
    return step.cause in ALARMING or step.to_state == "CLOSED"


def breaker_alert(step: Transition) -> dict[str, Any]:
    """Return a transition's :class:`~alert_assets.notify.alert.Alert` as the outbox keeps it, in JSON.

    It is firing while the breaker refuses runs, and resolved when it is closed. Which transitions raise theirs:
    :func:`is_announced`.
    """
    closed = step.to_state == "CLOSED"
    tables = [name for name, contract in ALL_CONTRACTS.items() if contract.breaker == step.breaker]
    return {
        "kind": "breaker_transition",
        "episode": f"breaker/{step.breaker}",
        "status": "resolved" if closed else "firing",
        "severity": "CRITICAL" if step.cause in ALARMING else "INFO",
        "title": f"Circuit breaker {step.breaker}: {step.from_state} to {step.to_state}",
        "description": f"{step.reason} Guarded: {', '.join(tables)}." if tables else step.reason,
        "at": step.at.isoformat(),
        "since": step.at.isoformat(),
        "pipeline": step.breaker,
        "run_id": step.run_id,
        "labels": {"cause": step.cause} | ({"who": step.who} if step.who else {}),
        "owner": "team:data-platform",
        "suggested_action": None
        if closed
        else f"Find the cause (`alert-assets breaker history {step.breaker}`); when it is gone, "
        f"`alert-assets breaker reset {step.breaker} --why ...`, or wait for the probe.",
    }
