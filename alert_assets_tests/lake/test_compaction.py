"""Compaction changes which files hold the rows, and nothing that anybody reads."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable, TableFeatures
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    CONTRACTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PIPELINE_HEALTH,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    Contract,
)
from alert_assets.ingest.maintenance import checked_batch_id
from alert_assets.kernel.intervals import Interval
from alert_assets.lake import compaction
from alert_assets.lake.compaction import (
    Compaction,
    DataFile,
    compact,
    data_files,
    due,
    is_settled,
    is_small,
    plan,
    settled_batch_id,
    slot_start,
)
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.slo.commit_latency import measure_latency
from alert_assets.state.database import State
from alert_assets_tests.checks.lake import DAY, HOUR, MINUTE, T0, Lake, alert, line, metric
from alert_assets_tests.commands.lake import Row, event
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.lake.appending import append, append_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alert_assets.settings import Settings

MB = 1_000_000
TARGET = 128 * MB


# The plan


def file(number: int, size: int, low: datetime, span: timedelta = HOUR, batch: int | None = 1) -> DataFile:
    return DataFile(f"f{number}", size, 100, low, low + span, batch)


FILES = st.lists(
    st.builds(
        lambda size, hours, span, batch: (size, T0 - timedelta(hours=hours), timedelta(hours=span), batch),
        size=st.one_of(st.integers(1, 20_000), st.integers(1, TARGET)),
        hours=st.one_of(st.integers(0, 60), st.integers(0, 24 * 90)),
        span=st.sampled_from([0, 1, 30, 24 * 40]),
        batch=st.one_of(st.none(), st.integers(1, 9)),
    ),
    max_size=60,
).map(lambda found: [file(number, *of) for number, of in enumerate(found)])


def as_rewritten(group: Sequence[DataFile], number: int, now: datetime) -> list[DataFile]:
    """What comes of a group at worst: none the smaller, one file in every slot that one of them touches."""
    slots = sorted({slot_start(at, now) for f in group for at in (f.low, f.high) if at is not None})
    size = sum(f.size_bytes for f in group) // len(slots)
    parts = [DataFile(f"g{number}-{i}", size, 1, slot, slot, None) for i, slot in enumerate(slots)]
    return [replace(part, size_bytes=max(1, part.size_bytes)) for part in parts]


@given(FILES, st.one_of(st.none(), st.integers(0, 9)))
def test_a_plan_takes_small_settled_files_once_and_in_bounded_groups(files: list[DataFile], settled: int | None):
    groups = plan(files, settled=settled, target=TARGET, now=T0)
    chosen = [f for group in groups for f in group]
    assert len({f.path for f in chosen}) == len(chosen)
    assert all(is_small(f, TARGET) and is_settled(f, settled) for f in chosen)
    assert all(sum(f.size_bytes for f in group) <= 2 * TARGET for group in groups if len(group) > 1)


@given(FILES)
def test_compacting_comes_to_an_end_and_leaves_few_files(files: list[DataFile]):
    """Nothing new: a few runs, and then none has anything to do."""
    for run in range(12):
        groups = plan(files, settled=None, target=TARGET, now=T0)
        if not groups:
            break
        chosen = {f.path for group in groups for f in group}
        new = [f for i, group in enumerate(groups) for f in as_rewritten(group, 100 * run + i, T0)]
        files = [f for f in files if f.path not in chosen] + new
    assert plan(files, settled=None, target=TARGET, now=T0) == []
    slots = {slot_start(f.high, T0) for f in files if f.high is not None}
    for slot in slots:
        small = sorted(f.size_bytes for f in files if f.high and slot_start(f.high, T0) == slot and is_small(f, TARGET))
        # Each is more than four times all before it, from a 128th of the target on.
        assert len(small) <= 6, small


def test_a_large_file_is_not_rewritten_for_a_little_that_is_new():
    large = file(0, 60 * MB, T0)
    few = [file(i, 4_000, T0) for i in range(1, 4)]
    assert plan([large, *few], settled=None, target=TARGET, now=T0) == [few]
    enough = [file(i, 8 * MB, T0) for i in range(1, 4)]
    assert [{*group} for group in plan([large, *enough], settled=None, target=TARGET, now=T0)] == [{large, *enough}]


def test_days_are_kept_apart_until_they_are_a_month_old():
    files = [file(i, MB, T0 - timedelta(days=i), MINUTE) for i in range(3)]
    assert plan(files, settled=None, target=TARGET, now=T0) == []
    assert plan(files, settled=None, target=TARGET, now=T0 + timedelta(days=40)) == [files[::-1]]


def test_what_somebody_has_not_seen_is_left_alone():
    files = [file(i, MB, T0, batch=i) for i in range(1, 6)]
    assert plan(files, settled=3, target=TARGET, now=T0) == [files[:3]]
    assert plan(files, settled=1, target=TARGET, now=T0) == []


def test_a_file_without_statistics_gets_some():
    blind = DataFile("blind", MB, 100, None, None, None)
    assert plan([blind, file(1, MB, T0)], settled=None, target=TARGET, now=T0) == [[blind]]


# Real tables


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "data", target_file_mb=1)


@pytest.fixture
def lakehouse(settings: Settings) -> Lakehouse:
    return Lakehouse(settings)


@pytest.fixture
def state(settings: Settings) -> State:
    return State(settings.state_url)


def odd_event(number: int, at: datetime) -> Row:
    """An event with everything that is easily lost: microseconds, nulls, empty and absent maps, odd text."""
    return event(
        number,
        timestamp=at + timedelta(microseconds=number % 1_000_000),
        labels=[("zone", f"z{number % 3}"), ("none", None)] if number % 3 else None,
        metrics=[("ops", number / 3)] if number % 2 else [],
        host=None if number % 5 else "hôst\u0000\u2028",
        error_rate=number / 7 if number % 7 else None,
        _rescued='{"a": "b"}' if number % 11 == 0 else None,
    )


def all_rows(lakehouse: Lakehouse, contract: Contract) -> list[str]:
    return sorted(map(repr, lakehouse.rows(contract).to_pylist()))


def run(
    lakehouse: Lakehouse, state: State, contract: Contract, now: datetime = T0 + DAY, *, busy: bool = False
) -> Compaction:
    return compact(lakehouse, contract, now, lambda _: None, checked=checked_batch_id(state, contract), busy=busy)


def test_rows_stay_as_they_are_and_statistics_prune(lakehouse: Lakehouse, state: State, monkeypatch: Any):
    """Two days, batches across all hours of a day, in pieces that do not fit into memory at once."""
    monkeypatch.setattr(compaction, "_ROWS_AT_ONCE", 1_000)
    monkeypatch.setattr(compaction, "_BATCH_ROWS", 300)
    monkeypatch.setattr(compaction, "target_bytes", lambda contract, mb: 60_000)
    for batch in range(8):
        day = T0 - (batch % 2) * DAY
        rows = [odd_event(batch * 1_000 + i, day - timedelta(minutes=i)) for i in range(600)]
        append(lakehouse, BRONZE_EVENTS, *rows)
    before, batches = all_rows(lakehouse, BRONZE_EVENTS), lakehouse.snapshot(BRONZE_EVENTS).last_batch_id
    hour = [Interval(T0 - HOUR / 2, T0 - HOUR / 3)]
    assert len(lakehouse.snapshot(BRONZE_EVENTS).files(intervals=hour)) == 4

    done = run(lakehouse, state, BRONZE_EVENTS)

    assert done.skipped is None
    assert done.compacted == 8
    assert done.written > 2
    snapshot = lakehouse.snapshot(BRONZE_EVENTS)
    assert all_rows(lakehouse, BRONZE_EVENTS) == before
    assert len(snapshot.files()) == done.written
    assert len(snapshot.files(intervals=hour)) == 1
    assert snapshot.files(newer_than=batches) == [], "nobody downstream reads them again"
    assert snapshot.last_batch_id == batches
    for found in data_files(DeltaTable(lakehouse.uri(BRONZE_EVENTS)), "timestamp"):
        assert found.low is not None
        assert found.high is not None
        assert slot_start(found.low, T0) == slot_start(found.high, T0)
    # Sorted rows take less room than was reckoned, so a second run may join some; then nothing is due.
    run(lakehouse, state, BRONZE_EVENTS)
    assert run(lakehouse, state, BRONZE_EVENTS) == Compaction(), "nothing is new"
    assert all_rows(lakehouse, BRONZE_EVENTS) == before


def test_the_cost_depends_on_what_is_new(lakehouse: Lakehouse, state: State, monkeypatch: Any):
    monkeypatch.setattr(compaction, "target_bytes", lambda contract, mb: 60_000)
    for batch in range(6):
        append(lakehouse, BRONZE_EVENTS, *[odd_event(batch * 1_000 + i, T0 + i * MINUTE / 60) for i in range(1_000)])
    for _ in range(2):
        run(lakehouse, state, BRONZE_EVENTS)
    for batch in range(2):
        append(lakehouse, BRONZE_EVENTS, *[odd_event(90_000 + 10 * batch + i, T0 + i * MINUTE) for i in range(3)])
    again = run(lakehouse, state, BRONZE_EVENTS)
    assert again.compacted == 2
    assert again.written == 1


def test_every_table_can_be_compacted(healthy: Lake):
    for number in range(3):
        called = line(f"c{number}", T0, "dependency", application_id="gateway", depends_on=f"vault-{number}")
        healthy.land(alert(f"x{number}", T0, application_id=f"app-{number}"), called, line(f"b{number}", "never"))
        healthy.refresh()
    state = State(healthy.settings.state_url)
    for contract in CONTRACTS.values():
        before = all_rows(healthy.lakehouse, contract)
        assert run(healthy.lakehouse, state, contract).compacted > 1, contract.name
        assert all_rows(healthy.lakehouse, contract) == before
        assert len(healthy.lakehouse.snapshot(contract).files()) == 1
    assert run(healthy.lakehouse, state, PIPELINE_HEALTH) == Compaction(), "a table that is not there"


@pytest.mark.parametrize("busy", [pytest.param(False, marks=pytest.mark.slow), True])
def test_checks_and_latency_read_on_as_if_nothing_had_happened(healthy: Lake, monkeypatch: Any, *, busy: bool):
    monkeypatch.setattr(compaction, "_MANY", 2)
    state = State(healthy.settings.state_url)

    def land_more(number: int) -> None:
        healthy.now = T0 + 50 * MINUTE + number * MINUTE
        at = T0 + 42 * MINUTE + number * MINUTE
        called = line(f"c{number}", at, "dependency", application_id="gateway", depends_on=f"vault-{number}")
        healthy.land(alert(f"n{number}", at), metric(f"nm{number}", at, cpu_percent=number), called, b"not json")
        healthy.refresh()

    def verdicts(*, full: bool) -> dict[str, Any]:
        return {
            f"{contract.name}:{name}": (done.finding.passed, done.finding.numbers)
            for contract in CONTRACTS.values()
            for name, done in healthy.evaluate(contract, full=full).items()
            if name != "freshness"
        }

    land_more(1)
    first = verdicts(full=False)
    assert len(first) > 40
    land_more(2)
    cursors = {c.name: healthy.lakehouse.cursor(c, BRONZE_EVENTS) for c in (SILVER_ALERTS, GOLD_INCIDENTS)}
    commits = {c.name: healthy.lakehouse.commits(c) for c in CONTRACTS.values()}
    everything = verdicts(full=True)
    measured = measure_latency(healthy.lakehouse, {})
    assert measured
    assert any(row["row_count"] for row in measured)

    for contract in CONTRACTS.values():
        # The alerts are of one problem, and an hour's series are one row each: all are written anew each time.
        is_due = contract not in (GOLD_PROBLEMS, PLATINUM_PROBLEMS, SILVER_BASELINES)
        assert (run(healthy.lakehouse, state, contract, busy=busy).compacted > 1) is is_due, contract.name

    assert verdicts(full=True) == everything
    assert {c.name: healthy.lakehouse.cursor(c, BRONZE_EVENTS) for c in (SILVER_ALERTS, GOLD_INCIDENTS)} == cursors
    assert {c.name: healthy.lakehouse.commits(c) for c in CONTRACTS.values()} == commits
    assert measure_latency(healthy.lakehouse, {}) == measured
    assert not healthy.lakehouse.was_rebuilt(SILVER_ALERTS, since=0)
    land_more(3)
    found = {name: passed for name, (passed, _) in verdicts(full=False).items()}
    assert {name for name, passed in found.items() if not passed} == {"bronze_quarantine:quarantine_share"}


def test_files_wait_for_everybody_downstream(lakehouse: Lakehouse, state: State, settings: Settings):
    for number in range(6):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    assert settled_batch_id(lakehouse, BRONZE_EVENTS, checked_batch_id(state, BRONZE_EVENTS)) is None, "nobody reads it"
    lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 5})
    lakehouse.move_cursors(GOLD_INCIDENTS, {cursor_app(BRONZE_EVENTS): 4, cursor_app(SILVER_ALERTS): 1})
    assert settled_batch_id(lakehouse, BRONZE_EVENTS, checked_batch_id(state, BRONZE_EVENTS)) == 4
    Lake(settings).evaluate(BRONZE_EVENTS, "volume")
    assert settled_batch_id(lakehouse, BRONZE_EVENTS, checked_batch_id(state, BRONZE_EVENTS)) == 4
    assert run(lakehouse, state, BRONZE_EVENTS).compacted == 4
    assert len(lakehouse.snapshot(BRONZE_EVENTS).files(newer_than=4)) == 2, "gold reads no row twice"
    lakehouse.move_cursors(GOLD_INCIDENTS, {cursor_app(BRONZE_EVENTS): 6})
    lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 6})
    assert run(lakehouse, state, BRONZE_EVENTS).written == 1
    assert len(lakehouse.snapshot(BRONZE_EVENTS).files()) == 1


def test_of_a_busy_table_what_not_all_have_seen_is_put_together_by_itself(lakehouse: Lakehouse, state: State):
    def files() -> list[tuple[int, int | None]]:
        found = data_files(DeltaTable(lakehouse.uri(BRONZE_EVENTS)), "timestamp")
        return sorted((file.rows, file.last_batch_id) for file in found)

    lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 5})
    for number in range(11):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    before = all_rows(lakehouse, BRONZE_EVENTS)
    assert run(lakehouse, state, BRONZE_EVENTS, busy=True).compacted == 11
    assert files() == [(5, 5), (6, 11)], "what is new to silver is one small file"
    for number in range(11, 14):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    assert run(lakehouse, state, BRONZE_EVENTS, busy=True) == Compaction(), "a few are not worth it"
    append(lakehouse, BRONZE_EVENTS, odd_event(14, T0))
    assert run(lakehouse, state, BRONZE_EVENTS, busy=True).compacted == 5
    assert files() == [(5, 5), (10, 15)]
    assert set(before) < set(all_rows(lakehouse, BRONZE_EVENTS))


def test_a_restored_table_is_compacted_like_any_other(lakehouse: Lakehouse, state: State):
    for number in range(4):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    run(lakehouse, state, BRONZE_EVENTS)
    table = lakehouse.table(BRONZE_EVENTS)
    assert table is not None
    table.restore(3)
    assert lakehouse.snapshot(BRONZE_EVENTS).row_count == 3
    assert run(lakehouse, state, BRONZE_EVENTS).compacted == 3
    assert len(all_rows(lakehouse, BRONZE_EVENTS)) == 3


# Others who write


def test_an_append_meanwhile_loses_nothing(lakehouse: Lakehouse, state: State, monkeypatch: Any):
    """Ingestion holds bronze's lock the whole time; a batch of it is committed between our reading and our commit."""
    for number in range(4):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    written = compaction._rewrite

    def rewrite_slowly(*args: Any) -> None:
        written(*args)
        append(lakehouse, BRONZE_EVENTS, odd_event(99, T0))

    monkeypatch.setattr(compaction, "_rewrite", rewrite_slowly)
    with lakehouse.writing(BRONZE_EVENTS):
        done = run(Lakehouse(lakehouse.settings.model_copy(update={"lock_timeout_seconds": 1})), state, BRONZE_EVENTS)
    assert done.compacted == 4
    assert done.skipped is None
    found = lakehouse.rows(BRONZE_EVENTS)["event_id"].to_pylist()
    assert sorted(found) == ["e0", "e1", "e2", "e3", "e99"]


