"""What a cycle may write, and how a shift counts for the circuit breakers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.breaker.guard import BreakerOpen
from alert_assets.breaker.store import CircuitBreakers, circuit_breakers
from alert_assets.contracts import (
    BRONZE_EVENTS,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
)
from alert_assets.kernel.clock import utc_now
from alert_assets.state.check_results import record_check
from alert_assets.stream.shift import CHAIN, Shift, allowed

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def breakers(settings: Settings) -> CircuitBreakers:
    return circuit_breakers(settings)


def fail(breakers: CircuitBreakers, table: str, check: str, *, passed: bool = False) -> None:
    with breakers.state.writing() as connection:
        record_check(
            connection,
            table_name=table,
            check_name=check,
            passed=passed,
            severity="ERROR",
            blocking=True,
            at=utc_now(),
            run_id="r",
            description="3 keys are there twice.",
            checked_batch_id=1,
        )


def outcomes(breakers: CircuitBreakers, shift: Shift) -> dict[str, str]:
    found = breakers.outcomes(since=utc_now().replace(year=2000))
    return {one.breaker: one.outcome for one in found if one.run_id == shift.run_id}


def test_all_tables_while_nothing_refuses(settings: Settings, breakers: CircuitBreakers) -> None:
    assert allowed(settings, breakers) == (CHAIN, [])


def test_a_model_is_waited_for_in_runs_of_its_own(settings: Settings, breakers: CircuitBreakers) -> None:
    model = settings.model_copy(update={"analyst": "llm"})
    assert allowed(model, breakers) == (CHAIN[:-1], [])


def test_an_open_breaker_stops_the_tables_that_it_guards(settings: Settings, breakers: CircuitBreakers) -> None:
    breakers.open("analysis", "ann", "the rules are being changed")
    tables, refusals = allowed(settings, breakers)
    assert PLATINUM_INCIDENTS not in tables
    assert GOLD_INCIDENTS in tables
    assert "the rules are being changed" in " ".join(refusals)
    breakers.open("pipeline", "ann", "the lake moves")
    assert allowed(settings, breakers)[0] == ()


def test_a_failed_blocking_check_stops_what_is_built_on_its_table(
    settings: Settings, breakers: CircuitBreakers
) -> None:
    from alert_assets.checks.tables import CHECKS

    (check, *_) = (check.name for check in CHECKS["silver_alerts"][1]() if check.gating)
    fail(breakers, "silver_alerts", check)
    tables, refusals = allowed(settings, breakers)
    assert tables == (BRONZE_EVENTS, SILVER_ALERTS, SILVER_DEPENDENCIES, SILVER_BASELINES)
    assert "3 keys are there twice." in " ".join(refusals)
    fail(breakers, "silver_alerts", check, passed=True)
    assert allowed(settings, breakers) == (CHAIN, [])


def test_a_shift_is_one_run_for_the_breakers(settings: Settings, breakers: CircuitBreakers) -> None:
    shift = Shift(settings, breakers, CHAIN)
    for contract in (*CHAIN, *CHAIN):
        with shift.lakehouse.writing(contract):
            pass
    assert outcomes(breakers, shift) == {}
    shift.end()
    assert outcomes(breakers, shift) == {"pipeline": "success", "analysis": "success"}


def test_failures_open_the_breaker_as_those_of_runs_do(settings: Settings, breakers: CircuitBreakers) -> None:
    def broken() -> Any:
        raise OSError("the lake is full")

    for _ in range(settings.breaker_failure_threshold):
        shift = Shift(settings, breakers, CHAIN)
        with pytest.raises(OSError, match="full"), shift.lakehouse.writing(SILVER_ALERTS):
            broken()
        shift.end("the lake is full")
        assert outcomes(breakers, shift) == {"pipeline": "failure"}
    with pytest.raises(BreakerOpen, match="pipeline"):
        Shift(settings, breakers, CHAIN)
    assert allowed(settings, breakers)[0] == ()


def test_a_failure_is_an_alert_and_a_later_shift_that_does_the_work_resolves_it(
    settings: Settings, breakers: CircuitBreakers
) -> None:
    from sqlalchemy import select

    from alert_assets.state.tables import outbox

    def alerts() -> list[str]:
        with breakers.state.reading() as connection:
            rows = connection.execute(select(outbox.c.idempotency_key).order_by(outbox.c.id)).scalars()
            return [key.rpartition("/")[2] if "SUCCESS" not in key else "SUCCESS" for key in rows]

    failed = Shift(settings, breakers, CHAIN)
    failed.done = {"bronze_events"}
    failed.end("Spark failed")
    assert alerts() == ["FAILURE"]
    well = Shift(settings, breakers, CHAIN)
    well.done = {contract.name for contract in CHAIN}
    well.end()
    assert alerts() == ["FAILURE", "SUCCESS"]
