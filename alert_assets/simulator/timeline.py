"""One hour in order: the chosen scenarios, and noise up to the wanted number of events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from alert_assets.errors import UserError
from alert_assets.simulator.events import Event, rfc3339, stamp
from alert_assets.simulator.noise import background_event
from alert_assets.simulator.scenarios import SCENARIOS, USUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = timedelta(hours=1)
HOUR_SECONDS = 3600
BACKGROUND_ORIGIN = "background"


class Moment(NamedTuple):
    """An event that has no date yet: `second` counts from the start of the run.

    `origin` is the scenario's name or "background"; with `number` it is unique in its hour.
    """

    second: float
    origin: str
    number: int
    event: Event

    def stamped(self, when: datetime, run: str) -> Event:
        """The event as it is sent at `when`; with the name of its run the moment gives its event_id."""
        return stamp(self.event, when, f"{run}/{self.origin}/{self.number}")


@dataclass(frozen=True)
class Timeline:
    """What happens in each hour of a run.

    The seed and the start decide everything: another start gives other noise and other ids too, so two
    runs with the same seed are two different hours and not one delivered twice.
    """

    seed: int
    start: datetime
    events_per_hour: int = 500
    scenarios: tuple[str, ...] = USUAL

    def __post_init__(self) -> None:
        needed = sum(1 for name in self.scenarios for _ in SCENARIOS[name].play(Random(0)))
        if self.events_per_hour < needed:
            chosen = ", ".join(self.scenarios)
            raise UserError(
                f"{self.events_per_hour} events an hour are too few: the chosen scenarios ({chosen}) have {needed}. "
                f"Ask for at least {needed} or for fewer scenarios."
            )

    @property
    def run(self) -> str:
        """What tells this run's events from those of every other."""
        return f"{self.seed}/{rfc3339(self.start)}"

    def hour(self, number: int) -> list[Moment]:
        """The moments of hour `number` (from 0), by time."""
        first_second = number * HOUR_SECONDS
        moments = []
        for name in self.scenarios:
            scenario = SCENARIOS[name]
            for index, (minute, event) in enumerate(scenario.play(self._rng(number, name))):
                second = first_second + 60 * (scenario.starts_at_minute + minute)
                moments.append(Moment(round(second, 3), name, index, event))
        rng = self._rng(number, BACKGROUND_ORIGIN)
        for index in range(self.events_per_hour - len(moments)):
            second = first_second + rng.randrange(HOUR_SECONDS * 1000) / 1000
            moments.append(Moment(second, BACKGROUND_ORIGIN, index, background_event(rng)))
        return sorted(moments, key=lambda moment: moment[:3])

    def endless(self) -> Iterator[Moment]:
        """Hour after hour."""
        number = 0
        while True:
            yield from self.hour(number)
            number += 1

    def when(self, moment: Moment) -> datetime:
        """The time of a moment in a run that begins at `start`."""
        return self.start + timedelta(milliseconds=round(moment.second * 1000))

    def _rng(self, hour: int, part: str) -> Random:
        return Random(f"{self.run}/{hour}/{part}")
