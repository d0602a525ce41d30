"""What observes runs and resident processes, as far as the settings ask: what is off is not imported."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from alert_assets.kernel import tracing
from alert_assets.logs import run_log
from alert_assets.settings import is_lineage_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from alert_assets.breaker.gate import Observer
    from alert_assets.settings import Settings
    from alert_assets.state.database import State

#: So long a process that ends waits until the figures of its last minute are sent.
_LAST_FIGURES_SECONDS = 5.0


def observers(settings: Settings, state: State) -> list[Callable[[str, str], Observer]]:
    """Return what makes the observers of a run from its id and job, the outermost first.

    StatsD's figures are sent when all the others have recorded what they know of the run.
    """
    from alert_assets.observe.usage import RunUsage

    found: list[Callable[[str, str], Observer]] = []
    if settings.statsd_url:
        from alert_assets.observe.statsd import RunFigures

        found.append(partial(RunFigures, settings))
    if tracing.is_on():
        from alert_assets.observe.traces import RunSpans, follow_steps

        follow_steps()
        found.append(RunSpans)
    if is_lineage_wanted():
        from alert_assets.lake.lakehouse import Lakehouse
        from alert_assets.observe.lineage import Emitter, RunListener

        emitter = Emitter(settings, lambda text: run_log("lineage").warning("lineage_not_sent", problem=text))
        found.append(partial(RunListener, emitter, Lakehouse(settings)))
    return [*found, partial(RunUsage, state)]


@contextmanager
def figures_sent(
    settings: Settings, say: Callable[[str], None], requests: Callable[[], Mapping[tuple[str, int], int]] = dict
) -> Iterator[None]:
    """Send figures to StatsD once a minute meanwhile, and at the end those of the rest, where there is one.

    Args:
        say: told why StatsD gets nothing.
        requests: how many requests of a sender this process has answered with a status.
    """
    if not settings.statsd_url:
        yield
        return
    from alert_assets.observe.statsd import TICK_SECONDS, Statsd

    statsd, ends = Statsd(settings, requests), Event()
    told = (TICK_SECONDS, ends, lambda why: say(f"StatsD gets nothing: {why}"))
    # A daemon: a lake that does not answer is nothing to wait for at the end.
    thread = Thread(target=statsd.every, args=told, name="alert-assets-statsd", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(_LAST_FIGURES_SECONDS)
