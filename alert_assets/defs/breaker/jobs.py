"""What `alert-assets breaker` does, for the UI: jobs that open, close and reset a circuit breaker.

They bring an executor of their own: the gate never stands before the way to open it.
"""

from datetime import datetime

import dagster as dg
from pydantic import Field

from alert_assets.breaker.rules import Transition
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.defs.metadata import typed_by_a_person
from alert_assets.kernel.clock import parse_moment, utc_now

Breakers = dg.ResourceParam[CircuitBreakers]


class Reset(dg.Config):
    """Which breaker, who, and why."""

    name: str = Field(description="The breaker: pipeline or analysis.")
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


@dg.op(name="open_breaker")
def _open(context: dg.OpExecutionContext, config: Hold, breakers: Breakers) -> None:
    with typed_by_a_person():
        _say(context, breakers.open(config.name, config.who, config.why, config.end()))


@dg.op(name="close_breaker")
def _close(context: dg.OpExecutionContext, config: Hold, breakers: Breakers) -> None:
    with typed_by_a_person():
        _say(context, breakers.close(config.name, config.who, config.why, config.end()))


@dg.op(name="reset_breaker")
def _reset(context: dg.OpExecutionContext, config: Reset, breakers: Breakers) -> None:
    with typed_by_a_person():
        _say(context, breakers.reset(config.name, config.who, config.why))


@dg.job(
    executor_def=dg.in_process_executor,
    description="Hold a circuit breaker open: every run is refused until a reset, or until a time.",
)
def breaker_open() -> None:
    """One op."""
    _open()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Hold a circuit breaker closed: every run is let through, whatever happens, until a reset or a time.",
)
def breaker_close() -> None:
    """One op."""
    _close()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Reset a circuit breaker: runs are let through, counting starts from nothing, no hold is left.",
)
def breaker_reset() -> None:
    """One op."""
    _reset()


breaker_jobs: list[dg.JobDefinition] = [breaker_open, breaker_close, breaker_reset]


def _say(context: dg.OpExecutionContext, steps: list[Transition]) -> None:
    """What was done; time may have moved the breaker just before."""
    step = steps[-1]
    context.log.info(f"Circuit breaker {step.breaker}: {step.from_state} to {step.to_state} ({step.cause}).")
