"""Which stored episodes a tick takes up: those that time, or the end of others, may have changed."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, or_, select

from alert_assets.notify.episode import PROBLEM
from alert_assets.notify.store.digests import RATE_LIMITED
from alert_assets.state.tables import digest_members, digests, episodes

if TYPE_CHECKING:
    from datetime import datetime


class Selection(Enum):
    """Episodes that are not over, by what may happen to them.

    Attributes:
        OWED: open, owed a notification, and what they were grouped with is over.
        WITHHELD: those of them that more than the log would have been sent.
        TO_REVIEW: may have become quiet, expired, or have stopped flapping.
        TO_ESCALATE: notified by themselves, and a step, reminder or deadline may be due.
        ENDED_PROBLEM: notified for a problem of which nothing fires any more.
        ENDED_SUMMARY: summaries of which no member is open.
    """

    OWED = auto()
    WITHHELD = auto()
    TO_REVIEW = auto()
    TO_ESCALATE = auto()
    ENDED_PROBLEM = auto()
    ENDED_SUMMARY = auto()


Conditions = tuple[ColumnElement[bool], ...]


def conditions(selection: Selection, now: datetime) -> Conditions:
    """Return what holds for the rows of `episodes` that a selection has."""
    table = episodes.c
    if selection is Selection.TO_REVIEW:
        return (table.state != "resolved", table.review_at <= now)
    if selection is Selection.TO_ESCALATE:
        return (
            table.state != "resolved",
            table.kind != "summary",
            table.notified_at.is_not(None),
            table.notified_as == "notified",
            or_(table.look_at.is_(None), table.look_at <= now),
        )
    return _FIXED[selection]


_leader, _member, _other = episodes.alias("leader"), episodes.alias("member"), episodes.alias("other")

_OWED: Conditions = (
    episodes.c.owed.is_not(None),
    episodes.c.state == "open",
    or_(
        episodes.c.owed != "grouped",
        ~select(_leader.c.id).where(_leader.c.id == episodes.c.grouped_under, _leader.c.state != "resolved").exists(),
    ),
)

_ENDED_SUMMARY: Conditions = (
    episodes.c.id.in_(select(digests.c.episode).where(digests.c.kind == RATE_LIMITED, digests.c.sent_at.is_not(None))),
    episodes.c.state != "resolved",
    ~select(_member.c.id)
    .join(digest_members, digest_members.c.episode == _member.c.id)
    .join(digests, digests.c.id == digest_members.c.digest)
    .where(digests.c.episode == episodes.c.id, _member.c.state != "resolved")
    .exists(),
)

_ENDED_PROBLEM: Conditions = (
    episodes.c.group_key.startswith(PROBLEM),
    episodes.c.state != "resolved",
    episodes.c.notified_as == "notified",
    episodes.c.flapping_since.is_(None),
    or_(episodes.c.fired_at.is_(None), episodes.c.over_at >= episodes.c.fired_at),
    ~select(_other.c.id)
    .where(
        or_(_other.c.group_key == episodes.c.group_key, _other.c.grouped_under == episodes.c.id),
        _other.c.state != "resolved",
        or_(_other.c.over_at.is_(None), _other.c.fired_at > _other.c.over_at),
    )
    .exists(),
)

_FIXED = {
    Selection.OWED: _OWED,
    Selection.WITHHELD: (*_OWED, episodes.c.owed != "recorded"),
    Selection.ENDED_PROBLEM: _ENDED_PROBLEM,
    Selection.ENDED_SUMMARY: _ENDED_SUMMARY,
}
