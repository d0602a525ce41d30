"""Numbers as people read them."""

from __future__ import annotations

#: From here on zeros say less than an exponent.
_HUGE = 1e15


def figure(value: float, digits: int = 6) -> str:
    """A number with so many digits that count at least before the point, thousands apart: `93.5`, `1,234,568`."""
    if 10**digits - 0.5 <= abs(value) < _HUGE:
        return f"{value:,.0f}"
    return f"{value:,.{digits}g}"
