"""What the steps of a run use, recorded when the run has ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from alert_assets.breaker.dagster_internals import number_of, step_begun, step_ended
from alert_assets.breaker.gate import RunRefused
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.usage import StepMeter, usage_of
from alert_assets.spark.server import processes_of_run
from alert_assets.state.usage import StepUsage, record_usage

if TYPE_CHECKING:
    import dagster as dg

    from alert_assets.state.database import State


class RunUsage:
    """CPU time and bytes of a run's processes and the Spark server, and a model's tokens, by step.

    The first run of a process is charged with the process's own start, a refused one with nothing.
    """

    _processes_begun: ClassVar[set[int]] = set()

    def __init__(self, state: State, run_id: str, job: str) -> None:
        """Keep what names the run; nothing is measured."""
        self._state, self._run_id, self._job = state, run_id, job
        self._tokens: dict[str, tuple[int, int]] = {}

    def begin(self) -> None:
        """Begin to measure."""
        own = os.getpid()
        is_first = own not in self._processes_begun
        self._processes_begun.add(own)
        before = usage_of(pid for pid in processes_of_run() if pid != own) if is_first else None
        self._meter = StepMeter(processes_of_run, before)

    def see(self, _plan_context: Any, event: dg.DagsterEvent) -> None:
        """Take note of a step's begin, end or materialization."""
        if step := step_begun(event):
            self._meter.begin(step)
        elif step := step_ended(event):
            self._meter.end(step)
        prompt, completion = number_of(event, "prompt_tokens"), number_of(event, "completion_tokens")
        if event.step_key and (prompt or completion):
            before = self._tokens.get(event.step_key, (0, 0))
            self._tokens[event.step_key] = before[0] + prompt, before[1] + completion

    def end(self, error: BaseException | None) -> None:
        """Record what each step has used."""
        if isinstance(error, RunRefused):
            return
        used = self._meter.take().items()
        steps = {step: StepUsage(processes, *self._tokens.get(step, ())) for step, processes in used}
        record_usage(self._state, self._run_id, self._job, steps, utc_now())
