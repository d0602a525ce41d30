"""Where each SLO stood when it was last evaluated, for people."""

from __future__ import annotations

from typing import Any

from alert_assets.contracts import SLO_STATUS
from alert_assets.lake.lakehouse import Lakehouse, records


def newest_status(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """The rows of the last evaluation; an SLO that was removed before it is not among them."""
    return records(
        lakehouse.rows(
            SLO_STATUS, "SELECT * FROM t WHERE evaluated_at = (SELECT max(evaluated_at) FROM t) ORDER BY slo"
        )
    )


def burning(row: dict[str, Any]) -> str | None:
    """The fastest pair of windows that fires."""
    fires = next((rate for rate in row["burn_rates"] if rate["firing"]), None)
    if fires is None:
        return None
    return (
        f"{fires['severity']}: {fires['long_burn_rate']:.1f} over {spell_window(fires['long_window_minutes'])}, "
        f"{fires['short_burn_rate']:.1f} over {spell_window(fires['short_window_minutes'])}, limit {fires['limit']:.1f}"
    )


def spell_window(minutes: int) -> str:
    """Return minutes as people write a window: `30d`, `6h`, `5m`."""
    for size, unit in ((1440, "d"), (60, "h")):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"
