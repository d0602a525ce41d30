"""`alert-assets stream` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from alert_assets_tests.support.dagster_site import Site

#: What includes the start of Spark, on two busy cores.
PATIENCE_SECONDS = 300.0


def start(site: Site, stderr: int | IO[str] = subprocess.DEVNULL, **variables: str) -> subprocess.Popen[str]:
    """Start one, the leader of a process group.

    Args:
        variables: of the environment of this process alone.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "alert_assets.cli", "stream"],
        cwd=site.folder,
        env=site.environment() | variables,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


class Stream:
    """A running one, and what it says, which a thread reads: a pipe that is full would block it.

    A context that leaves no process behind.
    """

    def __init__(self, site: Site, **variables: str) -> None:
        """Args: variables: as :func:`start` takes them."""
        self.process = start(site, subprocess.PIPE, **variables)
        self._said: list[str] = []
        self._unread: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        try:
            self.await_line("Watching")
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """As :meth:`kill`."""
        self.kill()

    def _drain(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._said.append(line)
            self._unread.put(line)
        self._unread.put("")

    def await_line(self, word: str, seconds: float = PATIENCE_SECONDS) -> str:
        """The next line with this word, behind the one that was awaited before."""
        until = time.monotonic() + seconds
        with suppress(Empty):
            while line := self._unread.get(timeout=max(0.0, until - time.monotonic())):
                if word in line:
                    return line
            # It has ended, and who asks again need not wait.
            self._unread.put("")
        raise AssertionError(f"no {word!r} in {seconds:.0f} s:\n{self.said()}")

    def said(self) -> str:
        """All that it has said so far."""
        return "".join(self._said)

    def end(self, number: int) -> str:
        """Send it a signal, and return what it had to say."""
        self.process.send_signal(number)
        self.process.wait(120)
        self._reader.join(10)
        return self.said()

    def kill(self) -> None:
        """It and what it has started, if it still runs."""
        with suppress(ProcessLookupError):
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
