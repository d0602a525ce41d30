"""Is the data there when it is expected? Checks that need no daemon: the Delta log says it all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import nothing_new
from alert_assets.checks.sql import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.checks.check import StaleSince
    from alert_assets.checks.commits import Commit
    from alert_assets.checks.new_rows import NewRows
    from alert_assets.contracts import Contract

_MINUTE = timedelta(minutes=1)


def freshness_check(description: str, stale_since: StaleSince) -> Check:
    """The table is no further behind than its contract says."""
    return Check(
        "freshness",
        "timeliness",
        description,
        lambda rows: _freshness(rows, stale_since(rows)),
        stale_since=stale_since,
    )


def _freshness(rows: NewRows, since: datetime | None) -> Finding:
    limit = rows.contract.freshness_minutes
    age = max(0.0, (rows.now - since) / _MINUTE) if since else 0.0
    numbers: dict[str, Number] = {"age_minutes": round(age, 3), "freshness_minutes": limit}
    said = f"{rows.contract.name} is {age:,.1f} minutes behind; its contract allows {limit}"
    if since is None or age <= limit:
        return Finding(True, f"{said}.", numbers)
    stale_from = since + limit * _MINUTE
    opened = _open_minutes(rows, stale_from)
    if opened is None:
        return Finding(False, f"{said}.", numbers, {"attributed_to_breaker": False})
    numbers["breaker_open_minutes"] = round(opened, 3)
    return Finding(
        False,
        f"{said}. The circuit breaker {rows.contract.breaker!r} caused it: it was open for {opened:,.1f} minutes "
        f"since {stale_from:%Y-%m-%d %H:%M}Z, and refuses runs while it is.",
        numbers,
        {"attributed_to_breaker": True, "caused_by": f"circuit_breaker/{rows.contract.breaker}"},
    )


def _open_minutes(rows: NewRows, since: datetime) -> float | None:
    """How long the table's breaker was open from then on; None when it was not."""
    if rows.contract.breaker is None:
        return None
    overlaps = [
        min(interval.end or rows.now, rows.now) - max(interval.start, since)
        for interval in rows.breakers.open_intervals([rows.contract.breaker], since)
    ]
    open_for = [overlap for overlap in overlaps if overlap >= timedelta(0)]
    return sum(open_for, timedelta(0)) / _MINUTE if open_for else None


def oldest_unseen(rows: NewRows) -> datetime | None:
    """When the oldest upstream commit with rows was made that the table has not taken in yet."""
    unseen = [
        commit.at
        for upstream in rows.contract.derived_from
        if rows.exists(upstream)
        for commit in _unseen(rows, upstream, rows.cursor(upstream))
    ]
    return min(unseen, default=None)


def _unseen(rows: NewRows, upstream: Contract, cursor: int) -> Iterator[Commit]:
    for commit in rows.commits(upstream):
        if commit.batch_id is None:
            continue
        if commit.batch_id <= cursor:
            return
        yield commit


def missing_hours_finding(rows: NewRows, expected: set[int], present: set[int], of: str) -> Finding:
    """A finding about hours (since the epoch) in which rows should be."""
    if not expected:
        return nothing_new(rows)
    missing = sorted(expected - present)
    numbers = {"hours": len(expected), "missing_hours": len(missing)}
    if not missing:
        return Finding(True, f"Rows in each of {len(expected):,} hours {of}.", numbers)
    return Finding(
        False,
        f"No rows in {len(missing):,} of {len(expected):,} hours {of}. Late data fills them; otherwise look at "
        "what should have written them.",
        numbers,
        samples=[{"hour": f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m-%dT%HZ}"} for hour in missing[:SAMPLES]],
    )
