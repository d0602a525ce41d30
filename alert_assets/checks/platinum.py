"""The checks of platinum: each analysis has its incident or problem, is about what that is now, and says something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, key_check, nothing_new, rule_check
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted, is_false, not_true
from alert_assets.checks.timeliness import freshness_check, missing_hours_finding
from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, PLATINUM_INCIDENTS, PLATINUM_PROBLEMS, Contract
from alert_assets.kernel.sql import within

if TYPE_CHECKING:
    from datetime import datetime

_ABOUT = ("model", "error", "attempts")

#: After so many failing analyses in a hundred somebody has to look at the analyst, not at the incidents.
MAX_FAILED_PERCENT = 20.0


def platinum_checks() -> list[Check]:
    """The checks of platinum_incidents."""
    return _Analyses("incident", GOLD_INCIDENTS, PLATINUM_INCIDENTS, "alert_timestamp").checks()


def platinum_problem_checks() -> list[Check]:
    """The checks of platinum_problems."""
    return _Analyses("problem", GOLD_PROBLEMS, PLATINUM_PROBLEMS, "opened_at", "merged_into IS NULL").checks()


def business_rules(rows: NewRows) -> dict[str, str]:
    """Predicates of analyses that say nothing, or contradict themselves."""
    return {
        "confidence": is_false("confidence_score >= 0 AND confidence_score <= 1"),
        **{
            f"has_{name}": "error IS NULL AND " + not_true(f"btrim({name}) <> ''")
            for name in ("summary", "root_cause", "recommended_action", "model")
        },
        "has_confidence": "error IS NULL AND confidence_score IS NULL",
        "failed_was_attempted": "error IS NOT NULL AND model IS NULL AND attempts < 1",
    }


@dataclass(frozen=True)
class _Analyses:
    """A table of analyses.

    Attributes:
        what: is analysed: incident or problem.
        gold, platinum: where it is, and where its analyses are; they share the columns of the key.
        time: a column of both by which files are pruned.
        analysed: SQL of the rows of gold that have an analysis.
    """

    what: str
    gold: Contract
    platinum: Contract
    time: str
    analysed: str = "true"

    def checks(self) -> list[Check]:
        """All checks of the table."""
        identity = tuple(dict.fromkeys([*self.platinum.key, self.time, *_ABOUT]))
        return [
            *contract_checks(identity),
            key_check(),
            rule_check(
                "business_rules",
                "An analysis without an error says what happened, why, and what to do.",
                business_rules,
                (*identity, "confidence_score"),
            ),
            Check(
                "references",
                "consistency",
                f"Each analysis has its {self.what} in gold.",
                self._references,
                gating=True,
            ),
            Check(
                "current_context",
                "accuracy",
                f"An analysis is about the context that its {self.what} has now.",
                self._current_context,
            ),
            Check(
                "failed_analyses",
                "completeness",
                f"At most {MAX_FAILED_PERCENT:g} % of the new analyses carry an error.",
                _failed_analyses,
                lambda rows: {"rows": "count(*)", "failed_analyses": counted("error IS NOT NULL")},
                judges_arrivals=True,
            ),
            freshness_check(
                f"{self.what.capitalize()}s are analysed before they are older than the contract allows.",
                self.waiting_since,
            ),
            Check(
                "missing_hours",
                "timeliness",
                f"Every hour that has {self.what}s in gold has analyses here.",
                self._missing_hours,
            ),
        ]

    @property
    def _same(self) -> str:
        return " AND ".join(f"p.{name} = g.{name}" for name in self.platinum.key)

    @property
    def _named(self) -> str:
        return ", ".join(f"p.{name}" for name in dict.fromkeys([*self.platinum.key, self.time]))

    def _wanted(self, rows: NewRows) -> int:
        """How many rows of gold have an analysis once platinum is up to date."""
        if self.analysed == "true":
            return rows.snapshot(self.gold).row_count
        return int(rows.query(f"SELECT count(*) AS n FROM {self.gold.name} WHERE {self.analysed}", self.gold)[0]["n"])

    def _of_gold(self, where: str) -> str:
        return f"(SELECT * FROM {self.gold.name} WHERE {where} AND {self.analysed})"

    def _new(self, rows: NewRows) -> str:
        return f"(SELECT * FROM {self.platinum.name} WHERE {rows.are_new})"

    def _references(self, rows: NewRows) -> Finding:
        if not rows.count:
            return nothing_new(rows)
        near = within(self.time, intervals(rows.hours(self.time)))
        orphan = (
            f"SELECT {self._named}, p.analyzed_at FROM {self._new(rows)} p "
            f"LEFT ANTI JOIN {self._of_gold(near)} g ON {self._same}"
        )
        orphans = rows.query(f"SELECT count(*) AS n FROM ({orphan})", self.gold)[0]["n"]
        waiting = rows.query(
            f"SELECT count(*) AS n FROM {self._of_gold(near)} g "
            f"LEFT ANTI JOIN (SELECT * FROM {self.platinum.name} WHERE {near}) p ON {self._same}",
            self.gold,
        )[0]["n"]
        numbers: dict[str, Number] = {
            "rows": rows.count,
            f"analyses_without_{self.what}": orphans,
            f"{self.what}s_without_analysis": waiting,
        }
        if not orphans:
            return Finding(True, f"Each of {rows.count:,} new analyses has its {self.what}.", numbers)
        # A late firing moves an incident's key, and problems become one; platinum's next run removes the analysis.
        if self._is_behind_gold(rows):
            return Finding(
                True,
                f"{orphans:,} analyses lost their {self.what} to a later commit of gold; the next run follows.",
                numbers,
            )
        return Finding(
            False,
            f"{orphans:,} of {rows.count:,} new analyses have no {self.what} in gold. The next run of "
            f"{self.platinum.name} removes them; if not, rebuild it with `full_refresh: true` in the run config.",
            numbers,
            samples=rows.query(f"{orphan} LIMIT {SAMPLES}", self.gold),
        )

    def _current_context(self, rows: NewRows) -> Finding:
        if not rows.count or not rows.exists(self.gold):
            return nothing_new(rows, self.gold)
        near = within(self.time, intervals(rows.hours(self.time)))
        other = (
            f"SELECT {self._named}, p.context_hash AS analysed, g.context_hash AS current "
            f"FROM {self._new(rows)} p JOIN {self._of_gold(near)} g ON {self._same} "
            "WHERE p.context_hash <> g.context_hash"
        )
        stale = rows.query(f"SELECT count(*) AS n FROM ({other})", self.gold)[0]["n"]
        numbers: dict[str, Number] = {"rows": rows.count, "analyses_of_another_context": stale}
        if not stale or self._is_behind_gold(rows):
            return Finding(
                True,
                f"{rows.count - stale:,} of {rows.count:,} new analyses are about their {self.what} as it is.",
                numbers,
            )
        return Finding(
            False,
            f"{stale:,} of {rows.count:,} new analyses are about a context that their {self.what} no longer has. "
            f"Materialize {self.platinum.name}.",
            numbers,
            samples=rows.query(f"{other} LIMIT {SAMPLES}", self.gold),
        )

    def waiting_since(self, rows: NewRows) -> datetime | None:
        """When gold's oldest commit was made of whose rows one has no analysis of its context yet.

        What platinum has read has one, so the others are looked at, unless the tables' row counts say that
        somebody has removed rows by hand.
        """
        if not rows.exists(self.gold):
            return None
        unread = self._unanalysed(rows, rows.cursor(self.gold))
        adds_up = rows.snapshot().row_count + unread["missing"] == self._wanted(rows)
        oldest = unread["batch"] if adds_up else self._unanalysed(rows, 0)["batch"]
        if oldest is None:
            return None
        waiting = None
        for commit in rows.commits(self.gold):
            if commit.batch_id is not None:
                if commit.batch_id < oldest:
                    break
                waiting = commit.at
        return waiting

    def _unanalysed(self, rows: NewRows, above: int) -> dict[str, int]:
        """Count gold's rows above a `_batch_id` that have no analysis, with the lowest `_batch_id` of the stale."""
        near = "true"
        if above:
            near = within(self.time, intervals(rows.hours(self.time, f"_batch_id > {above}", self.gold)))
        key = self.platinum.key
        columns = f"SELECT {', '.join([*key, 'context_hash'])}"
        return rows.query(
            f"SELECT {counted(f'p.{key[0]} IS NULL')} AS missing, "
            "min(g._batch_id) FILTER (WHERE p.context_hash IS DISTINCT FROM g.context_hash) AS batch "
            f"FROM ({columns}, _batch_id FROM {self._of_gold(f'_batch_id > {above} AND {near}')}) g "
            f"LEFT JOIN ({columns} FROM {self.platinum.name} WHERE {near}) p ON {self._same}",
            self.gold,
        )[0]

    def _is_behind_gold(self, rows: NewRows) -> bool:
        gold, platinum = (
            next((commit.at for commit in rows.commits(contract) if commit.batch_id is not None), None)
            for contract in (self.gold, rows.contract)
        )
        return gold is not None and platinum is not None and gold > platinum

    def _missing_hours(self, rows: NewRows) -> Finding:
        if not rows.count or not rows.exists(self.gold):
            return nothing_new(rows, self.gold)
        hours = rows.hours(self.time)
        near = within(self.time, intervals(range(hours[0], hours[-1] + 1)))
        expected = rows.hours(self.time, f"{near} AND {self.analysed}", self.gold)
        present = rows.hours(self.time, near)
        return missing_hours_finding(rows, set(expected), set(present), f"in which gold has {self.what}s")


def _failed_analyses(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    failed = int(rows.measured("failed_analyses"))
    share = 100 * failed / rows.count
    numbers: dict[str, Number] = {
        "rows": rows.count,
        "failed_analyses": failed,
        "failed_percent": share,
        "max_failed_percent": MAX_FAILED_PERCENT,
    }
    said = f"{failed:,} of {rows.count:,} new analyses failed ({share:.1f} %, at most {MAX_FAILED_PERCENT:g} %)."
    if share <= MAX_FAILED_PERCENT:
        return Finding(True, said, numbers)
    return Finding(
        False,
        f"{said} Later runs try them again; look at the analyst's endpoint, budget and limits.",
        numbers,
        samples=rows.query(
            f"SELECT error, count(*) AS analyses, max(model) AS model FROM {rows.contract.name} "
            f"WHERE {rows.are_new} AND error IS NOT NULL GROUP BY error ORDER BY analyses DESC LIMIT {SAMPLES}"
        ),
    )
