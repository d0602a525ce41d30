"""Whether the pipeline runs as it should: its six health metrics (docs/rules.md).

They are computed from plain records of runs, so that they can be asked of any moment. What the requirements
leave open is decided here:

- **Which runs count.** A run counts when it succeeded or failed. One that the circuit breaker refused or a
  person cancelled says nothing about the pipeline.
- **Few runs.** One failed run of one is no rate. Below `min_samples` a metric is reported and called healthy,
  and says that it was not judged; what follows three failures in a row is the circuit breaker's business.
- **Retries.** A run and the runs that retry it are one piece of work. It needed a retry when a later run brought the
  success. No step of ours has a retry policy; Dagster keeps repeated steps only in each run's own event log.
- **Sustained.** A peak is sustained when each of the last three runs had it: the metric is the lowest of
  their peaks. One spike is not a shortage.
- **Deadlines and durations see runs that have not ended.** A run that hangs is late as soon as its deadline
  has passed, not when it is killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: What the metrics but duration look at: runs that ended in the time before.
WINDOW = timedelta(hours=24)

_RUNNING = frozenset({"STARTING", "STARTED", "CANCELING"})
#: Runs whose names are shown when they broke a limit.
_NAMED = 5


@dataclass(frozen=True)
class RunRecord:
    """One run, by Dagster's names and statuses.

    Attributes:
        launched_at: when it was asked for; queueing is part of the wait for its result.
        started_at, ended_at: None as long as it has not.
        root_run_id: the first run of the retries it belongs to; its own id, or None, when it retries none.
        refused: the circuit breaker's gate refused it (tag `alert_assets/breaker=refused`).
        cpu_peak_percent, memory_peak_percent: of the host while it ran, 0 to 100; None when not measured.
    """

    run_id: str
    job: str
    status: str
    launched_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    root_run_id: str | None = None
    refused: bool = False
    cpu_peak_percent: float | None = None
    memory_peak_percent: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it succeeded."""
        return self.status == "SUCCESS"

    @property
    def is_counted(self) -> bool:
        """Whether its outcome says something about the pipeline."""
        return self.status in ("SUCCESS", "FAILURE") and not self.refused

    @property
    def is_retry(self) -> bool:
        """Whether it retries another run."""
        return self.root_run_id not in (None, self.run_id)

    @property
    def root(self) -> str:
        """Id of the piece of work that it is an attempt at."""
        return self.root_run_id or self.run_id

    def seconds(self, now: datetime) -> float | None:
        """Return how long it ran, or has run until now; None when it has not started."""
        return None if self.started_at is None else ((self.ended_at or now) - self.started_at).total_seconds()


@dataclass(frozen=True)
class Limit:
    """A metric's limit; at the limit it is healthy.

    Attributes:
        is_minimum: whether values below it are unhealthy, and not those above.
        min_samples: runs that it takes to judge the metric.
    """

    value: float
    is_minimum: bool = False
    min_samples: int = 1

    def keeps(self, value: float) -> bool:
        """Return whether a value keeps the limit."""
        return value >= self.value if self.is_minimum else value <= self.value


#: The thresholds of the requirements, by metric; the numbers of samples are ours.
LIMITS = {
    "success_rate_percent": Limit(95, is_minimum=True, min_samples=5),
    "duration_ratio": Limit(2, min_samples=5),
    "deadline_breaches": Limit(0),
    "retry_rate_percent": Limit(20, min_samples=5),
    "backlog_runs": Limit(5),
    "cpu_peak_percent": Limit(90, min_samples=3),
    "memory_peak_percent": Limit(90, min_samples=3),
}


@dataclass(frozen=True)
class _Measured:
    """A metric before it is judged; `culprits` says what a bad value comes from."""

    value: float | None
    samples: int
    culprits: str = ""


