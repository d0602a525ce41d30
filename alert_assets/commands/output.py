"""How results are printed: tables for people, JSON for machines, times, ages, text from outside.

Whoever can write a log line can write into these tables. No markup is interpreted, and what could steer
a terminal is shown as what it is.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from alert_assets.kernel.wording import (
    NONE,
    age,
    count,
    line,
    paragraph,
    percent,
    size,
    stamp,
    stamp_and_age,
    without_credentials,
)

__all__ = ["age", "count", "line", "paragraph", "percent", "size", "stamp", "stamp_and_age", "without_credentials"]

#: A terminal at least this wide gets one row a line; a narrower one gets rows of several lines.
_WIDE = 150
#: Output into a pipe or a file gets one row a line too, so that `grep` finds whole rows.
_PIPED = 10_000
#: Prose is wrapped here where nothing says how wide the reader's page is.
_PAGE = 100

#: Cells in which prose can be read.
_READABLE = 24


class Output:
    """Standard output as it is now; `COLUMNS` sets its width, for a pipe too."""

    def __init__(self) -> None:
        """Measure the terminal, if there is one."""
        terminal = _console(None)
        self._is_terminal = terminal.is_terminal
        is_measured = self._is_terminal or "COLUMNS" in os.environ
        #: Cells in a line of a table.
        self.width = terminal.width if is_measured else _PIPED
        self._page = terminal.width if is_measured else _PAGE

    @property
    def is_wide(self) -> bool:
        """Whether a row of many columns fits on one line."""
        return self.width >= _WIDE

    def table(self, table: Table) -> None:
        """Print a table; where it is too wide, a block for each row."""
        self.print(fitted(table, self.width), self.width)

    def prose(self, *blocks: RenderableType) -> None:
        """Print text, wrapped to the page."""
        for block in blocks:
            self.print(block, self._page)

    def print(self, block: RenderableType, width: int) -> None:
        """Print a block in `width` cells."""
        console = _console(width)
        with console.capture() as captured:
            console.print(block)
        text = captured.get()
        if not self._is_terminal:
            text = "".join(line.rstrip() + "\n" for line in text.splitlines())
        typer.echo(text, nl=False)


def _console(width: int | None) -> Console:
    return Console(width=width, markup=False, emoji=False, highlight=False)


def rows(*columns: str, right: Sequence[str] = (), keep: Sequence[str] = ()) -> Table:
    """An empty table with a heading.

    Args:
        columns: their headings.
        right: columns of numbers.
        keep: other columns whose lines are not broken.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        number = column in right
        keeps = number or column in keep
        table.add_column(column, justify="right" if number else "left", no_wrap=keeps, overflow="fold")
    return table


def fitted(table: Table, width: int) -> RenderableType:
    """The table in `width` cells without a broken word or a cut number; as a block for each row if need be.

    A column is at least as wide as its longest word, and one of prose wide enough to be read; what is left goes to
    the columns that would wrap.
    """
    natural = [max(map(cell_len, "\n".join(texts).split("\n"))) for texts in _texts(table)]
    least = [
        wide if column.no_wrap else max(min(wide, _READABLE), *map(cell_len, " ".join(texts).split()), 0)
        for column, wide, texts in zip(table.columns, natural, _texts(table), strict=True)
    ]
    gaps = sum(table.padding[1:4:2]) * (len(least) - 1)
    left = width - gaps - sum(least)
    if left < 0:
        return _blocks(table, width)
    wanting = sorted(range(len(least)), key=lambda index: natural[index] - least[index])
    for rank, index in enumerate(wanting):
        more = min(natural[index] - least[index], left // (len(wanting) - rank))
        table.columns[index].width = least[index] + more
        left -= more
    return table


def _texts(table: Table) -> list[list[str]]:
    """Heading and cells of each column, as they are read."""
    return [[str(column.header), *map(str, column.cells)] for column in table.columns]


def _blocks(table: Table, width: int) -> RenderableType:
    """Each row as its first cell and, below it, the others with their headings: short ones side by side."""
    parts: list[RenderableType] = []
    headings = [str(column.header).strip() for column in table.columns]
    cells = zip(*(column.cells for column in table.columns), strict=True)
    for row, (first, *others) in zip(table.rows, cells, strict=True):
        parts.append(Text(str(first), style=row.style or "bold"))
        pairs = [(heading, str(text)) for heading, text in zip(headings[1:], others, strict=True) if str(text) != NONE]
        lines: list[str] = []
        for heading, text in pairs:
            if "\n" in text or cell_len(text) > _READABLE:
                continue
            short = f"{heading} {text}" if text else ""
            if lines and cell_len(f"{lines[-1]}   {short}") <= width:
                lines[-1] += f"   {short}"
            elif short:
                lines.append(f"  {short}")
        parts.extend(lines)
        parts.append(facts((heading, text) for heading, text in pairs if "\n" in text or cell_len(text) > _READABLE))
    return Group(*parts)


def facts(pairs: Iterable[tuple[str, str | None]]) -> Table:
    """Labels and what they say, indented; a pair without a text is left out."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in pairs:
        if text:
            table.add_row(f"  {label}", text)
    return table


def say(text: str) -> None:
    """Print a sentence or two: one line in a pipe, wrapped at words on a terminal."""
    out = Output()
    out.print(text, out.width)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object, in ASCII: nothing in it can steer a terminal or fail to be shown."""
    typer.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """A value as JSON has it: times as RFC 3339 in UTC, maps as objects, bytes as base64."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value