def test_a_change_meanwhile_wins(lakehouse: Lakehouse, state: State, monkeypatch: Any):
    """By another host, which does not know of our lock."""
    for number in range(4):
        append(lakehouse, BRONZE_QUARANTINE, quarantine_row(number))
    written = compaction._rewrite

    def rewrite_slowly(*args: Any) -> None:
        written(*args)
        lakehouse.update(BRONZE_QUARANTINE, "raw = 'line 2'", {"replayed_at": T0})

    monkeypatch.setattr(compaction, "_rewrite", rewrite_slowly)
    done = run(lakehouse, state, BRONZE_QUARANTINE)
    assert done.compacted == 0
    assert done.skipped is not None
    assert "changed meanwhile" in done.skipped
    rows = {row["raw"]: row["replayed_at"] for row in lakehouse.rows(BRONZE_QUARANTINE).to_pylist()}
    assert set(rows) == {f"line {n}" for n in range(4)}
    assert [raw for raw, replayed in rows.items() if replayed] == ["line 2"]


def test_a_change_between_two_groups_is_not_undone(lakehouse: Lakehouse, state: State, monkeypatch: pytest.MonkeyPatch):
    """The plan is older than the version that the second group is committed on."""
    monkeypatch.setattr(compaction, "target_bytes", lambda contract, mb: 24_000)
    for number in range(16):
        append(lakehouse, BRONZE_QUARANTINE, quarantine_row(number))
    groups = due(lakehouse, BRONZE_QUARANTINE, T0 + DAY, checked_batch_id(state, BRONZE_QUARANTINE))
    assert len(groups) > 1

    def change_the_last(_: str) -> None:
        lakehouse.update(BRONZE_QUARANTINE, f"_batch_id = {groups[-1][0].last_batch_id}", {"replayed_at": T0})

    done = compact(lakehouse, BRONZE_QUARANTINE, T0 + DAY, change_the_last, checked=None)
    assert done.commits == len(groups) - 1
    assert "planned anew by the next run" in (done.skipped or "")
    assert run(lakehouse, state, BRONZE_QUARANTINE).skipped is None
    rows = lakehouse.rows(BRONZE_QUARANTINE).to_pylist()
    assert sorted(row["raw"] for row in rows) == sorted(f"line {number}" for number in range(16))
    assert len([row for row in rows if row["replayed_at"]]) == 1


def quarantine_row(number: int) -> Row:
    about = {"_source_file": "/landing/a.jsonl", "_landed_at": T0, "_ingested_at": T0}
    return {"raw": f"line {number}", "reasons": ["malformed_json"], "contract_version": 1, **about}


@pytest.mark.parametrize(
    ("contract", "held"), [(BRONZE_QUARANTINE, BRONZE_EVENTS), (SILVER_ALERTS, SILVER_ALERTS)], ids=lambda c: c.name
)
def test_a_table_that_is_being_written_is_left_for_later(healthy: Lake, contract: Contract, held: Contract):
    healthy.land(alert("x", T0 + 30 * MINUTE, host="host-c"), b"broken")
    healthy.refresh()
    state, before = State(healthy.settings.state_url), healthy.lakehouse.snapshot(contract).version
    impatient = Lakehouse(healthy.settings.model_copy(update={"lock_timeout_seconds": 0.1}))
    with healthy.lakehouse.writing(held):
        done = run(impatient, state, contract)
    assert done.compacted == 0
    assert done.skipped is not None
    assert f"{contract.name} has been written for more than" in done.skipped
    assert healthy.lakehouse.snapshot(contract).version == before
    data = Path(healthy.lakehouse.uri(contract), "data")
    assert not data.exists() or not any(data.iterdir()), "what was written is removed"
    assert run(impatient, state, contract).skipped is None


