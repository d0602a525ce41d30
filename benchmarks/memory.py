"""The most memory that a process tree and the warm Spark server used at one time.

Of Python the proportional set size, where Linux tells it: forked workers share pages, which are counted once, so that
the sum is what the machine has to have. Of a JVM, which shares next to nothing, the resident set size, as of
everything on other systems: to add up the proportions of some GB takes the kernel time that the measured program lacks.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INTERVAL_SECONDS = 0.25

Part = Literal["java", "driver", "workers"]


@dataclass
class Peak:
    """MiB. The parts' peaks need not fall together, so they may add up to more than `total`.

    Attributes:
        java: Spark's JVM.
        workers: the JVM's Python processes.
        driver: everything else, which is Python too.
    """

    total: float = 0.0
    java: float = 0.0
    driver: float = 0.0
    workers: float = 0.0
    java_seen: bool = False

    def see(self, parts: dict[Part, float]) -> None:
        """Take one look into account."""
        self.total = max(self.total, sum(parts.values()))
        self.java = max(self.java, parts["java"])
        self.driver = max(self.driver, parts["driver"])
        self.workers = max(self.workers, parts["workers"])
        self.java_seen = self.java_seen or parts["java"] > 0


@dataclass
class MemoryWatch:
    """Looks at a process, its descendants and a server every quarter of a second, in a thread.

    Attributes:
        pid: root of the tree.
        server: pid of the Spark server at this moment, which may start meanwhile; None for none.
    """

    pid: int
    server: Callable[[], int | None]
    peak: Peak = field(default_factory=Peak)

    def __enter__(self) -> MemoryWatch:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL_SECONDS):
            self.peak.see(self._look())

    def _look(self) -> dict[Part, float]:
        parts: dict[Part, float] = {"java": 0.0, "driver": 0.0, "workers": 0.0}
        children: dict[int, list[int]] = {}
        # One look at who is whose child: for each process of the trees it would cost a tenth of a core.
        for child in psutil.process_iter(["ppid"]):
            children.setdefault(child.info["ppid"], []).append(child.pid)
        counted: set[int] = set()
        for root in (self.server(), self.pid):
            if root is not None:
                _add_tree(root, "driver", parts, counted, children)
        return parts


def _add_tree(
    pid: int, part: Part, parts: dict[Part, float], counted: set[int], children: Mapping[int, list[int]]
) -> None:
    if pid in counted:
        return
    counted.add(pid)
    try:
        process = psutil.Process(pid)
        is_java = Path(process.exe()).name == "java"
        # A JVM's child that is a JVM still is about to become something else, and shows its parent's memory as its own.
        if not (is_java and part == "workers"):
            parts["java" if is_java else part] += resident_mib(process) if is_java else memory_mib(pid)
    except psutil.Error:
        return
    for child in children.get(pid, ()):
        _add_tree(child, "workers" if is_java else part, parts, counted, children)


def memory_mib(pid: int) -> float:
    """Of one process; 0 when it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    try:
        return resident_mib(psutil.Process(pid))
    except psutil.Error:
        return 0.0


def resident_mib(process: psutil.Process) -> float:
    """The resident set size."""
    return float(process.memory_info().rss) / (1 << 20)
