"""The reports' figures against plain Python over the same rows, and the page as a browser has it."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import (
    CONTRACTS,
    DRIFT_STATUS,
    QUALITY_SCORES,
    RUN_COST,
    SLO_STATUS,
    TABLE_AVAILABILITY,
    Contract,
)
from alert_assets.kernel.wording import NONE
from alert_assets.lake.lakehouse import Lakehouse, append
from alert_assets.quality.health import RunRecord
from alert_assets.reports.page import curve, html
from alert_assets.reports.review import Report, report, span_before
from alert_assets.slo.budget import slo_status
from alert_assets.slo.openslo import load_slos
from alert_assets.slo.sli import History
from alert_assets.state.database import State

if TYPE_CHECKING:
    from alert_assets.settings import Settings

SINCE, UNTIL = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

Row = dict[str, Any]


class Month:
    """A month of rows, and a day on either side of it that no report of it may count."""

    def __init__(self, settings: Settings) -> None:
        draw = random.Random(17)
        self.settings, self.lakehouse = settings, Lakehouse(settings)
        moments = [SINCE - DAY + number * timedelta(hours=8) for number in range(30 * 3)]
        # The seventh was a day without a daemon.
        moments = [at for at in moments if at.day != 7]
        self.scores = [self._score(at, draw) for at in moments for _ in range(2)]
        self.costs = [self._cost(number, at, draw) for number, at in enumerate(moments)]
        self.looks = [self._look(at, draw) for at in moments]
        self.drifts = [self._drift(number, at) for number, at in enumerate(moments)]
        runs = [RunRecord(f"r{n}", "lake", "SUCCESS", SINCE, SINCE, SINCE) for n in range(30)]
        self.slos = slo_status(load_slos(), History(runs=runs), SINCE + 27 * DAY)
        for contract, rows in {
            QUALITY_SCORES: self.scores,
            RUN_COST: self.costs,
            TABLE_AVAILABILITY: self.looks,
            DRIFT_STATUS: self.drifts,
            SLO_STATUS: self.slos,
        }.items():
            self._append(contract, rows)

    def _append(self, contract: Contract, rows: list[Row]) -> None:
        append(self.lakehouse, contract, rows)

    @staticmethod
    def _score(at: datetime, draw: random.Random) -> Row:
        table, score = draw.choice(["bronze_events", "silver_alerts"]), round(draw.uniform(90, 100), 3)
        at += draw.randrange(60) * MINUTE
        return {"table_name": table, "dimension": "overall", "evaluated_at": at, "score": score, "run_id": "r"}

    @staticmethod
    def _cost(number: int, at: datetime, draw: random.Random) -> Row:
        used = {"cpu_seconds": draw.uniform(1, 900), "bytes_read": 1, "bytes_written": 1}
        tokens = {"prompt_tokens": draw.randrange(1000), "completion_tokens": 10}
        made = {"run_id": f"r{number}", "step": "s", "job": draw.choice("ab"), "ended_at": at}
        return {**made, **used, **tokens, "cost_usd": round(draw.uniform(0, 2), 4)}

    @staticmethod
    def _look(at: datetime, draw: random.Random) -> Row:
        fresh = draw.random() < 0.9
        return {
            "table_name": "gold_incidents",
            "probed_at": at,
            "readable": True,
            "fresh": fresh,
            "behind_minutes": 1.0,
        }

    @staticmethod
    def _drift(number: int, at: datetime) -> Row:
        is_new = number % 9 == 0
        said = {"state": "drifted" if is_new else "ok", "kinds": ["unit"] if is_new else [], "reason": "<b>ms</b>"}
        return {
            "table_name": "bronze_events",
            "column_name": "x",
            "hour": at,
            "evaluated_at": at,
            **said,
            "baseline_hours": 9,
        }

    def within(self, rows: list[Row], at: str) -> list[Row]:
        return [row for row in rows if SINCE <= row[at] < UNTIL]


@pytest.fixture
def month(settings: Settings) -> Month:
    return Month(settings)


def made(month: Month, kind: Any) -> Report:
    return report(kind, month.lakehouse, State(month.settings.state_url), SINCE, UNTIL)


def parts(found: Report) -> dict[str, Any]:
    return {part.title: part for part in found.parts}


def test_the_figures_of_quality_and_drift_are_those_of_the_rows(month: Month) -> None:
    found = parts(made(month, "weekly"))
    quality = found["Quality scores, 0 to 100"]
    for row, drawn in zip(quality.rows, quality.curves, strict=True):
        of_it = [score for score in month.within(month.scores, "evaluated_at") if score["table_name"] == row[0]]
        if not of_it:
            assert row[1:] == [NONE, NONE, NONE, "0"]
            continue
        values = [score["score"] for score in of_it]
        last = max(of_it, key=lambda score: score["evaluated_at"])["score"]
        assert row[1:] == [f"{sum(values) / len(values):.1f}", f"{min(values):.1f}", f"{last:.1f}", str(len(values))]
        for number, mean in enumerate(drawn):
            that_day = [s["score"] for s in of_it if s["evaluated_at"].day == number + 1]
            assert mean == (pytest.approx(sum(that_day) / len(that_day)) if that_day else None)
    drifted = [row for row in month.within(month.drifts, "hour") if row["state"] == "drifted"]
    assert found["Drift"].rows[0][:3] == ["bronze_events.x", str(len(drifted)), "unit"]
    judged = len(month.within(month.drifts, "hour"))
    assert found["Drift"].says.startswith(f"{len(drifted)} of {judged} hours")


def test_the_figures_of_reliability_are_those_of_the_rows(month: Month) -> None:
    breakers = circuit_breakers(month.settings)
    breakers.record("r1", "success", ["pipeline"], reported_by="executor", job="j", started_at=SINCE)
    found = parts(made(month, "monthly"))
    costs = month.within(month.costs, "ended_at")
    by_job = {job: [row for row in costs if row["job"] == job] for job in "ab"}
    for row, drawn in zip(found["Cost"].rows, found["Cost"].curves, strict=True):
        of_it = by_job.pop(row[0])
        hours, usd = sum(r["cpu_seconds"] for r in of_it) / 3600, sum(r["cost_usd"] for r in of_it)
        tokens = sum(r["prompt_tokens"] + r["completion_tokens"] for r in of_it)
        assert row[1:] == [str(len(of_it)), f"{hours:.2f}", f"{tokens:,}", f"${usd:,.4f}"]
        assert sum(value or 0 for value in drawn) == pytest.approx(usd)
    assert by_job == {}
    # A look holds for half an hour where the next is eight hours later.
    looks = month.within(month.looks, "probed_at")
    good = sum(look["fresh"] for look in looks)
    (gold,) = [row for row in found["Availability"].rows if row[0] == "gold_incidents"]
    assert gold[1:] == ["99.00%", f"{100 * good / len(looks):.2f}%", f"{30 * (len(looks) - good)}"]
    (runs,) = [row for row in found["Service level objectives"].rows if row[0] == "run-success"]
    assert runs[1:4] == ["ok", "95.00%", "100.00%"]
    # The run ended now, which is no day of that month.
    assert found["Runs"].rows == []


def test_a_lake_without_anything_has_dashes(settings: Settings) -> None:
    for kind in ("weekly", "monthly"):
        found = report(kind, Lakehouse(settings), State(settings.state_url), SINCE, UNTIL)
        assert "100.00%" not in html(found)


def test_spans_are_whole_weeks_and_months() -> None:
    wednesday = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
    assert span_before("weekly", wednesday) == (datetime(2026, 2, 23, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert span_before("monthly", wednesday) == (SINCE, UNTIL)
    assert span_before("monthly", SINCE) == (datetime(2026, 1, 1, tzinfo=UTC), SINCE)


def test_a_page_loads_nothing_and_quotes_what_is_from_outside(month: Month) -> None:
    page = html(made(month, "weekly"))
    assert "&lt;b&gt;ms&lt;/b&gt;" in page
    assert not re.search(r"<script|src=|https?://|url\(", page)
    assert page.count("<svg") == 2
    assert str(curve([None, None])) == ""
    assert 'points="2.0,22.0 60.0,2.0"' in curve([0, 10, None])
    assert len(CONTRACTS) == len(parts(made(month, "weekly"))["Quality scores, 0 to 100"].rows)
