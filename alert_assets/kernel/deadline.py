"""A deadline for calls that have none of their own: name resolution, a library that bounds each wait and not all."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def within(seconds: float, function: Callable[[], T], name: str) -> T:
    """Return what `function` returns, or raise what it raises.

    Args:
        seconds: how long it is waited for. Its thread, called `name`, is a daemon and is left behind after that.
        function: what is called.

    Raises:
        TimeoutError: it took longer.
    """
    try:
        return beside(function, name).result(seconds)
    except FutureTimeoutError:
        raise TimeoutError(f"no end within {seconds:g} seconds") from None


def beside(function: Callable[[], T], name: str) -> Future[T]:
    """Call `function` in a daemon thread of this name, which no end of the process waits for, and return its outcome.

    Threads of an executor are waited for: one that hangs would keep the process for ever.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        # Whoever would wait may have gone.
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001
            # It is raised where the outcome is waited for.
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome
