"""When Python looks for objects that only hold each other."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from what is made meanwhile, then and later.

    For what stays, is much and makes few circles: modules that are imported, a history that is replayed. The collector
    would look at each of their objects again and again: a third of what it takes to start under Dagster. Nothing is
    done where it is off already.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
