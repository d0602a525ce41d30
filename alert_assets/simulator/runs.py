"""Playing the timeline: as a history that has already happened, or live."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import Event as StopSignal
from typing import TYPE_CHECKING, Any, Literal

from alert_assets.simulator.events import Event, rfc3339
from alert_assets.simulator.faults import NO_FAULTS, FaultCounts, FaultInjector, Faults
from alert_assets.simulator.timeline import HOUR, Moment, Timeline

if TYPE_CHECKING:
    from alert_assets.simulator.landing import LandingWriter
    from alert_assets.simulator.sending import HttpWriter

#: A live file is cut at this many events, so that a fast stream does not grow files without bound.
MAX_EVENTS_PER_FILE = 10_000

#: Called after every file with the events and the files so far.
OnProgress = Callable[[int, int], None]


@dataclass
class Summary:
    """What a run put into the landing zone. `lines` is `events` plus the injected faults."""

    landing_dir: str
    seed: int
    events: int = 0
    lines: int = 0
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_types: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    faults: FaultCounts = field(default_factory=FaultCounts)
    files: list[str] = field(default_factory=list)
    stopped_by: Literal["end", "count", "duration", "signal"] = "end"

    def to_json(self) -> dict[str, Any]:
        """What `simulate --json` prints."""
        return {**vars(self), "faults": asdict(self.faults)}


@dataclass(frozen=True)
class Pace:
    """How fast a live run plays: `speed` times as fast as life, or evenly at `events_per_second`."""

    speed: float = 1.0
    events_per_second: float | None = None

    def due_second(self, index: int, moment: Moment) -> float:
        """When the run's event number `index` happens, in seconds from the run's start."""
        return index / self.events_per_second if self.events_per_second else moment.second / self.speed


LIFE = Pace()


class _Run:
    """The part that both ways of playing share: stamped events go in, files and the summary come out."""

    def __init__(
        self,
        timeline: Timeline,
        writer: LandingWriter | HttpWriter,
        faults: Faults,
        watermark_minutes: float,
        expected_events: int | None,
        on_progress: OnProgress | None,
        *,
        demo: bool,
    ) -> None:
        self.summary = Summary(landing_dir=str(writer.folder), seed=timeline.seed, files=writer.names)
        self._timeline = timeline
        self._writer = writer
        self._injector = FaultInjector(
            faults,
            seed=f"{timeline.seed}/{rfc3339(timeline.start)}",
            watermark_minutes=watermark_minutes,
            expected_events=expected_events,
        )
        self.summary.faults = self._injector.injected
        self._on_progress = on_progress
        self._demo = demo

    def land(self, moments: list[tuple[datetime, Moment]], files: int = 1) -> None:
        """Write a portion, in time order, into `files` files of about equal length."""
        if not moments:
            return
        events = [moment.stamped(when, self._timeline.run) for when, moment in moments]
        if self._demo:
            events = [_of_a_demo(event) if event["event_type"] == "alert" else event for event in events]
        lines = self._injector.inject(events)
        self._count(events, moments)
        remaining = iter(lines)
        per_file = math.ceil(len(lines) / files)
        while chunk := list(islice(remaining, per_file)):
            self._writer.write(chunk)
            self.summary.lines += len(chunk)
        if self._on_progress:
            self._on_progress(self.summary.events, len(self.summary.files))

    def _count(self, events: list[Event], moments: list[tuple[datetime, Moment]]) -> None:
        summary = self.summary
        summary.events += len(events)
        summary.event_types.update(event["event_type"] for event in events)
        summary.origins.update(moment.origin for _, moment in moments)
        summary.first_timestamp = summary.first_timestamp or events[0]["timestamp"]
        summary.last_timestamp = events[-1]["timestamp"]


def _of_a_demo(alert: Event) -> Event:
    """The alert with the label by which people are not notified of it (docs/rules.md)."""
    return {**alert, "labels": {**alert.get("labels", {}), "demo": "true"}}


def default_start(hours: int) -> datetime:
    """Where a history of `hours` begins that ends now."""
    return datetime.now(UTC).replace(microsecond=0) - hours * HOUR


def write_history(
    timeline: Timeline,
    writer: LandingWriter | HttpWriter,
    *,
    hours: int = 1,
    files_per_hour: int = 4,
    faults: Faults = NO_FAULTS,
    watermark_minutes: float = 10,
    demo: bool = True,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Land the first `hours` of the timeline at once; each hour is split into `files_per_hour` files.

    Same timeline, same faults: same bytes. Alerts carry `demo=true`, by which nobody is notified of them, or not.
    """
    expected = hours * timeline.events_per_hour
    run = _Run(timeline, writer, faults, watermark_minutes, expected, on_progress, demo=demo)
    for number in range(hours):
        run.land([(timeline.when(moment), moment) for moment in timeline.hour(number)], files_per_hour)
    return run.summary


def stream(
    timeline: Timeline,
    writer: LandingWriter | HttpWriter,
    *,
    pace: Pace = LIFE,
    flush_seconds: float = 5,
    max_events: int | None = None,
    duration_seconds: float | None = None,
    faults: Faults = NO_FAULTS,
    watermark_minutes: float = 10,
    demo: bool = True,
    stop: StopSignal | None = None,
    on_progress: OnProgress | None = None,
) -> Summary:
    """Play the timeline live, hour after hour, until a limit is reached or `stop` is set.

    Each event carries the time it happens at this pace. Every `flush_seconds` those that have happened
    become a file; what has happened when the run is stopped still becomes one.
    """
    stop = stop or StopSignal()
    run = _Run(timeline, writer, faults, watermark_minutes, max_events, on_progress, demo=demo)
    end = math.inf if duration_seconds is None else duration_seconds
    schedule = _schedule(timeline, pace, max_events)
    upcoming = next(schedule, None)
    begun = time.monotonic()
    while upcoming is not None:
        stopped = stop.wait(max(0, min(flush_seconds, begun + end - time.monotonic())))
        elapsed, now = time.monotonic() - begun, datetime.now(UTC)
        happened = []
        while upcoming is not None and upcoming[0] <= min(elapsed, end):
            second, moment = upcoming
            happened.append((now - timedelta(seconds=elapsed - second), moment))
            upcoming = next(schedule, None)
        run.land(happened, files=math.ceil(len(happened) / MAX_EVENTS_PER_FILE))
        if stopped or elapsed >= end:
            run.summary.stopped_by = "signal" if stopped else "duration"
            return run.summary
    run.summary.stopped_by = "count"
    return run.summary


def _schedule(timeline: Timeline, pace: Pace, max_events: int | None) -> Iterator[tuple[float, Moment]]:
    """The moments with the second of the run in which each happens."""
    for index, moment in enumerate(islice(timeline.endless(), max_events)):
        yield pace.due_second(index, moment), moment
