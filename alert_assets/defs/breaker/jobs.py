"""What `alert-assets breaker` does, for the UI: jobs that open, close and reset a circuit breaker."""

from datetime import datetime
from enum import Enum

import dagster as dg
from pydantic import Field

from alert_assets.breaker.rules import Transition
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.contracts import CONTRACTS
from alert_assets.defs.operator_jobs import operator_job
from alert_assets.kernel.clock import parse_moment, utc_now

Breakers = dg.ResourceParam[CircuitBreakers]
Breaker = Enum("Breaker", {c.breaker: c.breaker for c in CONTRACTS.values() if c.breaker})  # type: ignore[misc]


class Reset(dg.Config):
    """Which breaker, who, and why."""

    name: Breaker = Field(description="The breaker.")
    who: str = Field(description="Your name; it stays in the history.")
    why: str = Field(description="The reason; it stays in the history.")


class Hold(Reset):
    """The same, and until when."""

    until: str = Field(
        "", description="30m, 2h or 1d from now, or a time like 2026-02-14T09:30:00Z; empty: until a reset."
    )

    def end(self) -> datetime | None:
        """When it ends by itself."""
        return parse_moment(self.until, utc_now(), ahead=True) if self.until else None


@operator_job("open_breaker")
def breaker_open(config: Hold, breakers: Breakers) -> str:
    """Hold a circuit breaker open: every run is refused until a reset, or until a time."""
    return _last(breakers.open(config.name.value, config.who, config.why, config.end()))


@operator_job("close_breaker")
def breaker_close(config: Hold, breakers: Breakers) -> str:
    """Hold a circuit breaker closed: every run is let through, whatever happens, until a reset or a time."""
    return _last(breakers.close(config.name.value, config.who, config.why, config.end()))


@operator_job("reset_breaker")
def breaker_reset(config: Reset, breakers: Breakers) -> str:
    """Reset a circuit breaker: runs are let through, counting starts from nothing, no hold is left."""
    return _last(breakers.reset(config.name.value, config.who, config.why))


def _last(steps: list[Transition]) -> str:
    """What was done; time may have moved the breaker just before."""
    step = steps[-1]
    return f"Circuit breaker {step.breaker}: {step.from_state} to {step.to_state} ({step.cause})."
