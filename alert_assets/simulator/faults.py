"""What goes wrong between a producer and the lake, on demand and counted.

Every fault is an extra line among the good ones, never a good one spoiled: the incidents keep their
facts, and a reader can check that (lines landed) = (events) + (faults). Malformed, missing, invalid and
future lines belong in quarantine; duplicate and late ones in bronze.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from alert_assets.kernel.clock import parse_rfc3339
from alert_assets.simulator.events import Event, rfc3339, to_line
from alert_assets.simulator.noise import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Amount:
    """How many faults of one kind: `count` in all, or `rate` for each event (0 to 1)."""

    count: int = 0
    rate: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Amount:
        """`12` is a count, `2.5%` and `0.025` are rates.

        Raises:
            ValueError: anything else, or a rate outside 0 to 1.
        """
        if re.fullmatch(r"[0-9]+", text):
            return cls(count=int(text))
        if not re.fullmatch(r"[0-9]*\.?[0-9]+%?", text):
            raise ValueError(f"{text!r} is neither a count such as 12 nor a rate such as 2% or 0.02")
        rate = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        if rate > 1:
            raise ValueError(f"the rate {text!r} is above 100%; write a count without a decimal point")
        return cls(rate=rate)

    def due(self, seen: int, expected: int | None) -> int:
        """How many should be out after `seen` events of `expected`; all of a count if that is unknown."""
        if self.rate:
            return int(self.rate * seen + 1e-9)
        return self.count * min(seen, expected) // expected if expected else self.count


@dataclass(frozen=True)
class Faults:
    """How many of each kind to inject."""

    malformed: Amount = Amount()
    missing: Amount = Amount()
    invalid: Amount = Amount()
    duplicate: Amount = Amount()
    late: Amount = Amount()
    future: Amount = Amount()


NO_FAULTS = Faults()


@dataclass
class FaultCounts:
    """How many lines of each kind were injected."""

    malformed: int = 0
    missing: int = 0
    invalid: int = 0
    duplicate: int = 0
    late: int = 0
    future: int = 0

    @property
    def total(self) -> int:
        """All kinds together."""
        return sum(asdict(self).values())


REQUIRED = ("event_id", "event_type", "application_id", "timestamp")
REQUIRED_BY_TYPE = {
    "alert": ("alert_type",),
    "log": ("log_level",),
    "metric": (),
    "deployment": ("deployment_id", "version"),
}

#: Event type, field and a value that cannot mean anything where it cannot be done without.
INVALID_VALUES: tuple[tuple[str, str, Any], ...] = (
    ("alert", "alert_type", ["cpu_high"]),
    ("alert", "application_id", {"name": "payments-api"}),
    ("log", "log_level", "LOUD"),
    ("log", "event_type", "trace"),
    ("metric", "cpu_percent", "high"),
    ("metric", "memory_percent", -4.0),
    ("metric", "error_rate", 1.7),
    ("metric", "metrics", {"latency_ms_p95": "fast"}),
    ("metric", "timestamp", 17710614),
    ("log", "timestamp", "14/02/2026 10:30"),
    ("deployment", "timestamp", "2026-02-14T10:30:00"),
    ("deployment", "version", {"major": 2}),
)


class FaultInjector:
    """Adds the faults to the events of a run, portion by portion.

    Args:
        expected_events: of the whole run, so that a count is spread over it; None if unknown.
        watermark_minutes: late events are at least five minutes older than that.
    """

    def __init__(
        self, faults: Faults, *, seed: str, watermark_minutes: float, expected_events: int | None = None
    ) -> None:
        self.injected = FaultCounts()
        self._faults = faults
        self._rng = Random(f"{seed}/faults")
        self._watermark = timedelta(minutes=watermark_minutes)
        self._expected_events = expected_events
        self._seen = 0
        self._lines: list[str] = []
        self._makers: dict[str, Callable[[datetime], str]] = {
            "malformed": self._malformed,
            "missing": self._missing,
            "invalid": self._invalid,
            "future": self._future,
        }

    def inject(self, events: Sequence[Event]) -> list[str]:
        """The events as lines, in their order, with the faults that are due among them."""
        if not events:
            return []
        self._seen += len(events)
        first = parse_rfc3339(events[0]["timestamp"])
        good = [to_line(event) for event in events]
        extra: list[tuple[float, str]] = []
        for kind in fields(self._faults):
            extra.extend(self._fault(kind.name, events, good, first) for _ in range(self._owed(kind.name)))
        placed = sorted([*enumerate(good), *extra], key=lambda item: item[0])
        return [line for _, line in placed]

    def _owed(self, kind: str) -> int:
        """How many of this kind are due, marked as injected."""
        amount: Amount = getattr(self._faults, kind)
        done: int = getattr(self.injected, kind)
        due = max(amount.due(self._seen, self._expected_events), done)
        setattr(self.injected, kind, due)
        return due - done

    def _fault(self, kind: str, events: Sequence[Event], good: list[str], first: datetime) -> tuple[float, str]:
        """A line and its place: fractions of an index lie behind the good line of that index."""
        index = self._rng.randrange(len(events))
        if kind == "duplicate":
            return index + self._rng.randrange(20) + 0.5, good[index]
        if kind == "late":
            # In the last quarter: if the portion becomes several files, the first of them holds none.
            return (3 * len(events) + index) // 4 + 0.5, self._late(first)
        return index + 0.5, self._makers[kind](parse_rfc3339(events[index]["timestamp"]))

    def _malformed(self, when: datetime) -> str:
        """Not one JSON value: cut off, two lines run together, a Python literal, a stray text."""
        event = self._any_event(when)
        line = to_line(event)
        cut = line[: self._rng.randrange(1, len(line))]
        return self._rng.choice((cut, line + line, repr(event), f"{rfc3339(when)} connection reset by peer"))

    def _missing(self, when: datetime) -> str:
        """A required field left out, or null."""
        event = self._any_event(when)
        name = self._rng.choice(REQUIRED + REQUIRED_BY_TYPE[event["event_type"]])
        if self._rng.random() < 0.25:
            event[name] = None
        else:
            del event[name]
        return to_line(event)

    def _invalid(self, when: datetime) -> str:
        event_type, name, value = self._rng.choice(INVALID_VALUES)
        return to_line({**self._event_of(event_type, when), name: value})

    def _future(self, _: datetime) -> str:
        """A broken clock: the year 2099 is the future whenever the pipeline runs."""
        ahead = timedelta(seconds=self._rng.randrange(365 * 86_400))
        return to_line(self._any_event(parse_rfc3339("2099-01-01T00:00:00Z") + ahead))

    def _late(self, first: datetime) -> str:
        """Older than the portion's first event by more than the watermark: late once that one is known."""
        behind = self._watermark + timedelta(seconds=self._rng.randrange(5 * 60, 30 * 60))
        return to_line(self._event_of(self._rng.choice(("metric", "log")), first - behind))

    def _any_event(self, when: datetime) -> Event:
        return self._event_of(self._rng.choice(tuple(BACKGROUND)), when)

    def _event_of(self, event_type: str, when: datetime) -> Event:
        """A valid background event of this type with an id of its own."""
        make, _ = BACKGROUND[event_type]
        event_id = uuid.UUID(int=self._rng.getrandbits(128), version=4)
        return {"event_id": str(event_id), "timestamp": rfc3339(when), **make(self._rng)}