def test_against_a_process_that_goes_on_appending(settings: Settings, lakehouse: Lakehouse, state: State):
    count = 40
    writer = multiprocessing.get_context("spawn").Process(target=append_events, args=(settings, count))
    writer.start()
    compacted = 0
    while writer.is_alive():
        compacted += run(lakehouse, state, BRONZE_EVENTS).compacted
        writer.join(0.05)
    assert writer.exitcode == 0
    run(lakehouse, state, BRONZE_EVENTS)
    found = lakehouse.rows(BRONZE_EVENTS)["event_id"].to_pylist()
    assert sorted(found) == sorted(f"e{n}" for n in range(count))
    assert compacted > 0
    assert len(lakehouse.snapshot(BRONZE_EVENTS).files()) < count


def test_stopping_in_the_middle_keeps_what_was_committed(
    lakehouse: Lakehouse, state: State, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compaction, "target_bytes", lambda contract, mb: 40_000)
    for number in range(16):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    before, groups = (
        all_rows(lakehouse, BRONZE_EVENTS),
        due(lakehouse, BRONZE_EVENTS, T0 + DAY, checked_batch_id(state, BRONZE_EVENTS)),
    )
    assert len(groups) > 1
    written, calls = compaction._rewrite, []

    def rewrite(*args: Any) -> None:
        written(*args)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compaction, "_rewrite", rewrite)
        run(lakehouse, state, BRONZE_EVENTS)
    assert all_rows(lakehouse, BRONZE_EVENTS) == before
    left = len(lakehouse.snapshot(BRONZE_EVENTS).files())
    assert 16 - len(groups[0]) < left < 16, "the first group was committed, and no other"
    assert len(list(Path(lakehouse.uri(BRONZE_EVENTS), "data").iterdir())) == 1
    run(lakehouse, state, BRONZE_EVENTS)
    assert all_rows(lakehouse, BRONZE_EVENTS) == before


