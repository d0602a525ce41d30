"""What each alert rule is worth: how often it notified, whether anybody took it, how it flapped.

A rule is what one would tune or delete where the alert comes from: a sender's alert type, or of the pipeline's own
alerts the check, SLO, job or breaker. Episodes are what is counted, and the messages that were sent of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from alert_assets.kernel.wording import count
from alert_assets.notify.episode import EXPIRED, SUMMARY
from alert_assets.notify.routing.rules import LOG
from alert_assets.state.tables import deliveries, episodes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Row

    from alert_assets.state.database import State

#: Rules to tune or delete that are named, and messages below which a rule is not judged.
WORST, _MIN_NOTIFICATIONS = 5, 3
#: Episodes below which nobody is told to delete a rule: it may not have had its day yet.
_MIN_EPISODES = 5


@dataclass(frozen=True)
class RuleNoise:
    """What one alert rule came to.

    Attributes:
        source, rule: the system, and the name there.
        episodes: that opened, or were opened again.
        notifications: messages that people were sent, one a recipient; of a group or summary those of its leader alone.
        acknowledged: episodes that somebody acknowledged.
        resolved_alone: unacknowledged episodes that nobody resolved: they were over, or expired.
        flaps: how often episodes came back within the time in which that is the same episode.
        median_acknowledge_seconds: from opening to acknowledgement; None where there was none.
    """

    source: str
    rule: str
    episodes: int
    notifications: int
    acknowledged: int
    resolved_alone: int
    flaps: int
    median_acknowledge_seconds: float | None

    @property
    def acknowledged_percent(self) -> float:
        """Share of episodes that somebody acknowledged."""
        return 100.0 * self.acknowledged / self.episodes

    @property
    def wasted(self) -> float:
        """Notifications of episodes that nobody took, by share, and one for each flap: what is gained by tuning."""
        return self.notifications * (1 - self.acknowledged / self.episodes) + self.flaps

    @property
    def advice(self) -> str:
        """`delete`, `tune` or `keep`."""
        if self.notifications < _MIN_NOTIFICATIONS or not self.wasted:
            return "keep"
        if self.episodes >= _MIN_EPISODES and not self.acknowledged and self.resolved_alone == self.episodes:
            return "delete"
        return "tune" if self.flaps or self.acknowledged_percent < 50 else "keep"

    @property
    def reason(self) -> str:
        """Why, in figures."""
        said = [
            f"{count(self.notifications, 'notification')} of {count(self.episodes, 'episode')}",
            f"{self.acknowledged} acknowledged",
            f"{self.resolved_alone} over without anybody",
        ]
        if self.flaps:
            said.append(count(self.flaps, "flap"))
        return ", ".join(said)


def noise_by_rule(state: State, since: datetime) -> list[RuleNoise]:
    """Return what each rule came to whose episodes were opened at `since` or later, the noisiest first."""
    sent = (
        select(deliveries.c.episode, func.count().label("sent"))
        .where(deliveries.c.status == "sent", deliveries.c.channel != LOG)
        .group_by(deliveries.c.episode)
        .subquery()
    )
    of_them = (
        select(episodes, func.coalesce(sent.c.sent, 0).label("sent"))
        .join(sent, sent.c.episode == episodes.c.id, isouter=True)
        .where(episodes.c.opened_at >= since, ~episodes.c.fingerprint.startswith(SUMMARY))
    )
    by_rule: dict[tuple[str, str], list[Row[tuple[object, ...]]]] = defaultdict(list)
    with state.reading() as connection:
        for row in connection.execute(of_them):
            alert = row.alert
            rule = alert.get("alert_type") if row.kind == "incident" else row.fingerprint
            by_rule[alert.get("source") or "-", rule or row.fingerprint].append(row)
    found = [_noise(source, rule, rows) for (source, rule), rows in by_rule.items()]
    return sorted(found, key=lambda noise: (-noise.wasted, -noise.notifications, noise.source, noise.rule))


def to_tune_or_delete(rules: Iterable[RuleNoise]) -> list[RuleNoise]:
    """Return the five by which most noise would be gone; `rules` with the noisiest first."""
    return [noise for noise in rules if noise.advice != "keep"][:WORST]


def _noise(source: str, rule: str, rows: list[Row[tuple[object, ...]]]) -> RuleNoise:
    taken = [row for row in rows if row.acknowledged_at is not None]
    # An episode that was opened again has the time of that, and may have been acknowledged before.
    waits = [(row.acknowledged_at - row.opened_at).total_seconds() for row in taken]
    waits = [seconds for seconds in waits if seconds >= 0]
    alone = [
        row
        for row in rows
        if row.acknowledged_at is None
        and row.state == "resolved"
        and row.resolved_by in (None, EXPIRED, row.alert.get("source"))
    ]
    return RuleNoise(
        source=source,
        rule=rule,
        episodes=len(rows),
        notifications=sum(row.sent for row in rows),
        acknowledged=len(taken),
        resolved_alone=len(alone),
        flaps=sum(row.reopened for row in rows),
        median_acknowledge_seconds=median(waits) if waits else None,
    )
