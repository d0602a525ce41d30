"""SIGKILL at a chosen step, to the pipeline, to the Spark server or to the Python worker of `foreachBatch`.

What is here runs where the step runs: in the pipeline's own process, or, pickled by value, in the worker
that the server starts, which knows nothing of the tests.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deltalake import DeltaTable
from pyspark import cloudpickle

from alert_assets.contracts import Contract
from alert_assets.ingest.batch import LandingBatch
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.writer import StagedWrite
from alert_assets.transforms import distributed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import DataFrame

cloudpickle.register_pickle_by_value(sys.modules[__name__])

Victim = Literal["pipeline", "server", "worker", "all"]
Step = Literal["read", "write", "commit", "deduplicate", "correlate", "merge", "delete"]

#: What makes each step, but for `read`.
_METHODS: dict[str, tuple[Any, str]] = {
    "write": (StagedWrite, "write"),
    "commit": (DeltaTable, "create_write_transaction"),
    "deduplicate": (distributed, "deduplicated"),
    "correlate": (distributed, "correlated"),
    "merge": (Lakehouse, "merge"),
    "delete": (Lakehouse, "delete"),
}


@dataclass(frozen=True)
class Kill:
    """Who dies, and when.

    Attributes:
        victim: `worker` is the process that makes the step; `all` is everything, as when the machine stops.
        moment: before or after the step.
        table: the step is made on this table; empty for what Spark computes.
        batch: for landing to bronze, the micro-batch; None for what the pipeline's own process does.
        pause_seconds: how long whoever survives the kill waits at this step before it goes on.
        pipeline_pid: filled in by the pipeline's process.
    """

    victim: Victim
    moment: Literal["before", "after"]
    step: Step
    table: str = ""
    batch: int | None = None
    pause_seconds: float = 0
    pipeline_pid: int = 0
    discovery: str = ""

    def arm(self) -> None:
        """Patch the step in this process."""
        owner, name = _METHODS[self.step]
        original: Callable[..., Any] = getattr(owner, name)

        def deadly(target: Any, *args: Any, **kwargs: Any) -> Any:
            hit = self._table(target, args) == self.table
            if hit and self.moment == "before":
                setattr(owner, name, original)
                self.strike()
            result = original(target, *args, **kwargs)
            if hit and self.moment == "after":
                setattr(owner, name, original)
                self.strike()
            return result

        setattr(owner, name, deadly)

    @staticmethod
    def _table(target: Any, args: tuple[Any, ...]) -> str:
        if isinstance(target, DeltaTable):
            return str(target.table_uri).rstrip("/").rpartition("/")[2]
        if isinstance(target, StagedWrite):
            return target.contract.name
        return next((str(arg.name) for arg in args if isinstance(arg, Contract)), "")

    def strike(self) -> None:
        pids = {"pipeline": self.pipeline_pid, "worker": os.getpid()}
        if self.victim in ("server", "all"):
            pids["server"] = json.loads(Path(self.discovery).read_text())["pid"]
        order = ("server", "pipeline", "worker") if self.victim == "all" else (self.victim,)
        for victim in order:
            with suppress(ProcessLookupError):
                os.kill(pids[victim], signal.SIGKILL)
        time.sleep(self.pause_seconds)


@dataclass(frozen=True)
class DyingBatch(LandingBatch):
    """The landing query's batches, one of which is deadly."""

    kill: Kill | None = None

    def __call__(self, lines: DataFrame, batch_number: int) -> None:
        assert self.kill is not None
        if batch_number == self.kill.batch:
            if self.kill.step == "read":
                lines.count()
                self.kill.strike()
            else:
                self.kill.arm()
        super().__call__(lines, batch_number)
