"""What watches runs from outside the gate: where neither traces nor StatsD are on, nothing does, or is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.breaker.dagster_internals import WrappedExecutor
from alert_assets.kernel import tracing
from alert_assets.logs import run_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dagster as dg

    from alert_assets.settings import Settings


def watched(settings: Settings) -> Callable[[dg.Executor], dg.Executor]:
    """Return what makes of an executor one that is watched, as far as the settings say so."""
    if tracing.is_on():
        from alert_assets.observe.traces import follow_steps

        follow_steps()

    def around(executor: dg.Executor) -> dg.Executor:
        if tracing.is_on():
            from alert_assets.observe.traces import TracedExecutor

            executor = TracedExecutor(executor)
        return CountedExecutor(executor, settings) if settings.statsd_url else executor

    return around


class CountedExecutor(WrappedExecutor):
    """Another executor, with the figures sent to StatsD when a run has ended and is recorded."""

    def __init__(self, inner: dg.Executor, settings: Settings) -> None:
        super().__init__(inner)
        self._settings = settings

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Execute the plan, and send."""
        from alert_assets.observe.statsd import Statsd

        statsd = Statsd(self._settings)
        _try(plan_context.run_id, statsd.begin)
        try:
            yield from self.inner.execute(plan_context, execution_plan)
        finally:
            _try(plan_context.run_id, statsd.send)


def _try(run_id: str, act: Callable[[], str | None]) -> None:
    """Do it; what goes wrong is no fault of the run's."""
    try:
        problem = act()
    except Exception as error:  # noqa: BLE001  whatever it is
        problem = str(error)
    if problem:
        run_log(run_id).warning("statsd_not_sent", problem=problem)
