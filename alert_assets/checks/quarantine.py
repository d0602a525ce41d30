"""The checks of bronze_quarantine: how much of what landed breaks the event contract, and how."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, nothing_new
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted
from alert_assets.checks.timeliness import freshness_check
from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.kernel.sql import within

if TYPE_CHECKING:
    from datetime import datetime

#: A producer that was changed breaks much of what it sends; a stray line here and there is everyday life.
MAX_QUARANTINE_PERCENT = 5.0

_OPEN = "replayed_at IS NULL"
_BAD_TIME = f"{_OPEN} AND (array_has(reasons, 'invalid:timestamp') OR array_has(reasons, 'future:timestamp'))"
#: A number below zero, or a text that begins with a minus sign, as the line has it.
_NEGATIVE = f'{_BAD_TIME} AND regexp_like(raw, \'"timestamp"\\s*:\\s*"?\\s*-\')'


def quarantine_checks() -> list[Check]:
    """The checks of bronze_quarantine."""
    return [
        *contract_checks(("_source_file", "_ingested_at", "_batch_id"), rules_gate=False),
        Check(
            "quarantine_share",
            "validity",
            f"At most {MAX_QUARANTINE_PERCENT:g} % of the lines that landed break the event contract.",
            _quarantine_share,
            lambda rows: {"rows": "count(*)", "open": counted(_OPEN)},
        ),
        Check(
            "invalid_timestamps",
            "accuracy",
            "No line is in quarantine for its timestamp: a wrong clock, epoch or unit.",
            _invalid_timestamps,
            lambda rows: {
                "rows": "count(*)",
                "invalid_timestamps": counted(_BAD_TIME),
                "negative_timestamps": counted(_NEGATIVE),
            },
            judges_arrivals=True,
        ),
        Check(
            "duplicates",
            "uniqueness",
            "No line of a landing file is in quarantine in two commits.",
            _duplicates,
            judges_arrivals=True,
        ),
        Check(
            "reconciliation",
            "consistency",
            "Every line that bronze's commits set aside is here.",
            _reconciliation,
            gating=True,
        ),
        freshness_check("Every batch's broken lines are here soon after its events are in bronze.", waiting_since),
    ]


def _quarantine_share(rows: NewRows) -> Finding:
    waiting, lines = int(rows.measured("open")), new_lines(rows)
    share = 100 * waiting / lines if lines else 0.0
    reasons = _reasons(rows)
    numbers: dict[str, Number] = {
        "lines": lines,
        "quarantined": waiting,
        "quarantined_percent": share,
        "max_quarantined_percent": MAX_QUARANTINE_PERCENT,
        **{f"reason/{reason}": count for reason, count in reasons.items()},
    }
    said = f"{waiting:,} of {lines:,} new lines are in quarantine ({share:.2f} %, at most {MAX_QUARANTINE_PERCENT:g} %)"
    if share <= MAX_QUARANTINE_PERCENT:
        return Finding(True, f"{said}.", numbers)
    worst = ", ".join(f"{reason} ({count:,})" for reason, count in list(reasons.items())[:5])
    return Finding(
        False,
        f"{said}: {worst}. Ask their producers; `alert-assets quarantine replay` moves lines that pass by now.",
        numbers,
        samples=_lines(rows, _OPEN),
    )


def new_lines(rows: NewRows) -> int:
    """Lines that landed since the rows up to `after` did, blank ones aside: bronze's and those still here."""
    here = int(rows.measured("open"))
    if not rows.exists(BRONZE_EVENTS):
        return here
    if not rows.after:
        return here + rows.snapshot(BRONZE_EVENTS).row_count
    since = next((c.at for c in rows.commits() if c.batch_id is not None and c.batch_id <= rows.after), None)
    new = takewhile(lambda commit: since is None or commit.at > since, rows.commits(BRONZE_EVENTS))
    return here + sum(commit.rows for commit in new)


def _reasons(rows: NewRows) -> dict[str, int]:
    """New open lines by reason, the most frequent first; the reasons are the contract's words, 20 at most."""
    found = rows.query(
        f"SELECT reason, count(*) AS lines FROM (SELECT unnest(reasons) AS reason FROM bronze_quarantine "
        f"WHERE {rows.are_new} AND {_OPEN}) GROUP BY reason ORDER BY lines DESC, reason LIMIT 20"
    )
    return {row["reason"]: row["lines"] for row in found}


