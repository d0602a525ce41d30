"""Medians, targets, growth and floors: what the bench says of its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks import floors, report, signal
from benchmarks.control_plane import CHECKS, IMPORTS, SENSORS, STATUS
from benchmarks.memory import Peak
from benchmarks.observed import ABSENT, CYCLE, DEFINITIONS, OFF, TRACED, absent, compared
from benchmarks.results import Failure, Results, Run, Target, differences, growth_exponent
from benchmarks.site import phases_of

positive = st.floats(0.001, 1e6)


@given(size=st.integers(1, 10**6), factor=st.integers(2, 100), constant=positive, power=st.floats(-1, 3))
def test_the_growth_exponent_is_that_of_the_power_law(size, factor, constant, power):
    def seconds(n):
        return constant * n**power

    large = size * factor
    exponent = growth_exponent((size, seconds(size)), (large, seconds(large)))
    assert exponent == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(("small", "large"), [((0, 1), (2, 1)), ((1, 0), (2, 1)), ((2, 1), (2, 3)), ((1, 1), (2, -1))])
def test_no_exponent_without_two_sizes_and_times(small, large):
    with pytest.raises(ValueError, match="two different sizes"):
        growth_exponent(small, large)


@given(value=positive, limit=positive, at_least=st.booleans())
def test_a_target_is_met_or_missed_by_something(value, limit, at_least):
    target = Target("a", "a figure", value, limit, at_least=at_least)
    assert target.is_met == (value >= limit if at_least else value <= limit)
    assert target.is_met == (target.missed_by_percent == 0)
    assert (target.verdict == "met") == target.is_met


@given(value=positive, limit=positive)
def test_only_equal_figures_meet_both_directions(value, limit):
    assume(value != limit)
    assert Target("a", "f", value, limit).is_met != Target("a", "f", value, limit, at_least=True).is_met


def test_how_a_target_is_shown():
    missed = Target("b", "time", 2.5, 5.0, at_least=True, is_bound=True)
    assert (missed.wanted, missed.shown, missed.verdict) == ("at least 5x", "at least 2.50x", "missed by 50 %")
    met = Target("f", "memory", 2_950.4, 4_096, unit="MiB")
    assert (met.wanted, met.shown, met.verdict) == ("at most 4,096 MiB", "2,950 MiB", "met")


@given(st.lists(positive, min_size=1, max_size=9))
def test_a_measurement_is_the_median_of_its_runs(seconds):
    measurement = Results().measurement("g", "n")
    measurement.runs += [Run(s, {"bronze": s / 2}, Peak(total=s)) for s in seconds]
    ordered = sorted(seconds)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    assert measurement.seconds == pytest.approx(middle)
    assert measurement.phases["bronze"] == pytest.approx(middle / 2)
    assert measurement.peak.total == max(seconds)


def test_a_measurement_is_found_again():
    results = Results()
    assert results.measurement("g", "n") is results.measurement("g", "n")
    assert results.measurement("g", "m") is not results.measurement("g", "n")


def test_differences_are_of_what_both_have():
    ours = {"rows": 10, "sum": 5, "more": 1}
    assert differences(ours, {"rows": 10.0, "sum": 5}) == []
    assert differences(ours, {"rows": 11, "other": 2}) == ["rows: 10 and 11"]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=6), st.floats(0, 50), st.floats(0, 50))
def test_the_phases_add_up_to_the_process(spans, before, after):
    names = ["bronze", "silver_alerts", "gold_incidents", "bronze_events_checks", "gold_incidents_checks", "x"]
    steps, at = [], 1000.0 + before
    for name, (pause, length) in zip(names, spans, strict=False):
        steps.append((name, at + pause, at + pause + length))
        at += pause + length
    phases = phases_of(steps, 1000.0, at + after)
    assert sum(phases.values()) == pytest.approx(at + after - 1000.0)
    assert phases["rest"] >= -1e-6
    if steps:
        assert phases["start"] == pytest.approx(steps[0][1] - 1000.0)
        assert phases["bronze"] == pytest.approx(spans[0][1])


TARGETS = [
    Target("a", "default set-up's time over a warm server's", 3.0, 4.0, at_least=True),
    Target("d", "time of status over `import dagster, deltalake`", 9.0, 1.5),
    Target("f", "peak memory of landing to gold", 5000, 4096, unit="MiB"),
]


def test_floors_replace_the_limits_and_leave_out_what_is_no_ratio():
    judged = floors.judged(TARGETS)
    assert [(target.letter, target.is_met) for target in judged] == [("a", True), ("d", False)]
    assert all(target.unit == "x" for target in judged), "an absolute figure would judge the machine"


OF_FAULTS = signal.targets(
    [signal.Figure(signal.ALL_KINDS, 0.6, first=5, three=5, of=10, claims=[(0.5, True)])],
    signal.Grouping(issues=20, incidents=148, problems=21, whole=19, mixed=0),
    [signal.Noise("labelled faults with an alert", 0, 40)],
)


def test_what_the_labelled_faults_are_to_show_is_asked_of_little_data_too():
    """Counts of faults say nothing about the machine: their limits stay."""
    judged = floors.judged(OF_FAULTS)
    assert {target.limit for target in judged} == {60, 1.3, 90, 1.05, 0}
    assert [target.name for target in judged if not target.is_met] == ["Nezha, all kinds: culprit first, 5 of 10"]


def test_every_floor_is_of_a_ratio_that_is_measured_and_says_why():
    measured = [
        *("default set-up's time over a warm server's", "default set-up's time over a cold server's"),
        *("straight design's time over ours", "our time over DuckDB's"),
        "2,000,000 events' time over 200,000's",
        *(f"time of {name} over `{IMPORTS}`" for name in (CHECKS, STATUS, f"tick of {SENSORS[0]}")),
        "2,000,000 events' peak memory over 200,000's",
        *(compared(DEFINITIONS, OFF, ABSENT), compared(CYCLE, TRACED, OFF)),
        *(target.name for target in OF_FAULTS),
    ]
    for floor in floors.FLOORS:
        assert any(floor.name in name for name in measured), floor.name
        assert floor.why


def test_what_is_not_installed_cannot_be_imported():
    """Else the ratio would compare a thing with itself."""
    environment = {**os.environ, **absent()}
    code = "import importlib.util as u; print(*[bool(u.find_spec(name)) for name in ('alert_assets', 'benchmarks')])"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "True True\n"
    for name in ("opentelemetry.sdk.trace", "openlineage.client"):
        done = subprocess.run([sys.executable, "-c", f"import {name}"], env=environment, capture_output=True, text=True)
        assert "ModuleNotFoundError" in done.stderr


def test_the_report_has_targets_figures_and_failures():
    results = Results(about={"command": "python -m benchmarks run"}, data={"mixed": "10 lines"}, targets=list(TARGETS))
    results.measurement("cycle", "warm server").runs.append(Run(12.345, {"bronze": 3.0}, Peak(total=900.0), 20.0))
    results.failures.append(Failure("history", "the disk is full"))
    text = report.markdown(results)
    assert "| a | default set-up's time over a warm server's | at least 4x | 3x | missed by 25 % |" in text
    assert "| cycle | warm server | 1 | 12.35 | 20.00 | 3.00 |" in text
    assert "the disk is full" in text
    assert json.loads(json.dumps(results.as_json()))["measurements"][0]["median_seconds"] == 12.345
