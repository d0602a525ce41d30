"""What people do about our notifications elsewhere: an acknowledgement in PagerDuty, a button in Slack.

Each is done through :class:`~alert_assets.notify.store.notifications.Notifications`, with its row in the audit, and
once: one that comes again finds the episode acknowledged or over, and changes nothing.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from alert_assets.errors import UserError
from alert_assets.intake.auth import RefusedError, hmac_hex, is_one_of
from alert_assets.intake.json_lines import load
from alert_assets.intake.senders.fields import first, mapping
from alert_assets.notify.channels.slack import ACKNOWLEDGE, RESOLVE, SILENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from alert_assets.notify.episode import Episode
    from alert_assets.notify.store.notifications import Notifications

_SILENCED_FOR = timedelta(hours=1)
_SLACK_SIGNATURE, _SLACK_TIMESTAMP = "x-slack-signature", "x-slack-request-timestamp"
_MAX_AGE_SECONDS = 300


class Answers:
    """Changes episodes by what comes back."""

    def __init__(self, notifications: Notifications, clock: Callable[[], datetime]) -> None:
        """Neither connects nor creates anything."""
        self._notifications, self._clock = notifications, clock

    def pagerduty(self, payload: Any) -> bool:
        """Do what somebody did in PagerDuty; returns whether the incident is of one of our episodes.

        What PagerDuty did because we said so, it did for no person, and changes nothing here.
        """
        happened = mapping(mapping(payload).get("event"))
        found = self._episode(first(mapping(happened.get("data")).get("incident_key")))
        if found is None:
            return False
        agent = mapping(happened.get("agent"))
        if agent.get("type") == "user_reference":
            who = f"{first(agent.get('summary'), agent.get('id'))} (PagerDuty)"
            acts = {
                "incident.acknowledged": self._notifications.acknowledge,
                "incident.resolved": self._notifications.resolve,
            }
            if act := acts.get(str(happened.get("event_type"))):
                with suppress(UserError):  # it is so already
                    act(found.id, who, "in PagerDuty")
        return True

    def slack(self, body: bytes) -> str:
        """Do what a button says; returns what the person is answered.

        Raises:
            ValueError: it is no click on a button of ours.
        """
        [given] = parse_qs(body.decode(), strict_parsing=True)["payload"]
        payload = mapping(load(given.encode()))
        [action] = payload["actions"]
        user = mapping(payload["user"])
        found = self._episode(first(action.get("value")))
        if found is None:
            return "This alert is not known any more."
        return self._click(str(action["action_id"]), found, f"{first(user.get('name'), user['id'])} (Slack)")

    def _click(self, button: str, found: Episode, who: str) -> str:
        why = "in Slack"
        try:
            if button == ACKNOWLEDGE:
                self._notifications.acknowledge(found.id, who, why)
                return f"Acknowledged by {who}."
            if button == RESOLVE:
                self._notifications.resolve(found.id, who, why)
                return f"Resolved by {who}."
            if button == SILENCE:
                until = self._clock() + _SILENCED_FOR
                is_silenced = any(
                    silence.match.conditions.get("episode") == (found.alert.episode,) and silence.until > self._clock()
                    for silence in self._notifications.silences()
                )
                if not is_silenced:
                    self._notifications.silence([f"episode={found.alert.episode}"], until, who, why)
                return f"Silenced until {until:%H:%M} UTC."
        except UserError as error:
            return str(error)
        raise ValueError(f"{button} is no button of ours")

    def _episode(self, key: str | None) -> Episode | None:
        with suppress(UserError):
            found = self._notifications.episode(key or "-")
            # Ids may be shortened by people; not by services.
            return found if found.id == key else None
        return None


class Clicks:
    """The signatures of clicks that were taken while they were young enough: none is taken again."""

    def __init__(self) -> None:
        self._taken: dict[str, datetime] = {}

    @contextmanager
    def once(self, signature: str, now: datetime) -> Iterator[None]:
        """Take a click for as long as the block runs, and after it; one whose block failed may come again.

        Raises:
            RefusedError: it was taken before.
        """
        # A timestamp may be as far in the future as in the past.
        for old in [one for one, at in self._taken.items() if now - at > 2 * timedelta(seconds=_MAX_AGE_SECONDS)]:
            del self._taken[old]
        if signature in self._taken:
            raise RefusedError(403, f"{_SLACK_SIGNATURE} was there before")
        self._taken[signature] = now
        try:
            yield
        except BaseException:
            self._taken.pop(signature, None)
            raise


def verify_slack(body: bytes, headers: Mapping[str, str], secret: str, now: datetime) -> str:
    """Check signature and age of a request of Slack; returns the signature.

    Raises:
        RefusedError: it is not from Slack, or too old.
    """
    timestamp = headers.get(_SLACK_TIMESTAMP, "")
    expected = f"v0={hmac_hex(secret, b'v0:', timestamp.encode('utf-8', 'surrogateescape'), b':', body)}"
    if not is_one_of(headers.get(_SLACK_SIGNATURE, ""), [expected]):
        raise RefusedError(403, f"{_SLACK_SIGNATURE} is missing or wrong")
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12
    if not is_number or abs(now.timestamp() - int(timestamp)) > _MAX_AGE_SECONDS:
        raise RefusedError(403, f"{_SLACK_TIMESTAMP} is not of the last five minutes")
    return expected
