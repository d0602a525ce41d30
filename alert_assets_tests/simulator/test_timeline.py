"""An hour of the timeline: deterministic, valid, and with the facts each scenario promises."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alert_assets.errors import UserError
from alert_assets.kernel.clock import parse_rfc3339
from alert_assets.simulator.events import Event, rfc3339, to_line
from alert_assets.simulator.noise import BACKGROUND, SERVICES, background_event
from alert_assets.simulator.scenarios import SCENARIOS, USUAL
from alert_assets.simulator.timeline import HOUR, Timeline

from .contract import violations

#: An hour is some 500 events, so a few examples are many events.
few = settings(max_examples=20, deadline=None)
seeds = st.integers(min_value=0, max_value=2**63)
starts = st.integers(10**9, 3 * 10**9).map(lambda second: datetime.fromtimestamp(second, UTC))


def lines_of(timeline: Timeline, hour: int = 0) -> list[str]:
    return [to_line(moment.stamped(timeline.when(moment), timeline.run)) for moment in timeline.hour(hour)]


def told(timeline: Timeline, name: str) -> list[tuple[float, Event]]:
    """A scenario's events with their minute after its T+0."""
    begins = 60 * SCENARIOS[name].starts_at_minute
    return [((m.second - begins) / 60, m.event) for m in timeline.hour(0) if m.origin == name]


@few
@given(seeds, starts)
def test_every_event_meets_the_contract(seed: int, begin: datetime) -> None:
    lines = lines_of(Timeline(seed, begin))

    assert {line: violations(line) for line in lines if violations(line)} == {}
    assert 400 <= len(lines) <= 600


@few
@given(seeds, starts)
def test_same_seed_and_start_same_bytes(seed: int, begin: datetime) -> None:
    assert lines_of(Timeline(seed, begin), hour=3) == lines_of(Timeline(seed, begin), hour=3)


@few
@example(8_426_193_951_217_212, datetime.fromtimestamp(10**9, UTC))  # two of one number within the same millisecond
@given(seeds, starts)
def test_another_seed_start_or_hour_is_another_run(seed: int, begin: datetime) -> None:
    runs = [
        lines_of(Timeline(seed, begin)),
        lines_of(Timeline(seed, begin), hour=1),
        lines_of(Timeline(seed + 1, begin)),
        lines_of(Timeline(seed, begin + timedelta(seconds=1))),
    ]
    identities = [
        (event["event_id"], event["timestamp"]) for lines in runs for event in (json.loads(line) for line in lines)
    ]

    assert len(set(identities)) == len(identities)


@few
@given(seeds)
def test_an_hour_is_in_order_and_stays_in_its_hour(seed: int) -> None:
    timeline = Timeline(seed, datetime(2026, 2, 14, tzinfo=UTC))
    times = [timeline.when(moment) for moment in timeline.hour(2)]

    assert times == sorted(times)
    assert timeline.start + 2 * HOUR <= times[0] <= times[-1] < timeline.start + 3 * HOUR


def test_scenarios_and_noise_are_interleaved(start: datetime) -> None:
    origins = [moment.origin for moment in Timeline(1, start).hour(0)]
    runs = sum(1 for before, after in pairwise(origins) if before != after)

    assert set(origins) == {*USUAL, "background"}
    assert runs > 100


def test_the_same_event_keeps_its_id_whatever_else_is_simulated(start: datetime) -> None:
    alone = Timeline(1, start, events_per_hour=200, scenarios=("deployment",))
    together = Timeline(1, start)

    assert [line for line in lines_of(alone) if "payments-1" in line] == [
        line for line in lines_of(together) if "payments-1" in line
    ]


def test_too_few_events_for_the_scenarios(start: datetime) -> None:
    with pytest.raises(UserError, match="at least 14"):
        Timeline(1, start, events_per_hour=13, scenarios=("infra-restart",))
    assert len(Timeline(1, start, events_per_hour=14, scenarios=("infra-restart",)).hour(0)) == 14


def test_endless_goes_on_with_the_next_hour(start: datetime) -> None:
    timeline = Timeline(1, start, events_per_hour=200)

    assert list(islice(timeline.endless(), 400)) == timeline.hour(0) + timeline.hour(1)


@pytest.fixture(params=range(5))
def timeline(request: pytest.FixtureRequest, start: datetime) -> Timeline:
    return Timeline(request.param, start)


