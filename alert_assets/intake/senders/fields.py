"""What the mappings share: reading foreign fields, and making events of them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alert_assets.contracts.vocabulary import SEVERITIES, SEVERITY_ALIASES
from alert_assets.intake.senders.sender import Event, Unmapped, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from alert_assets.intake.senders.sender import Delivery

#: Labels that name the application, in this order.
APPLICATION_LABELS = ("service", "app", "job")
#: Where the three are missing: an alert of which only the place is known is still an alert.
_PLACES = ("application", "app_kubernetes_io_name", "service_name", "namespace", "cluster")

_DIGITS = re.compile(r"-?\d+(\.\d+)?")


def event(sender: str, event_type: str, identity: Iterable[object], timestamp: datetime, **fields: Any) -> Event:
    """Return an event by the contract; fields that are None or empty are left out.

    Args:
        sender: becomes the `source`.
        event_type: as the contract has it.
        identity: what makes this event this one; the same delivery twice gives the same.
        timestamp: when it happened.
        fields: as the contract has them.
    """
    return {
        "event_id": f"{sender}-{digest(*identity)}",
        "event_type": event_type,
        "timestamp": rfc3339(timestamp),
        "source": sender,
        **{name: value for name, value in fields.items() if value not in (None, "", {}, [])},
    }


def digest(*parts: object) -> str:
    """Return 24 hex digits that stand for the parts."""
    joined = "\x1f".join("" if part is None else str(part) for part in parts)
    return sha256(joined.encode("utf-8", "replace")).hexdigest()[:24]


def each(items: Any, to_events: Callable[[Any], Iterable[Event]]) -> list[Event | Unmapped]:
    """Map the items of a list; one that cannot be mapped takes no other with it.

    Raises:
        UnmappedError: it is no list.
    """
    if not isinstance(items, list):
        raise UnmappedError("a list was expected")
    found: list[Event | Unmapped] = []
    for item in items:
        try:
            found += to_events(item)
        except (UnmappedError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            found.append(Unmapped(str(error) if isinstance(error, UnmappedError) else repr(error)))
    return found


def mapping(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def needed(value: Any, name: str) -> Any:
    """Return the value of a field without which there is no event.

    Raises:
        UnmappedError: it is missing or blank.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UnmappedError(f"{name} is missing")
    return value


def text(value: Any) -> str | None:
    """Return what can be read as text, without blanks around it; None for nothing, and for lists and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value).strip() or None
    return None


def first(*values: Any) -> str | None:
    """Return the first value that is text."""
    return next((found for value in values if (found := text(value))), None)


def number(value: Any) -> float | None:
    """Return a finite number, also one that came as text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def labels(*sources: Any) -> dict[str, str]:
    """Return the objects merged, later ones win; values as text, what is none is dropped."""
    return {str(name): found for source in sources for name, value in mapping(source).items() if (found := text(value))}


def link(value: Any) -> str | None:
    """Return a URL that people can follow, or None."""
    found = text(value)
    try:
        return found if found and urlsplit(found).scheme in ("http", "https") and urlsplit(found).netloc else None
    except ValueError:
        return None


def application(found: Mapping[str, str], *fallbacks: str | None) -> str:
    """Return the application that labels name.

    Raises:
        UnmappedError: neither they nor the fallbacks name one.
    """
    names = [*(found.get(name) for name in (*APPLICATION_LABELS, *_PLACES)), *fallbacks]
    return str(needed(first(*names), "labels.service"))


def without_port(instance: str | None) -> str | None:
    """Return the host of `host:port`, `[v6]:port` or a URL."""
    if not instance:
        return None
    if "://" in instance:
        return urlsplit(instance).hostname
    if match := re.fullmatch(r"\[(.+)\](:\d+)?", instance):
        return match[1]
    return re.sub(r"^([^:]+):\d+$", r"\1", instance)


# Time


def rfc3339(moment: datetime) -> str:
    """Return a time as events have it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(value: Any) -> datetime | None:
    """Return the time that a value is: RFC 3339 with any number of decimals, or seconds, ms, us or ns since 1970.

    Go's zero time, and what is no time, is None. A time without an offset is UTC.
    """
    found = text(value)
    if not found:
        return None
    if _DIGITS.fullmatch(found):
        return _since_epoch(found)
    found = re.sub(r"(\.\d{6})\d+", r"\1", found)
    found = re.sub(r"([+-]\d{2})(\d{2})$", r"\1:\2", found)
    try:
        when = datetime.fromisoformat(found.removesuffix(" UTC"))
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when if when.year >= 1971 else None


def _since_epoch(digits: str) -> datetime | None:
    value, unit = float(digits), 1.0
    while value / unit > 1e11:
        unit *= 1000
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(value / unit * 1e6))
    except OverflowError:
        return None


def window_start(delivery: Delivery) -> datetime:
    """Return when it came, cut to the deduplication window: the same for all repeats within one."""
    epoch = datetime.fromtimestamp(0, UTC)
    return epoch + (delivery.received_at - epoch) // delivery.window * delivery.window


def heard_at(delivery: Delivery, since: datetime | None) -> datetime:
    """Return the time of an alert that is repeated as long as it lasts: since when, and later the window it came in.

    It is never after what comes later, also where the sender's clock is ahead.
    """
    window = window_start(delivery)
    return since if since and window < since <= delivery.received_at + timedelta(minutes=1) else window


# Severity

#: Words of some senders beside those that the contract understands everywhere.
_OTHERS = {"P5": "INFO", "DEBUG": "INFO", "SEV1": "CRITICAL", "SEV2": "HIGH", "SEV3": "MEDIUM", "SEV4": "LOW"}


def severity(value: Any) -> str:
    """Return one of ours; MEDIUM for what is not known or not said."""
    word = (text(value) or "").upper()
    return word if word in SEVERITIES else {**SEVERITY_ALIASES, **_OTHERS}.get(word, "MEDIUM")
