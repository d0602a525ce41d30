"""Spans of Dagster's runs: run → step from the executor's events, and below a step what the step does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.breaker.dagster_internals import cause_of, current_step, metadata_value
from alert_assets.kernel import tracing

if TYPE_CHECKING:
    import dagster as dg
    from opentelemetry.trace import Span, SpanContext

_BEGINS = ("STEP_START", "STEP_RESTARTED")
_ENDS = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY")


class RunSpans:
    """The spans of a run, by its events."""

    def __init__(self, run_id: str, job: str) -> None:
        """Keep what names the run; no span begins."""
        self._run_id, self._job, self._attempts = run_id, job, dict[str, int]()
        self._own = tracing.derived(run_id)
        self._steps: dict[str, Span] = {}
        self._run: Span | None = None

    def begin(self) -> None:
        """Begin the run's span."""
        about: tracing.Attributes = {"dagster.run_id": self._run_id, "dagster.job": self._job}
        self._run = tracing.begin_derived(f"run {self._job}", self._own, None, about) if self._own else None

    def see(self, _plan_context: Any, event: dg.DagsterEvent) -> None:
        """Begin or end a step's span."""
        key, kind = event.step_key or "", event.event_type_value
        if kind in _BEGINS:
            self._begin(key)
        elif (step := self._steps.get(key)) is None:
            return
        elif kind in _ENDS:
            if kind != "STEP_SUCCESS":
                tracing.failed(step, cause_of(event) if kind == "STEP_FAILURE" else "up for retry")
            if kind == "STEP_FAILURE":
                self._broke(f"{key}: {cause_of(event)}")
            self._steps.pop(key).end()
        elif event.is_step_materialization:
            numbers = {name: metadata_value(event, name) for name in ("rows_in", "rows_out")}
            known: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
            step.add_event("materialized", {"asset": event.step_materialization_data.materialization.label, **known})

    def end(self, error: BaseException | None) -> None:
        """End the run's span, and those of steps that did not come to an end."""
        if error is not None:
            self._broke(error)
        for step in self._steps.values():
            tracing.failed(step, "did not end")
            step.end()
        if self._run:
            self._run.end()

    def _broke(self, error: BaseException | str) -> None:
        if self._run:
            tracing.failed(self._run, error)

    def _begin(self, key: str) -> None:
        attempt = self._attempts[key] = self._attempts.get(key, -1) + 1
        own = tracing.derived(self._run_id, key, attempt)
        about: tracing.Attributes = {
            "dagster.run_id": self._run_id,
            "dagster.step_key": key,
            "dagster.attempt": attempt,
        }
        if own and (step := tracing.begin_derived(f"step {key}", own, self._own, about)):
            self._steps[key] = step


def follow_steps() -> None:
    """Have spans of this process be below the step that it works on, in whichever process of the run."""
    tracing.find_parent(_of_step)


def _of_step() -> SpanContext | None:
    step = current_step()
    return tracing.derived(*step) if step else None
