"""What processes have used so far: CPU time, bytes read and written, themselves and what they started.

A process that ended and was waited for is counted by the one that waited, so the sum over a tree does not drop when
a worker ends. Bytes are those of system calls, cached or not: what the disk had to do depends on who read before.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import psutil


@dataclass(frozen=True)
class Usage:
    """CPU time in seconds, user and system; bytes read and written, 0 where the system does not say."""

    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            self.cpu_seconds + other.cpu_seconds,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
        )

    def since(self, before: Usage) -> Usage:
        """Return what came after `before`; nothing, where a process that was counted there is gone."""
        return Usage(
            max(0.0, self.cpu_seconds - before.cpu_seconds),
            max(0, self.bytes_read - before.bytes_read),
            max(0, self.bytes_written - before.bytes_written),
        )

    def split(self, parts: int) -> list[Usage]:
        """Return it in equal parts whose sum it is."""
        read, written = (
            [total // parts + (number < total % parts) for number in range(parts)]
            for total in (self.bytes_read, self.bytes_written)
        )
        return [Usage(self.cpu_seconds / parts, *amounts) for amounts in zip(read, written, strict=True)]


def usage_of(pids: Iterable[int]) -> Usage:
    """Return what these processes and all below them have used since each began; those that are gone count nothing."""
    import psutil

    processes: dict[int, psutil.Process] = {}
    for pid in pids:
        with suppress(psutil.Error):
            root = psutil.Process(pid)
            processes |= {process.pid: process for process in (root, *root.children(recursive=True))}
    return sum(map(_of_one, processes.values()), Usage())


def _of_one(process: psutil.Process) -> Usage:
    import psutil

    with suppress(psutil.Error):
        times = process.cpu_times()
        cpu = times.user + times.system + times.children_user + times.children_system
        # Not on macOS.
        io = process.io_counters() if hasattr(process, "io_counters") else None
        return Usage(cpu, getattr(io, "read_chars", 0), getattr(io, "write_chars", 0))
    return Usage()


#: The step that has what is used while no step is under way: start, waiting, notifications at the end.
AROUND = "(run)"


class StepMeter:
    """Divides what processes use among the steps under way, so that the steps' sum is what the processes used.

    Steps at the same time share evenly what is used meanwhile. Threads may take turns.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], before: Usage | None = None) -> None:
        """Read the processes' usage so far.

        Args:
            pids: the processes, asked for at each reading: one of them may begin later.
            before: what does not count; default: all until now.
        """
        self._pids, self._lock = pids, Lock()
        self._last = usage_of(pids()) if before is None else before
        self._under_way: set[str] = set()
        self._used: dict[str, Usage] = {}

    def begin(self, step: str) -> None:
        """A step is under way from now on."""
        with self._lock:
            self._read()
            self._under_way.add(step)

    def end(self, step: str) -> None:
        """A step is over."""
        with self._lock:
            self._read()
            self._under_way.discard(step)

    def turn_to(self, step: str | None) -> None:
        """This step alone is under way from now on, or none: one reading where an end and a begin would take two."""
        with self._lock:
            self._read()
            self._under_way = set() if step is None else {step}

    def take(self) -> dict[str, Usage]:
        """Return what each step has used since this was last asked, :data:`AROUND` among them."""
        with self._lock:
            self._read()
            used, self._used = self._used, {}
            return used

    def give_back(self, used: Mapping[str, Usage]) -> None:
        """Have what was taken be part of what is taken next: it could not be recorded."""
        with self._lock:
            self._add(used)

    def _read(self) -> None:
        now = usage_of(self._pids())
        steps = sorted(self._under_way) or [AROUND]
        self._add(dict(zip(steps, now.since(self._last).split(len(steps)), strict=True)))
        self._last = now

    def _add(self, used: Mapping[str, Usage]) -> None:
        for step, part in used.items():
            self._used[step] = self._used.get(step, Usage()) + part