def _lines(rows: NewRows, where: str) -> list[dict[str, object]]:
    return rows.query(
        f"SELECT array_to_string(reasons, ', ') AS reasons, left(raw, 300) AS raw, _source_file, _batch_id "
        f"FROM bronze_quarantine WHERE {rows.are_new} AND {where} LIMIT {SAMPLES}"
    )


def _invalid_timestamps(rows: NewRows) -> Finding:
    bad, negative = int(rows.measured("invalid_timestamps")), int(rows.measured("negative_timestamps"))
    numbers: dict[str, Number] = {
        "rows": rows.count,
        "invalid_timestamps": bad,
        "negative_timestamps": negative,
        "max_invalid_timestamps": 0,
    }
    if not bad:
        return Finding(True, f"None of {rows.count:,} new lines is here for its timestamp.", numbers)
    return Finding(
        False,
        f"{bad:,} new lines have a timestamp the contract does not allow, {negative:,} of them a negative one. "
        "Their producers' clock, epoch or unit is wrong.",
        numbers,
        samples=_lines(rows, _NEGATIVE if negative else _BAD_TIME),
    )


def _duplicates(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    # One file is in one batch, and the lines of a batch share the time it began. When it began before is not known,
    # so this looks through all of the table, but for two short columns; lines are read of files that came twice.
    twice = (
        "SELECT _source_file FROM bronze_quarantine "
        f"WHERE _source_file IN (SELECT _source_file FROM bronze_quarantine WHERE {rows.are_new}) "
        "GROUP BY _source_file HAVING count(DISTINCT _ingested_at) > 1"
    )
    repeated = (
        "SELECT _source_file, left(raw, 300) AS raw, count(*) - 1 AS surplus FROM bronze_quarantine "
        f"WHERE _source_file IN ({twice}) "
        f"GROUP BY _source_file, raw HAVING count(DISTINCT _ingested_at) > 1 AND {counted(rows.are_new)} > 0"
    )
    surplus = 0
    if rows.query(f"{twice} LIMIT 1"):
        surplus = int(rows.query(f"SELECT coalesce(sum(surplus), 0) AS n FROM ({repeated})")[0]["n"])
    numbers: dict[str, Number] = {"rows": rows.count, "surplus_rows": surplus}
    if not surplus:
        return Finding(True, f"None of {rows.count:,} new lines came from its file before.", numbers)
    return Finding(
        False,
        f"{surplus:,} lines were taken from the same landing file in two batches. A file was written over, or the "
        "checkpoint was lost; files in the landing zone are never changed.",
        numbers,
        samples=rows.query(f"{repeated} LIMIT {SAMPLES}"),
    )


def _reconciliation(rows: NewRows) -> Finding:
    commits = {c.batch_id: c.rows for c in rows.new_commits() if c.published and c.rows}
    if not commits:
        return nothing_new(rows)
    # A replay stamps the rows it moves with a `_batch_id` of its own; when their batch began stays as it was.
    of_commits = f"_batch_id IN ({', '.join(map(str, commits))})"
    near = within("_ingested_at", intervals(rows.hours("_ingested_at", of_commits)))
    found = rows.query(
        f"SELECT b.batch, count(*) AS lines FROM (SELECT _ingested_at FROM bronze_quarantine WHERE {near}) q "
        f"JOIN (SELECT DISTINCT _ingested_at, _batch_id AS batch FROM bronze_quarantine WHERE {of_commits}) b "
        "ON q._ingested_at = b._ingested_at GROUP BY b.batch ORDER BY b.batch"
    )
    wrong = [row for row in found if row["lines"] != commits[row["batch"]]]
    numbers: dict[str, Number] = {
        "commits": len(commits),
        "lines": sum(commits.values()),
        "commits_that_do_not_balance": len(wrong),
    }
    if not wrong:
        return Finding(True, f"{numbers['lines']:,} lines of {len(commits):,} new commits are all here.", numbers)
    return Finding(
        False,
        f"{len(wrong):,} of {len(commits):,} new commits do not have the lines they brought. Restore the table to "
        "the version before they were removed or doubled.",
        numbers,
        samples=[{**row, "committed": commits[row["batch"]]} for row in wrong[:SAMPLES]],
    )


def waiting_since(rows: NewRows) -> datetime | None:
    """When bronze's oldest commit was made whose broken lines are not here yet."""
    table = rows.snapshot().table
    waiting = None
    for commit in rows.commits(BRONZE_EVENTS):
        if commit.published is None or not commit.info.get("quarantined"):
            continue
        app, number = commit.published
        seen = table.transaction_version(app) if table is not None else None
        if seen is not None and seen >= number:
            break
        waiting = commit.at
    return waiting
