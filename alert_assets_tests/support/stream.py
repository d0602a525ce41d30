"""`alert-assets stream` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alert_assets_tests.support.dagster_site import Site


class Stream:
    """A running one, and what it says."""

    def __init__(self, site: Site) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alert_assets.cli", "stream"],
            cwd=site.folder,
            env=site.environment(),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.await_line("Watching")

    def await_line(self, word: str) -> str:
        """The next line with this word of what it says."""
        assert self.process.stderr
        said = []
        for line in self.process.stderr:
            said.append(line)
            if word in line:
                return line
        raise AssertionError("".join(said))

    def end(self, number: int) -> str:
        """Send it a signal, and return what it had to say."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=120)[1]
