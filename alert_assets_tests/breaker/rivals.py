"""What the other processes of the breaker tests do. Multiprocessing finds it by its name."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from alert_assets.breaker.rules import Rules
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.state.database import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.synchronize import Barrier

PATIENCE_SECONDS = 60


@contextmanager
def processes(target: Callable[..., None], *arguments: tuple[Any, ...]) -> Iterator[Any]:
    """Run `target` once for each of the arguments, with a barrier that all pass together; yields the answers."""
    context = get_context("spawn")
    barrier, answers = context.Barrier(len(arguments)), context.Queue()
    started = [context.Process(target=target, args=(barrier, answers, *given)) for given in arguments]
    for process in started:
        process.start()
    try:
        yield answers
        for process in started:
            process.join(PATIENCE_SECONDS)
    finally:
        for process in started:
            process.kill()
            process.join()


def claim(barrier: Barrier, answers: Any, url: str, names: list[str], run_id: str) -> None:
    """Ask each breaker for the way the moment the others do."""
    breakers = CircuitBreakers(State(url), Rules())
    for name in names:
        barrier.wait(PATIENCE_SECONDS)
        admission = breakers.admit([name], run_id)
        answers.put((name, admission.admitted, admission.probe_of))


def write_first(barrier: Barrier, answers: Any, urls: list[str], run_id: str) -> None:
    """Write into databases that are not there yet."""
    for url in urls:
        barrier.wait(PATIENCE_SECONDS)
        CircuitBreakers(State(url), Rules()).record(run_id, "failure", ["pipeline"], reported_by="test")
    answers.put(run_id)


def probe(barrier: Barrier, answers: Any, url: str) -> None:
    """Become the probe and stay it."""
    owner = ProcessOwner.current()
    answers.put((owner.pid, CircuitBreakers(State(url), Rules()).admit(["pipeline"], "victim", owner=owner)))
    signal.pause()
