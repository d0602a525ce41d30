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
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001
            # It is raised where the outcome is waited for.
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        return outcome.result(seconds)
    except FutureTimeoutError:
        raise TimeoutError(f"no end within {seconds:g} seconds") from None
