"""A real server in a process of its own: `alert-assets serve` on a free port of loopback, and what it landed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Site:
    """A running server."""

    url: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def landed(self) -> list[Any]:
        """The lines that can be seen, parsed, in order."""
        return [json.loads(line) for line in landed_lines(self.landing)]

    def stop(self) -> str:
        """End it as an operator does; returns what it said."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return said

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


def landed_lines(landing: Path) -> list[bytes]:
    """Lines of the files that readers see."""
    files = sorted(path for path in landing.iterdir() if not path.name.startswith("."))
    return [line for path in files for line in path.read_bytes().splitlines()]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ALERTS_")},
        "ALERTS_DATA_DIR": str(folder),
        **variables,
    }


def start(folder: Path, port: int = 0, **variables: str) -> Site:
    """Start it, and return once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "alert_assets.cli", "serve", "--port", str(port)],
        env=environment(folder, **variables),
        cwd=folder.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    said = ""
    while (line := process.stderr.readline()) and "Listening" not in line:
        said += line
    listening = re.search(r"http://127\.0\.0\.1:\d+", line)
    if listening is None:
        process.kill()
        raise AssertionError(said + process.communicate()[1])
    return Site(listening[0], folder, process)


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[Site]:
    """A server for as long as the block runs."""
    site = start(folder, 0, **variables)
    try:
        yield site
    finally:
        if site.process.poll() is None:
            site.stop()
