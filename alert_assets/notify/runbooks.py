"""The runbooks: a page, `alert_assets/runbooks/NAME.md`, for each alert that the product raises of itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from alert_assets.notify.alert import Alert

FOLDER = Path(__file__).parents[1] / "runbooks"

#: Alerts that the product lands as events like any sender's, by alert_type.
LANDED = ("sender_silent",)

#: Their application.
_OURS = "alert_assets"


@cache
def runbooks() -> tuple[str, ...]:
    """Return the names of all runbooks."""
    return tuple(sorted(page.stem for page in FOLDER.glob("*.md")))


def runbook_of(alert: Alert) -> str | None:
    """Return the name of an alert's runbook; None for an incident of somebody else's system."""
    if alert.kind != "incident":
        return alert.kind
    return alert.alert_type if alert.application == _OURS and alert.alert_type in LANDED else None


def runbook_url(alert: Alert, base: str) -> str | None:
    """Return where an alert's runbook is below `base`, the address of the folder of all; None where there is none."""
    name = runbook_of(alert)
    return f"{base.rstrip('/')}/{quote(name, safe='')}" if base and name in runbooks() else None
