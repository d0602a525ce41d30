"""Waiting for something to land: the operating system says so for a local folder; an object store is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from alert_assets.settings import Settings

#: How long nothing is heard at most before the landing zone is looked at anyway: events get lost on network drives.
LOOK_SECONDS = 5.0

#: What lands within so many milliseconds is one news, which is waited for so long at most.
_STEP_MS, _DEBOUNCE_MS = 20, 100


def looks(settings: Settings, stop: threading.Event) -> Iterator[bool]:
    """Yield when it is time to look at the landing zone, and whether something happened there; ends with `stop`.

    Raises:
        OSError: the folder is not there, or cannot be watched.
    """
    if "://" in settings.landing_dir:
        while not stop.wait(LOOK_SECONDS):
            yield False
        return
    import watchfiles

    for changes in watchfiles.watch(
        settings.landing_dir,
        watch_filter=None,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        stop_event=stop,
        rust_timeout=int(LOOK_SECONDS * 1000),
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        yield bool(changes)
