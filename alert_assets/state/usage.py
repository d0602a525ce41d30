"""What each step of each run has used, as it was recorded when the run ended; priced by `run_cost`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from alert_assets.kernel.usage import Usage
from alert_assets.state.database import upsert
from alert_assets.state.tables import run_usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from alert_assets.state.database import State


@dataclass(frozen=True)
class StepUsage:
    """What a step has used: its processes, and the tokens of a model."""

    processes: Usage = field(default_factory=Usage)
    prompt_tokens: int = 0
    completion_tokens: int = 0


def record_usage(state: State, run_id: str, job: str, steps: Mapping[str, StepUsage], at: datetime) -> None:
    """Record what the steps of a run have used; of a run that is recorded already, nothing changes."""
    rows = [
        {
            "run_id": run_id,
            "step": step,
            "job": job,
            "at": at,
            **asdict(used.processes),
            "prompt_tokens": used.prompt_tokens,
            "completion_tokens": used.completion_tokens,
        }
        for step, used in steps.items()
    ]
    if rows:
        with state.writing() as connection:
            connection.execute(upsert(connection, run_usage).values(rows).on_conflict_do_nothing())


def usage_since(state: State, since: datetime) -> list[dict[str, Any]]:
    """Return what was recorded at a time or later, by the columns of the table, the oldest first."""
    order = (run_usage.c.at, run_usage.c.run_id, run_usage.c.step)
    with state.reading() as connection:
        found = connection.execute(select(run_usage).where(run_usage.c.at >= since).order_by(*order)).mappings()
        return [dict(row) for row in found]
