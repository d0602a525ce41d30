"""Processes that others look for: who holds something that is somebody else's once its process has ended."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: The clock of a host may be set while a process runs, and with it the time the process is said to have started.
_SAME_START_SECONDS = 5.0

#: Of the control group that a container is: microseconds of processor time, and in how many of the clock.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class ProcessOwner:
    """A process that others on the same host can look for.

    Attributes:
        host: name of the host and, on Linux, its PID namespace: containers may share a name.
        started: seconds since the epoch; distinguishes the process from a later one with the same number.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> ProcessOwner:
        """This process."""
        import psutil

        return cls(_host(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def parse(cls, text: str) -> ProcessOwner | None:
        """The process that a text names as `str` does; None for other texts."""
        try:
            host, pid, started = text.rsplit("/", 2)
            return cls(host, int(pid), float(started))
        except ValueError:
            return None

    def __str__(self) -> str:
        """`HOST/PID/STARTED`."""
        return f"{self.host}/{self.pid}/{self.started}"

    def is_gone(self) -> bool:
        """Whether it is known to have ended; of another host's process nothing is known."""
        import psutil

        if self.host != _host():
            return False
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started) < _SAME_START_SECONDS
            return not is_same or process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


@cache
def _host() -> str:
    namespace = ""
    with suppress(OSError):
        namespace = " " + os.readlink("/proc/self/ns/pid")
    return socket.gethostname() + namespace


def cores() -> int:
    """How many processor cores this process may use: of its affinity and of its container's quota the smaller."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # There is none of version 2 outside of Linux; `max` where it has no quota.
    with suppress(OSError, ValueError):
        quota, period = map(int, _QUOTA.read_text(encoding="ascii").split())
        allowed = min(allowed, max(1, quota // period))
    return allowed
