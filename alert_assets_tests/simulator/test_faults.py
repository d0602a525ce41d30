"""Fault injection: exactly as many as asked for, each of the kind it claims to be, no good line touched."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_assets.kernel.clock import parse_rfc3339
from alert_assets.simulator.events import to_line
from alert_assets.simulator.faults import INVALID_VALUES, NO_FAULTS, Amount, FaultInjector, Faults
from alert_assets.simulator.landing import LandingWriter
from alert_assets.simulator.runs import write_history
from alert_assets.simulator.timeline import Timeline

from .contract import violations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGIN = datetime(2026, 2, 14, 9, 30, tzinfo=UTC)
TIMELINE = Timeline(7, BEGIN)
EVENTS = [moment.stamped(TIMELINE.when(moment), TIMELINE.run) for moment in TIMELINE.hour(0)]
GOOD = [to_line(event) for event in EVENTS]

few = settings(max_examples=25, deadline=None)
counts = st.integers(min_value=0, max_value=30)


def injector(faults: Faults, expected: int | None = len(EVENTS), seed: str = "1") -> FaultInjector:
    return FaultInjector(faults, seed=seed, watermark_minutes=10, expected_events=expected)


def extras(lines: list[str]) -> list[str]:
    """The lines that were added."""
    return list((Counter(lines) - Counter(GOOD)).elements())


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12", Amount(count=12)),
        ("0", Amount()),
        ("2%", Amount(rate=0.02)),
        ("0.25", Amount(rate=0.25)),
        ("1.0", Amount(rate=1)),
    ],
)
def test_amounts(text: str, amount: Amount) -> None:
    assert Amount.parse(text) == amount


@pytest.mark.parametrize("text", ["", "x", "-1", "-0.5", "1e3", "101%", "1.5", "nan"])
def test_not_an_amount(text: str) -> None:
    with pytest.raises(ValueError, match="count"):
        Amount.parse(text)


def test_no_faults_no_change() -> None:
    assert injector(NO_FAULTS).inject(EVENTS) == GOOD


@few
@given(st.builds(Faults, *[st.builds(Amount, count=counts)] * 6), st.integers(0, 2**32))
def test_counts_are_exact_and_good_lines_keep_their_order(faults: Faults, seed: int) -> None:
    adding = injector(faults, seed=str(seed))
    lines = adding.inject(EVENTS)

    assert asdict(adding.injected) == {kind: amount["count"] for kind, amount in asdict(faults).items()}
    assert len(lines) == len(GOOD) + adding.injected.total
    assert [line for line in dict.fromkeys(lines) if line in set(GOOD)] == GOOD


@few
@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=20),
    st.one_of(st.builds(Amount, count=counts), st.builds(Amount, rate=st.floats(0, 1))),
)
def test_the_total_does_not_depend_on_the_portions(sizes: list[int], amount: Amount) -> None:
    portions = [[EVENTS[i % len(EVENTS)] for i in range(size)] for size in sizes]
    adding = injector(Faults(malformed=amount), expected=sum(sizes))
    for portion in portions:
        adding.inject(portion)

    wanted = amount.count * (sum(sizes) > 0) if not amount.rate else int(amount.rate * sum(sizes) + 1e-9)
    assert adding.injected.malformed == wanted


def test_a_count_without_a_known_end_comes_with_the_first_portion() -> None:
    adding = injector(Faults(missing=Amount(count=5)), expected=None)
    adding.inject(EVENTS[:10])

    assert adding.injected.missing == 5


@few
@given(st.integers(0, 2**32))
def test_same_seed_same_faults(seed: int) -> None:
    faults = Faults(*[Amount(count=5)] * 6)

    assert injector(faults, seed=str(seed)).inject(EVENTS) == injector(faults, seed=str(seed)).inject(EVENTS)


@few
@given(st.integers(0, 2**32))
def test_malformed_lines_are_not_json(seed: int) -> None:
    added = extras(injector(Faults(malformed=Amount(count=30)), seed=str(seed)).inject(EVENTS))

    assert [violations(line) for line in added] == [["malformed_json"]] * 30
    assert all(line.strip() and "\n" not in line for line in added)


@few
@given(st.integers(0, 2**32))
def test_missing_is_about_one_required_field(seed: int) -> None:
    added = extras(injector(Faults(missing=Amount(count=30)), seed=str(seed)).inject(EVENTS))

    for line in added:
        [reason] = violations(line)
        assert reason.startswith("missing:")


@few
@given(st.integers(0, 2**32))
def test_invalid_is_about_one_value(seed: int) -> None:
    added = extras(injector(Faults(invalid=Amount(count=30)), seed=str(seed)).inject(EVENTS))

    for line in added:
        [reason] = violations(line)
        assert reason.removeprefix("invalid:") in {name for _, name, _ in INVALID_VALUES}


def test_every_invalid_value_turns_up() -> None:
    added = extras(injector(Faults(invalid=Amount(count=2000))).inject(EVENTS))
    found = {(reason, json.loads(line)["event_type"]) for line in added for reason in violations(line)}

    assert {reason for reason, _ in found} == {f"invalid:{name}" for _, name, _ in INVALID_VALUES}


def test_duplicates_are_the_same_bytes_after_the_original() -> None:
    lines = injector(Faults(duplicate=Amount(count=25))).inject(EVENTS)
    added = extras(lines)

    assert len(added) == 25
    assert set(added) <= set(GOOD)
    assert list(dict.fromkeys(lines)) == GOOD, "the first of each kept its place"


def test_future_events_are_valid_but_for_the_time() -> None:
    for line in extras(injector(Faults(future=Amount(count=25))).inject(EVENTS)):
        event = json.loads(line)
        assert event["timestamp"].startswith("2099-")
        assert violations(to_line({**event, "timestamp": EVENTS[0]["timestamp"]})) == []


@pytest.mark.parametrize("files", [2, 4, 10])
@pytest.mark.parametrize("watermark_minutes", [1, 10, 60])
def test_late_events_are_late_in_the_file_they_arrive_in(tmp_path: Path, files: int, watermark_minutes: int) -> None:
    faults = Faults(late=Amount(rate=0.1))
    writer = LandingWriter(tmp_path, name="run")
    summary = write_history(TIMELINE, writer, files_per_hour=files, faults=faults, watermark_minutes=watermark_minutes)

    late, newest = 0, None
    for name in writer.names:
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        assert [violations(line) for line in lines if violations(line)] == []
        times = [parse_rfc3339(json.loads(line)["timestamp"]) for line in lines]
        if newest:
            late += sum(1 for when in times if when < newest - timedelta(minutes=watermark_minutes))
        newest = max([*times, newest] if newest else times)
    assert late == summary.faults.late == 50


def test_all_kinds_together_add_up(tmp_path: Path, read_landed: Callable[[Path], list[str]]) -> None:
    faults = Faults(*[Amount(count=n) for n in (3, 4, 5, 6, 7, 8)])
    summary = write_history(TIMELINE, LandingWriter(tmp_path), hours=2, faults=faults)
    lines = read_landed(tmp_path)
    reasons = Counter(reason.split(":")[0] for line in lines for reason in violations(line))

    assert asdict(summary.faults) == {
        "malformed": 3, "missing": 4, "invalid": 5, "duplicate": 6, "late": 7, "future": 8
    }  # fmt: skip
    assert len(lines) == summary.lines == summary.events + 33 == 1033
    assert reasons == {"malformed_json": 3, "missing": 4, "invalid": 5 + 8}
    assert len(lines) - len(set(lines)) == 6
