"""Points in time: now, as people type them, and as RFC 3339 has them."""

from __future__ import annotations

from datetime import UTC, datetime

from alert_assets.kernel.durations import parse_duration

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """Return now, aware, in UTC."""
    return datetime.now(UTC)


def parse_rfc3339(text: str) -> datetime:
    """Return an aware UTC time.

    Raises:
        ValueError: `text` is no date and time, or has no offset.
    """
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC; append a Z")
    return when.astimezone(UTC)


def parse_moment(text: str, now: datetime, *, ahead: bool) -> datetime:
    """Return a time that is typed as one in RFC 3339, or by its distance from now: `30m`, `2h`, `1d`.

    Args:
        text: what was typed.
        now: where a distance is counted from.
        ahead: whether a distance leads into the future, as for an expiry, or into the past, as for `--since`.

    Raises:
        ValueError: `text` is neither.
    """
    try:
        distance = parse_duration(text)
    except ValueError:
        try:
            return parse_rfc3339(text)
        except ValueError:
            kind = "a time from now" if ahead else "an age"
            raise ValueError(
                f"{text!r} is neither {kind} like 30m, 2h or 1d nor a time like 2026-02-14T09:30:00Z"
            ) from None
    return now + distance if ahead else now - distance
