"""`alert-assets stream` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alert_assets_tests.support.dagster_site import Site

#: What includes the start of Spark, on two busy cores.
PATIENCE_SECONDS = 300.0


class Stream:
    """A running one, and what it says, which a thread reads: a pipe that is full would block it."""

    def __init__(self, site: Site, **variables: str) -> None:
        """Args: variables: of the environment of this process alone."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alert_assets.cli", "stream"],
            cwd=site.folder,
            env=site.environment() | variables,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._said: list[str] = []
        self._read, self._is_over = 0, False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        self.await_line("Watching")

    def _drain(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._news:
                self._said.append(line)
                self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def await_line(self, word: str, seconds: float = PATIENCE_SECONDS) -> str:
        """The next line with this word of what it says."""

        def found() -> bool:
            while self._read < len(self._said):
                self._read += 1
                if word in self._said[self._read - 1]:
                    return True
            return self._is_over

        with self._news:
            self._news.wait_for(found, timeout=seconds)
            line = self._said[self._read - 1] if self._read else ""
            assert word in line, f"no {word!r} in {seconds:.0f} s:\n{self.said()}"
            return line

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
