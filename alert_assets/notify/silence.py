"""Silences and maintenance windows: which notifications are suppressed, and until when.

They suppress notifications, never data: what is silenced is recorded, its resolution is sent to who was notified
before, and what is still firing at the end is notified then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from alert_assets.errors import UserError
from alert_assets.notify.routing.rules import MATCHED, REGEX, VOCABULARIES, Matcher, pattern_problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from alert_assets.notify.alert import Alert

#: What a silence may look at, besides `labels.NAME`: one may be for a single thing, too.
FIELDS = (*MATCHED, "episode", "title")

Kind = Literal["silence", "maintenance"]


@dataclass(frozen=True)
class Silence:
    """A silence, or a maintenance window.

    Attributes:
        match: which alerts are meant; the empty matcher is all of them.
        starts_at, until: it holds from the first moment on, up to the second.
        who, why: as the audit has it.
    """

    id: int
    kind: Kind
    match: Matcher
    starts_at: datetime
    until: datetime
    who: str
    why: str

    def is_active(self, now: datetime) -> bool:
        """Whether it holds now."""
        return self.starts_at <= now < self.until


def silenced_by(alert: Alert, silences: Iterable[Silence], now: datetime) -> Silence | None:
    """Return what suppresses the alert: a maintenance window before a silence, then what holds longest."""
    found = [silence for silence in silences if silence.is_active(now) and silence.match.matches(alert)]
    return max(found, key=lambda silence: (silence.kind == "maintenance", silence.until, silence.id), default=None)


def parse_matcher(texts: Iterable[str]) -> Matcher:
    """Parse conditions as people write them: `application=payments-api`, `title=~.*disk.*`, `labels.team=web`.

    Of one field any value may fit; all fields have to.

    Raises:
        UserError: one is no such condition.
    """
    conditions: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, value = text.strip().partition("=")
        if not equals:
            raise UserError(f"{text!r} is no matcher: write it like application=payments-api or title=~.*disk.*")
        _check_name(text, name, value)
        pattern = f"={value}" if value.startswith("~") else value
        _check_pattern(text, name, pattern)
        conditions[name] = (*conditions.get(name, ()), pattern)
    return Matcher(conditions)


def _check_name(text: str, name: str, value: str) -> None:
    if name in FIELDS or re.fullmatch(r"labels\..+", name):
        return
    known = f"an alert has {', '.join(FIELDS)} and labels.NAME"
    hint = f"; a label is labels.{name}={value}" if re.fullmatch(r"[A-Za-z_][\w.-]*", name) else ""
    raise UserError(f"{text!r} matches on {name!r}: {known}{hint}.")


def _check_pattern(text: str, name: str, pattern: str) -> None:
    """Refuse what can never match, with the right form."""
    bare = pattern.removeprefix(REGEX) if pattern.startswith(REGEX) else pattern.lstrip("=")
    unquoted = bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"" else bare
    if unquoted != bare or (pattern.startswith("=") and not pattern.startswith(REGEX)):
        sign = "=~" if pattern.startswith(REGEX) else "="
        raise UserError(f"{text!r} can never match: there is one = and no quotes, so write {name}{sign}{unquoted}")
    if pattern == "" and name not in ("severity", "kind"):
        # It matches alerts that do not have the field.
        return
    if problem := pattern_problem(name, pattern):
        right = next((value for value in VOCABULARIES.get(name, ()) if value.lower() == pattern.lower()), None)
        meant = f" Write {name}={right}." if right else ""
        raise UserError(f"{text!r} can never match: {name} is {problem}.{meant}")


def matching(match: Matcher, alerts: Iterable[Alert]) -> int:
    """Count the alerts that a matcher matches."""
    return sum(map(match.matches, alerts))
