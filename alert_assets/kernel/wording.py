"""Times, ages, sizes, numbers, and text from outside, as people read them in a terminal or on a page."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from alert_assets.kernel.text import escape_invisible

#: What stands where there is nothing.
NONE = "-"

#: From here on zeros say less than an exponent.
_HUGE = 1e15


def stamp(moment: datetime | None) -> str:
    """A time to the second: `2026-02-14 10:06:00Z`."""
    return NONE if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def age(moment: datetime | None, now: datetime) -> str:
    """How long ago: `3 min ago`."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    span = _span(abs(seconds))
    return f"{span} ago" if seconds >= 0 else f"in {span}"


def stamp_and_age(moment: datetime | None, now: datetime) -> str:
    """Both, on one line."""
    return f"{stamp(moment)} ({age(moment, now)})" if moment else NONE


def _span(seconds: float) -> str:
    for limit, size, unit in ((60, 1, "s"), (3_600, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86_400):,} days"


def size(number: int) -> str:
    """Bytes as people say them."""
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def percent(value: float | None) -> str:
    """A share in percent: `99.95%`."""
    return NONE if value is None else f"{value:,.2f}%"


def figure(value: float, digits: int = 6) -> str:
    """A number with so many digits that count at least before the point, thousands apart: `93.5`, `1,234,568`."""
    if 10**digits - 0.5 <= abs(value) < _HUGE:
        return f"{value:,.0f}"
    return f"{value:,.{digits}g}"


def count(number: int, noun: str) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def line(text: object, limit: int | None = None) -> str:
    """Text from outside on one line: invisible characters escaped; cut to `limit`, between words, with an ellipsis."""
    if text is None or text == "":
        return NONE
    whole = str(text).strip()
    # Escapes only lengthen a text, so what is beyond the limit before them is beyond it after.
    shown = escape_invisible(whole if limit is None else whole[: limit + 1]).replace("\n", " ")
    if limit is None or len(shown) <= limit:
        return shown
    words = shown[: limit - 1].rpartition(" ")[0].rstrip()
    return (words if 2 * len(words) > limit else shown[: limit - 1].rstrip()) + "…"


def paragraph(text: object) -> str:
    """Text from outside with its line feeds."""
    return escape_invisible(str(text))


def without_credentials(location: str) -> str:
    """A path or URL without a password, key or token."""
    hidden = re.sub(r"(://[^/?#@:]*:)[^/?#]*@", r"\1***@", location)
    return re.sub(r"([?&;][^=&;]*(?:pass|secret|token|key|sig)[^=&;]*=)[^&;]*", r"\1***", hidden, flags=re.IGNORECASE)
