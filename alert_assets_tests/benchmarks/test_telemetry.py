"""The bench's data: the same from the same seed, as many lines as asked for, and broken only where it says so."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.telemetry import MIXED, PROFILES, SKEW, START, STORM, generate, write_files
from benchmarks.yardstick import landing_to_gold

if TYPE_CHECKING:
    from pathlib import Path

some_profile = st.sampled_from(sorted(PROFILES)).map(PROFILES.__getitem__)


def events(lines):
    """The whole events among the lines."""
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if "source" in found:
            yield found


@given(profile=some_profile, count=st.integers(0, 400), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_exactly_as_many_lines_as_asked_for_the_same_from_the_same_seed(profile, count, seed):
    lines = list(generate(count, profile=profile, seed=seed))
    assert len(lines) == count
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert lines == list(generate(count, profile=profile, seed=seed))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_what_follows_has_no_id_in_common_with_what_was_there(seed):
    first = {event["event_id"] for event in events(generate(300, seed=seed))}
    later = {event["event_id"] for event in events(generate(300, seed=seed, start=START + MIXED.span(300)))}
    assert first
    assert first.isdisjoint(later)


def test_another_seed_gives_other_data():
    assert list(generate(100, seed=1)) != list(generate(100, seed=2))


def test_the_mix():
    found = Counter(event["event_type"] for event in events(generate(20_000)))
    shares = {kind: count / 20_000 for kind, count in found.items()}
    for kind, share in zip(("log", "metric", "alert", "deployment"), MIXED.shares, strict=True):
        assert shares[kind] == pytest.approx(share, rel=0.2)


def test_redeliveries_come_byte_for_byte():
    whole = Counter(line for line in generate(20_000) if '"source": "bench"' in line)
    assert sum(whole.values()) - len(whole) == 20_000 * MIXED.redelivered_share
    assert len({event["event_id"] for event in events(whole)}) == len(whole)


def test_most_lines_come_in_the_order_of_their_time_and_some_late():
    newest, late = START, 0
    for event in events(generate(20_000)):
        at = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
        late += at < newest - timedelta(minutes=10)
        newest = max(newest, at)
    assert late / 20_000 == pytest.approx(MIXED.late_share, rel=0.3)
    assert START <= newest <= START + MIXED.span(20_000)


@pytest.mark.parametrize("count", [2_000, 8_000])
def test_a_storm_is_two_hundred_fingerprints_within_an_hour(count):
    found = list(events(generate(count, profile=STORM)))
    assert {event["event_type"] for event in found} == {"alert"}
    assert len({(e["application_id"], e["host"], e["alert_type"]) for e in found}) == 200
    times = sorted(datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")) for event in found)
    assert times[0] >= START
    assert times[-1] <= START + timedelta(hours=1)


def test_a_skew_is_four_of_five_events_in_one_application():
    applications = Counter(event["application_id"] for event in events(generate(10_000, profile=SKEW)))
    assert applications.most_common(1)[0][1] / applications.total() == pytest.approx(0.8, abs=0.02)


def test_files_are_whole_and_hold_the_lines_in_order(tmp_path: Path):
    paths = write_files(tmp_path, 2_500, lines_per_file=1_000, seed=7)
    assert [path.name for path in paths] == ["events-00000.jsonl", "events-00001.jsonl", "events-00002.jsonl"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [path.name for path in paths]
    assert "".join(path.read_text() for path in paths) == "".join(generate(2_500, seed=7))


def test_the_yardstick_sets_aside_what_is_broken_and_nothing_else(tmp_path: Path):
    write_files(tmp_path / "landing", 10_000, seed=3)
    figures = landing_to_gold(tmp_path / "landing", tmp_path / "out")["figures"]
    broken = int(10_000 * MIXED.broken_share)
    assert figures["quarantine_rows"] == broken
    assert figures["bronze_rows"] == 10_000 - broken
    assert 0 < figures["gold_rows"] <= figures["silver_rows"]
    assert figures["evidence_count"] >= figures["gold_rows"], "the alert itself is evidence"
