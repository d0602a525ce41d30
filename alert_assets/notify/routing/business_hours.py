"""Business hours: what can wait is counted from their opening.

Hours are wall-clock time of a zone, so a day on which the clocks change is an hour shorter or longer and the
opening is still at nine. Everything that comes out is UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: As in a routing file, by what `date.weekday()` says.
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class BusinessHours:
    """Hours of the days on which people work.

    Attributes:
        zone: where they work.
        days: weekdays, 0 is Monday; at least one.
        opens, closes: wall-clock time since midnight; `closes` is later than `opens` and at most 24 hours.
        holidays: days without business hours, on any weekday.
    """

    zone: tzinfo = UTC
    days: frozenset[int] = frozenset(range(5))
    opens: timedelta = timedelta(hours=9)
    closes: timedelta = timedelta(hours=17)
    holidays: frozenset[date] = frozenset()

    def is_open(self, at: datetime) -> bool:
        """Whether it is within business hours; the closing is not."""
        return self.next_opening(at) == at.astimezone(UTC)

    def next_opening(self, at: datetime) -> datetime:
        """Return the moment itself within business hours, else the next opening. UTC."""
        moment = at.astimezone(UTC)
        hours = self._hours_from(at.astimezone(self.zone).date())
        return next(max(moment, opening) for opening, closing in hours if moment < closing)

    def next_business_day(self, at: datetime) -> datetime:
        """Return the opening of the first working day after the day, in the zone, of that moment. UTC."""
        today = at.astimezone(self.zone).date()
        opening, _ = next(self._hours_from(today + timedelta(days=1)))
        return opening

    def _hours_from(self, first: date) -> Iterator[tuple[datetime, datetime]]:
        """Opening and closing of the working days from a day on."""
        for day in (first + timedelta(days=n) for n in count()):
            if day not in self._hours:
                self._hours[day] = self._hours_of(day)
            if hours := self._hours[day]:
                yield hours

    @cached_property
    def _hours(self) -> dict[date, tuple[datetime, datetime] | None]:
        """Days that were worked out: each is asked for again and again."""
        return {}

    def _hours_of(self, day: date) -> tuple[datetime, datetime] | None:
        """Opening and closing of a day; None where it has none."""
        if day.weekday() not in self.days or day in self.holidays:
            return None
        midnight = datetime.combine(day, time.min, tzinfo=self.zone)
        opening = (midnight + self.opens).astimezone(UTC)
        # An hour that comes twice belongs to the day until it is over for good.
        closing = (midnight + self.closes).replace(fold=1).astimezone(UTC)
        return (opening, closing) if opening < closing else None
