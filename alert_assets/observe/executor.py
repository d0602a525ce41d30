"""What watches runs from outside the gate: where neither traces nor StatsD are on, nothing does, or is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.kernel import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

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
        return executor

    return around
