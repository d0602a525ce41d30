"""The checks of silver_alerts: one row per alert and window, saying what bronze says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, key_check, nothing_new, rule_check
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted, is_false, not_true, widened
from alert_assets.checks.timeliness import freshness_check, missing_hours_finding, oldest_unseen
from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.kernel.buckets import sql_bucket
from alert_assets.kernel.sql import literal, micros, quote, within

if TYPE_CHECKING:
    from alert_assets.kernel.intervals import Interval

_IDENTITY = ("fingerprint", "window_start", "application_id", "alert_type", "alert_count", "_batch_id")


def silver_checks() -> list[Check]:
    """The checks of silver_alerts."""
    return [
        *contract_checks(_IDENTITY),
        key_check(),
        rule_check(
            "business_rules",
            "Counts, times and values of a row agree with each other.",
            business_rules,
            (*_IDENTITY, "first_seen_timestamp", "last_seen_timestamp", "resolved_at", "max_value", "current_value"),
        ),
        Check(
            "references",
            "consistency",
            "Each new window has alert events of its application and type in bronze.",
            _references,
            gating=True,
        ),
        Check(
            "reconciliation",
            "consistency",
            "Every firing alert of bronze is counted in exactly one row.",
            _reconciliation,
            gating=True,
        ),
        Check(
            "firing_times",
            "accuracy",
            "First and last firing of a window are those of bronze's events.",
            _firing_times,
        ),
        freshness_check(
            "Bronze's commits are taken in before they are older than the contract allows.",
            oldest_unseen,
        ),
        Check(
            "missing_hours",
            "timeliness",
            "Every hour that has alerts in bronze has rows here.",
            _missing_hours,
        ),
    ]


def business_rules(rows: NewRows) -> dict[str, str]:
    """Predicates of rows that contradict themselves."""
    minutes = rows.settings.dedup_window_minutes
    return {
        "suppressed_count": not_true("suppressed_count = greatest(alert_count - 1, 0)"),
        "window_width": not_true(f"window_end = window_start + INTERVAL '{minutes} minutes'"),
        "window_aligned": not_true(f"{micros('window_start')} % {minutes * 60_000_000} = 0"),
        "firings_have_times": "(alert_count > 0) <> (first_seen_timestamp IS NOT NULL)",
        "first_before_last": is_false("first_seen_timestamp <= last_seen_timestamp"),
        "firings_in_window": is_false("first_seen_timestamp >= window_start AND last_seen_timestamp < window_end"),
        "resolved_after_last_firing": is_false("resolved_at >= last_seen_timestamp"),
        "over_without_firings": "alert_count = 0 AND resolved_at IS NULL",
        "max_value": f"current_value IS NOT NULL AND {not_true('max_value >= current_value')}",
    }


def orphans(rows: NewRows) -> str:
    """SQL of the new windows without alert events of their application and type in bronze."""
    hours = intervals(rows.hours("window_start"))
    width = timedelta(minutes=rows.settings.dedup_window_minutes)
    events = (
        f"SELECT DISTINCT application_id, alert_type, {_window(rows)} AS window_at FROM bronze_events "
        f"WHERE event_type = 'alert' AND {within('timestamp', widened(hours, after=width))}"
    )
    return (
        f"SELECT s.fingerprint, s.window_start, s.application_id, s.alert_type, s._batch_id FROM silver_alerts s "
        f"LEFT ANTI JOIN ({events}) e ON e.application_id = s.application_id AND e.alert_type = s.alert_type "
        f"AND e.window_at = {micros('s.window_start')} WHERE {rows.are_new}"
    )


def _references(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    found = rows.query(f"SELECT count(*) AS n FROM ({orphans(rows)})", BRONZE_EVENTS)[0]["n"]
    numbers: dict[str, Number] = {"rows": rows.count, "windows_without_events": found}
    if not found:
        return Finding(True, f"Each of {rows.count:,} new windows has its events in bronze.", numbers)
    return Finding(
        False,
        f"{found:,} of {rows.count:,} new windows have no alert event in bronze: bronze lost events after they were "
        "counted, or DEDUP_WINDOW_MINUTES changed. Rebuild silver with `full_refresh: true` in the run config.",
        numbers,
        samples=rows.query(f"{orphans(rows)} LIMIT {SAMPLES}", BRONZE_EVENTS),
    )


def _window(rows: NewRows) -> str:
    """Start of the window that holds an event's timestamp, in microseconds since the epoch."""
    minutes = rows.settings.dedup_window_minutes
    return f"{sql_bucket('timestamp', timedelta(minutes=minutes))} * {minutes * 60_000_000}"


def _fingerprint(rows: NewRows) -> str:
    """The fingerprint as :func:`alert_assets.transforms.deduplicate.fingerprint` has it."""
    fields = [
        f"labels[{literal(name.removeprefix('labels.'))}]" if name.startswith("labels.") else quote(name)
        for name in rows.settings.dedup_fields
    ]
    return f"encode(sha256(concat_ws(chr(31), {', '.join(f'''coalesce({f}, '')''' for f in fields)})), 'hex')"


def touched_hours(rows: NewRows) -> list[Interval]:
    """The hours of the new windows, and of the alerts that silver has read since they were looked at."""
    read = f"_batch_id > {rows.cursor_before(BRONZE_EVENTS)} AND _batch_id <= {rows.cursor(BRONZE_EVENTS)}"
    alerts = rows.hours("timestamp", f"{read} AND event_type = 'alert'", BRONZE_EVENTS)
    return intervals([*rows.hours("window_start"), *alerts])