def test_deployment_incident(timeline: Timeline) -> None:
    steps = told(timeline, "deployment")
    assert {event["application_id"] for _, event in steps} == {"payments-api"}

    [(minute, rollout)] = [step for step in steps if step[1]["event_type"] == "deployment"]
    assert (minute, rollout["version"], rollout["change_type"]) == (0, "v2.4.1", "rolling_update")

    cpu = {minute: event["cpu_percent"] for minute, event in steps if "cpu_percent" in event}
    errors = {minute: event["error_rate"] for minute, event in steps if "error_rate" in event}
    assert (cpu[30], errors[30]) == (92.5, 0.18) == (max(cpu.values()), max(errors.values()))
    assert max(cpu[m] for m in range(21)) < 45
    assert max(errors[m] for m in range(21)) < 0.02
    assert 60 < cpu[25] < cpu[30]
    assert 0.05 < errors[25] < errors[30]

    alerts = [(minute, event) for minute, event in steps if event.get("alert_type") == "cpu_high"]
    assert [minute for minute, _ in alerts] == [31, 32, 33, 34, 35]
    assert len({(e["application_id"], e["host"], e["alert_type"], e["alert_id"]) for _, e in alerts}) == 1
    assert all(event["current_value"] > event["threshold"] == 80 for _, event in alerts)

    codes = {minute: event["error_code"] for minute, event in steps if event.get("log_level") == "ERROR"}
    assert set(codes.values()) == {"TimeoutException", "DBConnectionError"}
    assert all(30 <= minute <= 35 for minute in codes)
    assert {code for minute, code in codes.items() if minute < 31} == set(codes.values()), (
        "the first alert has evidence"
    )


def test_memory_leak(timeline: Timeline) -> None:
    steps = told(timeline, "memory-leak")
    assert {event["application_id"] for _, event in steps} == {"orders-service"}
    assert "deployment" not in {event["event_type"] for _, event in steps}

    memory = [event["memory_percent"] for _, event in steps if "memory_percent" in event]
    assert (memory[0], memory[-1], len(memory)) == (55, 92, 41)
    assert memory == sorted(memory)

    alerts = [(minute, event) for minute, event in steps if event["event_type"] == "alert"]
    assert [minute for minute, _ in alerts] == [35, 36, 37, 38, 39, 40]
    assert {event["alert_type"] for _, event in alerts} == {"memory_high"}
    assert all(event["current_value"] > event["threshold"] == 85 for _, event in alerts)

    messages = [(minute, event["message"]) for minute, event in steps if event["event_type"] == "log"]
    assert all(35 <= minute <= 40 for minute, _ in messages)
    assert any("GC pause" in text for _, text in messages)
    assert any("Heap pressure" in text for _, text in messages)


def test_infra_restart(timeline: Timeline) -> None:
    steps = told(timeline, "infra-restart")
    minute, restart = steps[0]
    assert (minute, restart["change_type"]) == (0, "maintenance_restart")

    cpu = {minute: event["cpu_percent"] for minute, event in steps if event["event_type"] == "metric"}
    assert all((percent > 80) == (1 <= minute <= 2) for minute, percent in cpu.items())
    assert max(cpu) == 5

    alerts = [
        (minute, e["alert_type"], e["severity"], e["status"]) for minute, e in steps if e["event_type"] == "alert"
    ]
    assert alerts == [(2, "cpu_high", "MEDIUM", "firing"), (4, "cpu_high", "MEDIUM", "resolved")]


def test_noise_never_touches_an_incident() -> None:
    rng = Random(1)
    events = [background_event(rng) for _ in range(5000)]
    involved = {service.application_id for service in SERVICES if service.has_scenario}
    loud = [e for e in events if e["event_type"] in ("alert", "deployment") or e.get("log_level") == "ERROR"]

    assert {e["event_type"] for e in events} == set(BACKGROUND)
    assert len({e["application_id"] for e in events}) >= 5
    assert not {e["application_id"] for e in loud} & involved
    assert not {"payments-1", "orders-2", "inventory-3"} & {e.get("host") for e in events}
    assert max(e["cpu_percent"] for e in events if e["event_type"] == "metric") < 80


def test_noise_writes_the_variants_the_contract_allows() -> None:
    rng = Random(1)
    events = [background_event(rng) for _ in range(5000)]

    assert {"LOW", "medium", "Info"} == {e["severity"] for e in events if "severity" in e}
    assert "WARNING" in {e.get("log_level") for e in events}
    assert any("host" not in e for e in events)
    assert any(not to_line(e).isascii() for e in events)


@given(starts, st.integers(0, 999_999))
def test_rfc3339_round_trip(second: datetime, microsecond: int) -> None:
    when = second.replace(microsecond=microsecond)

    assert parse_rfc3339(rfc3339(when)) == when.replace(microsecond=microsecond // 1000 * 1000)
    assert len(rfc3339(when)) == len("2026-02-14T09:30:00.000Z")