def test_a_commit_that_would_lose_rows_is_not_made(lakehouse: Lakehouse, state: State, monkeypatch: Any):
    for number in range(4):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    before = lakehouse.snapshot(BRONZE_EVENTS).version
    kept = compaction._sorted_chunks
    monkeypatch.setattr(compaction, "_sorted_chunks", lambda *args: (chunk.slice(1) for chunk in kept(*args)))
    with pytest.raises(RuntimeError, match="a compaction of 4 rows wrote 3; nothing is committed"):
        run(lakehouse, state, BRONZE_EVENTS)
    assert lakehouse.snapshot(BRONZE_EVENTS).version == before
    assert due(lakehouse, BRONZE_EVENTS, T0 + DAY, checked_batch_id(state, BRONZE_EVENTS)), "the next run does it"


def test_a_table_with_features_of_others_is_left_alone(lakehouse: Lakehouse, state: State):
    """Deletion vectors, say: rows that are in a file and not in the table."""
    for number in range(3):
        append(lakehouse, BRONZE_EVENTS, odd_event(number, T0))
    table = lakehouse.table(BRONZE_EVENTS)
    assert table is not None
    table.alter.add_feature([TableFeatures.DeletionVectors], allow_protocol_versions_increase=True)
    done = run(lakehouse, state, BRONZE_EVENTS)
    assert done.compacted == 0
    assert "altered by another program" in (done.skipped or "")


def test_merged_tables_get_smaller_files():
    assert compaction.target_bytes(BRONZE_EVENTS, 128) == 128 * MB
    assert compaction.target_bytes(PLATINUM_INCIDENTS, 128) == 16 * MB