def _both(rows: NewRows, hours: list[Interval]) -> str:
    """Each window in these hours as bronze has it (`b_*`) and as silver has it (`s_*`); null where one has not."""
    width = timedelta(minutes=rows.settings.dedup_window_minutes)
    firings = (
        f"SELECT {_fingerprint(rows)} AS fingerprint, {_window(rows)} AS window_at, event_id, timestamp "
        f"FROM bronze_events WHERE event_type = 'alert' AND _batch_id <= {rows.cursor(BRONZE_EVENTS)} "
        f"AND {within('timestamp', widened(hours, before=width, after=width))} "
        # One event is one firing, however often and with whatever else it was delivered.
        "GROUP BY 1, 2, event_id, timestamp HAVING bool_or(status = 'firing')"
    )
    start = "to_timestamp_micros(window_at)"
    bronze = (
        "SELECT fingerprint, window_at, count(*) AS b_count, min(timestamp) AS b_first, max(timestamp) AS b_last "
        f"FROM ({firings}) WHERE {within(start, hours)} GROUP BY 1, 2"
    )
    silver = (
        f"SELECT fingerprint, {micros('window_start')} AS window_at, alert_count AS s_count, "
        f"first_seen_timestamp AS s_first, last_seen_timestamp AS s_last FROM silver_alerts "
        f"WHERE {within('window_start', hours)}"
    )
    return (
        "SELECT coalesce(b.fingerprint, s.fingerprint) AS fingerprint, "
        "to_timestamp_micros(coalesce(b.window_at, s.window_at)) AS window_start, "
        "coalesce(b_count, 0) AS in_bronze, coalesce(s_count, 0) AS in_silver, b_first, b_last, s_first, s_last "
        f"FROM ({bronze}) b FULL JOIN ({silver}) s ON b.fingerprint = s.fingerprint AND b.window_at = s.window_at"
    )


def _reconciliation(rows: NewRows) -> Finding:
    hours = touched_hours(rows)
    if not hours:
        return nothing_new(rows)
    both, wrong = _both(rows, hours), "in_bronze <> in_silver"
    totals = rows.query(
        f"SELECT coalesce(sum(in_bronze), 0) AS bronze, coalesce(sum(in_silver), 0) AS silver, "
        f"{counted(wrong)} AS windows FROM ({both})",
        BRONZE_EVENTS,
    )[0]
    behind = rows.snapshot(BRONZE_EVENTS).last_batch_id - rows.cursor(BRONZE_EVENTS)
    numbers: dict[str, Number] = {
        "firing_events_in_bronze": totals["bronze"],
        "alert_count_in_silver": totals["silver"],
        "windows_that_differ": totals["windows"],
        "commits_behind": behind,
    }
    said = f"{totals['bronze']:,} firing alerts in bronze, {totals['silver']:,} counted in silver"
    if not totals["windows"]:
        return Finding(True, f"{said}, window by window the same.", numbers)
    return Finding(
        False,
        f"{said}; {totals['windows']:,} windows differ. Rebuild silver with `full_refresh: true` in the run config.",
        numbers,
        samples=rows.query(
            f"SELECT fingerprint, window_start, in_bronze, in_silver FROM ({both}) WHERE {wrong} LIMIT {SAMPLES}",
            BRONZE_EVENTS,
        ),
    )


def _firing_times(rows: NewRows) -> Finding:
    hours = touched_hours(rows)
    if not hours:
        return nothing_new(rows)
    both = f"SELECT * FROM ({_both(rows, hours)}) WHERE in_bronze > 0 AND in_silver > 0"
    wrong = "(b_first IS DISTINCT FROM s_first) OR (b_last IS DISTINCT FROM s_last)"
    totals = rows.query(f"SELECT count(*) AS windows, {counted(wrong)} AS wrong FROM ({both})", BRONZE_EVENTS)[0]
    numbers: dict[str, Number] = {"windows": totals["windows"], "windows_with_other_times": totals["wrong"]}
    if not totals["wrong"]:
        return Finding(True, f"First and last firing of {totals['windows']:,} windows are bronze's.", numbers)
    return Finding(
        False,
        f"{totals['wrong']:,} of {totals['windows']:,} windows have other first or last firings than bronze. "
        "Rebuild silver with `full_refresh: true` in the run config.",
        numbers,
        samples=rows.query(
            f"SELECT fingerprint, window_start, b_first AS first_in_bronze, s_first AS first_in_silver, "
            f"b_last AS last_in_bronze, s_last AS last_in_silver FROM ({both}) WHERE {wrong} LIMIT {SAMPLES}",
            BRONZE_EVENTS,
        ),
    )


def _missing_hours(rows: NewRows) -> Finding:
    hours = touched_hours(rows)
    if not hours:
        return nothing_new(rows)
    width = timedelta(minutes=rows.settings.dedup_window_minutes)
    read = f"event_type = 'alert' AND _batch_id <= {rows.cursor(BRONZE_EVENTS)}"
    near = within("timestamp", widened(hours, after=width))
    start = f"to_timestamp_micros({_window(rows)})"
    expected = rows.hours(start, f"{read} AND ({near}) AND {within(start, hours)}", BRONZE_EVENTS)
    present = rows.hours("window_start", within("window_start", hours))
    return missing_hours_finding(rows, set(expected), set(present), "in which bronze has alerts")
