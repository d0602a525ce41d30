"""When reliability has to be measured again: something changed, or time alone changes what was measured.

While nothing happens, only the clock moves: events grow stale, windows move on. So it is measured again

- every tick, while files wait to be ingested or an SLO burns: there staleness and recovery are news,
- and otherwise in time for `slo_status` to be as fresh as its contract says.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import CONTRACTS, SLO_STATUS
from alert_assets.slo.evaluate import burning, oldest_waiting

if TYPE_CHECKING:
    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

#: How long the measurements stand when nothing happens. A tick of 5 minutes earlier than the contract's limit.
QUIET = timedelta(minutes=SLO_STATUS.freshness_minutes - 5)


def why_due(
    lakehouse: Lakehouse, settings: Settings, breakers: CircuitBreakers, since: datetime | None, now: datetime
) -> str | None:
    """Why reliability is to be measured again, or None while what was measured stands.

    Args:
        since: when it was last measured; None for never.
    """
    if since is None:
        return "Nothing was measured yet."
    if now - since >= QUIET:
        return f"The last measurement is {(now - since) // timedelta(minutes=1)} minutes old."
    changed = [name for name, contract in CONTRACTS.items() if _committed_since(lakehouse.table(contract), since)]
    if changed:
        return f"{', '.join(changed)} changed."
    if (steps := breakers.history(limit=1)) and steps[0].at > since:
        return f"Circuit breaker {steps[0].breaker} is {steps[0].to_state}."
    if slos := burning(lakehouse):
        return f"SLO {', '.join(row['slo'] for row in slos)} burns its error budget."
    return "Landed files wait to be ingested." if oldest_waiting(settings) else None


def _committed_since(table: Any, since: datetime) -> bool:
    if table is None:
        return False
    return datetime.fromtimestamp(table.history(1)[0]["timestamp"] / 1000, UTC) > since
