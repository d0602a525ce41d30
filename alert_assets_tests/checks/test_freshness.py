"""Freshness without a daemon, and whose fault staleness is."""

from __future__ import annotations

import pytest

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets_tests.checks.lake import HOUR, MINUTE, T0, Lake, line


@pytest.mark.parametrize(("minutes", "passes"), [(9, True), (10, True), (11, False)])
def test_bronze_is_as_fresh_as_its_newest_event(lake: Lake, minutes: int, passes: bool):
    lake.land(line("a", T0), line("b", T0 - HOUR))
    lake.now = T0 + minutes * MINUTE
    finding = lake.check(BRONZE_EVENTS, "freshness")
    assert finding.passed == passes
    assert finding.numbers["age_minutes"] == minutes
    assert finding.numbers["freshness_minutes"] == 10


def test_an_event_slightly_ahead_of_the_clock_is_fresh(lake: Lake):
    lake.land(line("a", T0))
    lake.now = T0 - 3 * MINUTE
    assert lake.check(BRONZE_EVENTS, "freshness").numbers["age_minutes"] == 0


def test_staleness_of_an_open_breaker_is_attributed_to_it(lake: Lake):
    lake.land(line("a", T0))
    lake.now = T0 + 5 * MINUTE
    lake.breakers.open("pipeline", "ann", "bad data")
    lake.now = T0 + 40 * MINUTE
    finding = lake.check(BRONZE_EVENTS, "freshness")
    assert not finding.passed
    assert finding.facts == {"attributed_to_breaker": True, "caused_by": "circuit_breaker/pipeline"}
    assert finding.numbers["breaker_open_minutes"] == 30
    assert "'pipeline' caused it" in finding.description


def test_staleness_before_the_breaker_opened_and_of_other_breakers_is_not(lake: Lake):
    lake.land(line("a", T0))
    lake.now = T0 - 30 * MINUTE
    lake.breakers.open("pipeline", "ann", "bad data")
    lake.now = T0 - 20 * MINUTE
    lake.breakers.close("pipeline", "ann", "put right")
    lake.breakers.open("analysis", "ann", "the model is down")
    lake.now = T0 + 40 * MINUTE
    finding = lake.check(BRONZE_EVENTS, "freshness")
    assert finding.facts == {"attributed_to_breaker": False}


def test_a_derived_table_is_attributed_too(healthy: Lake):
    healthy.land(line("n", T0))
    committed = healthy.committed_at(BRONZE_EVENTS)
    healthy.now = committed + 5 * MINUTE
    healthy.breakers.open("pipeline", "ann", "bad data")
    healthy.now = committed + 30 * MINUTE
    finding = healthy.check(SILVER_ALERTS, "freshness")
    assert finding.facts["attributed_to_breaker"] is True
    assert finding.numbers["breaker_open_minutes"] == pytest.approx(15, abs=0.1)
