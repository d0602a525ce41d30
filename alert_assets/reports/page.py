"""A report as one HTML page: tables, and curves as SVG in it. Nothing is loaded from elsewhere, no script runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from alert_assets.kernel.templates import environment
from alert_assets.kernel.text import escape_invisible
from alert_assets.kernel.wording import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alert_assets.reports.review import Report

#: Of a curve, in the units of its viewBox.
_WIDTH, _HEIGHT, _MARGIN = 120.0, 24.0, 2.0


def html(report: Report, *, curves: bool = True) -> str:
    """Return the page; without curves for mail programs, which drop them."""
    made = environment("alert_assets.reports")
    made.filters.update(text=escape_invisible, curve=curve)
    return made.get_template("report.html").render(report=report, curves=curves)


def curve(values: Sequence[float | None]) -> Markup:
    """Return values at even distances as an SVG curve, broken where there is none; empty without any."""
    known = [value for value in values if value is not None]
    if not known:
        return Markup("")
    low, high = min(known), max(known)
    step = (_WIDTH - 2 * _MARGIN) / max(len(values) - 1, 1)
    lines: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        # What does not change is a line in the middle.
        share = (value - low) / (high - low) if high > low else 0.5
        lines[-1].append(f"{_MARGIN + number * step:.1f},{_HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN):.1f}")
    # A point alone is a line of no length, which round ends show.
    drawn = "".join(f'<polyline points="{" ".join(line * 2 if len(line) == 1 else line)}"/>' for line in lines if line)
    label = f"from {figure(low, 4)} to {figure(high, 4)}"
    return Markup(  # noqa: S704  made of numbers alone
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{label}"><title>{label}</title>{drawn}</svg>'
    )