def pipeline_health(
    runs: Iterable[RunRecord], now: datetime, *, deadline: timedelta, host: str
) -> list[dict[str, Any]]:
    """Compute the health metrics of the runs; returns rows of `pipeline_health`, without `_batch_id`.

    Args:
        runs: of the last 24 hours, of any status, and the earlier ones of each job that its usual duration is
            computed from.
        now: the moment that is asked about.
        deadline: longest that a run may take from its launch to its end.
        host: name of the machine that the peaks are of.
    """
    known = sorted(runs, key=lambda run: (run.launched_at, run.run_id))
    jobs = sorted({run.job for run in known})
    recent = [run for run in known if run.ended_at is not None and now - WINDOW < run.ended_at <= now]
    unfinished = [run for run in known if run.ended_at is None]
    rows = []
    for job in jobs:
        ended = [run for run in recent if run.job == job]
        counted = [run for run in ended if run.is_counted]
        open_ = [run for run in unfinished if run.job == job]
        everything = [run for run in known if run.job == job]
        rows += [
            _judged("success_rate_percent", job, now, _success_rate(counted)),
            _judged("duration_ratio", job, now, _duration_ratio(everything, now)),
            _judged("deadline_breaches", job, now, _deadline_breaches([*counted, *open_], now, deadline)),
            _judged("retry_rate_percent", job, now, _retry_rate(counted)),
        ]
    return [
        *rows,
        _judged("backlog_runs", "queue", now, _backlog(unfinished)),
        _judged("cpu_peak_percent", host, now, _sustained(recent, lambda run: run.cpu_peak_percent)),
        _judged("memory_peak_percent", host, now, _sustained(recent, lambda run: run.memory_peak_percent)),
    ]


def _judged(metric: str, subject: str, now: datetime, measured: _Measured) -> dict[str, Any]:
    limit = LIMITS[metric]
    enough = measured.value is not None and measured.samples >= limit.min_samples
    healthy = not enough or measured.value is None or limit.keeps(measured.value)
    detail = None if healthy else measured.culprits or None
    if measured.value is not None and not enough:
        detail = f"not judged: {measured.samples} of the {limit.min_samples} samples it takes"
    return {
        "metric": metric,
        "subject": subject,
        "evaluated_at": now,
        "value": measured.value,
        "limit": float(limit.value),
        "healthy": healthy,
        "samples": measured.samples,
        "detail": detail,
    }


def _success_rate(counted: Sequence[RunRecord]) -> _Measured:
    failed = [run for run in counted if not run.succeeded]
    return _Measured(_percent(len(counted) - len(failed), len(counted)), len(counted), _names("failed", failed))


def _duration_ratio(runs: Sequence[RunRecord], now: datetime) -> _Measured:
    """Compare the newest run of a job with the median of its successful runs before, which are the samples."""
    timed = [run for run in runs if run.started_at is not None and (run.is_counted or _is_running(run))]
    newest = max(timed, key=lambda run: (run.started_at, run.run_id), default=None)
    if newest is None:
        return _Measured(None, 0)
    earlier = [run.seconds(now) or 0.0 for run in timed if run is not newest and run.succeeded]
    usual = median(earlier) if earlier else 0.0
    seconds = newest.seconds(now) or 0.0
    if usual <= 0:
        return _Measured(None, len(earlier))
    return _Measured(
        seconds / usual, len(earlier), f"run {newest.run_id} took {seconds:.0f} s, the median is {usual:.0f} s"
    )


def _deadline_breaches(runs: Sequence[RunRecord], now: datetime, deadline: timedelta) -> _Measured:
    due = [run for run in runs if not run.refused]
    late = [run for run in due if (run.ended_at or now) - run.launched_at > deadline]
    return _Measured(float(len(late)) if due else None, len(due), _names("late", late))


def _retry_rate(counted: Sequence[RunRecord]) -> _Measured:
    roots = {run.root for run in counted}
    retried = [run for run in counted if run.succeeded and run.is_retry]
    needed = {run.root for run in retried}
    return _Measured(_percent(len(needed), len(roots)), len(roots), _names("succeeded after a retry", retried))


def _backlog(unfinished: Sequence[RunRecord]) -> _Measured:
    queued = [run for run in unfinished if run.status == "QUEUED"]
    return _Measured(float(len(queued)), max(1, len(queued)), _names("queued", queued))


def _sustained(recent: Sequence[RunRecord], peak_of: Callable[[RunRecord], float | None]) -> _Measured:
    """Return the lowest peak of the last runs that have one."""
    measured = sorted((run for run in recent if peak_of(run) is not None), key=lambda run: (run.ended_at, run.run_id))
    last = measured[-LIMITS["cpu_peak_percent"].min_samples :]
    peaks = [peak for run in last if (peak := peak_of(run)) is not None]
    return _Measured(min(peaks, default=None), len(peaks), _names("all above the limit", last))


def _is_running(run: RunRecord) -> bool:
    return run.status in _RUNNING and run.ended_at is None


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _names(what: str, runs: Sequence[RunRecord]) -> str:
    shown = ", ".join(run.run_id for run in runs[-_NAMED:])
    more = f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else ""
    return f"{what}: {shown}{more}" if runs else ""
