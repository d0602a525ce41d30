"""`alert-assets drift`: what has changed, of which column, in which hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.contracts import DRIFT_STATUS
from alert_assets_tests.commands.lake import T0, Row, write

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

SINCE = ("--since", "2026-02-01T00:00:00Z")


def drift(**given: Any) -> Row:
    """A row of drift_status, of a column whose unit has changed."""
    return {
        "table_name": "bronze_events",
        "column_name": "metrics.latency_ms_p95",
        "hour": T0.replace(minute=0),
        "evaluated_at": T0,
        "state": "drifted",
        "kinds": ["unit"],
        "psi": 8.4567,
        "psi_limit": 0.2,
        "ks": 0.991,
        "ks_limit": 0.21,
        "null_share": 0.0,
        "usual_null_share": 0.0,
        "baseline_hours": 168,
        "reason": "as in another unit, 1,000 times the usual; median 1.2e+05, usually 120",
        **given,
    }


def test_before_anything_was_judged(run: Run) -> None:
    result = run("drift", "--fail-if-drifted")
    assert result.code == 0
    assert "--select column_profiles,drift_status" in result.out


def test_what_drifted_is_shown_and_tested_for(settings: Settings, run: Run) -> None:
    write(settings, DRIFT_STATUS, drift(), drift(column_name="host", state="ok", kinds=[], reason=None, ks=None))
    result = run("drift", *SINCE, "--fail-if-drifted")
    assert result.code == 1
    assert "metrics.latency_ms_p95" in result.out
    assert "1,000 times the usual" in result.out
    assert "host" not in result.out
    assert "host" in run("drift", *SINCE, "--all").out
    found = run("drift", *SINCE, "--json").json
    assert (found["judged"], found["drifted"], found["columns"][0]["kinds"]) == (2, 1, ["unit"])


def test_a_table_that_is_as_it_was(settings: Settings, run: Run) -> None:
    write(settings, DRIFT_STATUS, drift(), drift(table_name="silver_alerts", state="ok", kinds=[], reason=None))
    result = run("drift", *SINCE, "--table", "silver_alerts", "--fail-if-drifted")
    assert (result.code, result.out) == (0, "Nothing has drifted since 2026-02-01 00:00:00Z, in 1 hour.\n")
    unknown = run("drift", "--table", "silver")
    assert unknown.code == 2
    assert "There is no table 'silver'" in unknown.err
