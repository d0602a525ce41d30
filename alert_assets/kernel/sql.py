"""Names and values as SQL spells them; DataFusion and Spark agree on these."""

from __future__ import annotations

from datetime import UTC, datetime


def quote(name: str) -> str:
    """Return a column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | float | datetime) -> str:
    """Return a text, number, boolean or aware time as an SQL literal.

    Raises:
        ValueError: a number that is not finite, which SQL cannot spell.
    """
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00'"
    if isinstance(value, bool):
        return str(value).lower()
    if value - value == 0:
        return repr(value)
    raise ValueError(f"{value!r} has no SQL literal")
