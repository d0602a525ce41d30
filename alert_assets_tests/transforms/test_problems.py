"""gold_problems against the oracle: in any batches, in any order, late calls and resolutions, and rebuilt."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, SILVER_ALERTS, SILVER_DEPENDENCIES
from alert_assets.transforms.problems import refresh_problems
from alert_assets_tests.checks.lake import Lake, alert, line, metric
from alert_assets_tests.oracle import problems as oracle

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings

T0 = datetime(2026, 2, 14, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return new(settings)


def new(settings: Settings) -> Lake:
    lake = Lake(settings)
    lake.now = T0 + timedelta(days=30)
    return lake


def fires(number: object, application: str, minute: float, **fields: Any) -> bytes:
    return alert(f"a{number}", T0 + minute * MINUTE, application_id=application, host=None, **fields)


def call(number: object, caller: str, callee: str, minute: float = 0) -> bytes:
    return line(
        f"d{number}", T0 + minute * MINUTE, "dependency", application_id=caller, depends_on=callee,
        metrics={"requests": 10.0},
    )  # fmt: skip


def land(lake: Lake, *lines: bytes) -> None:
    lake.land(*lines)
    lake.refresh(platinum=False)


def problems(lake: Lake, *columns: str) -> list[Any]:
    """The problems that are no part of another, in order of opening."""
    rows = sorted(lake.rows(GOLD_PROBLEMS), key=lambda row: (row["opened_at"], row["problem_id"]))
    found = [row for row in rows if row["merged_into"] is None]
    return [tuple(row[name] for name in columns) if len(columns) > 1 else row[columns[0]] for row in found]


def contents(lake: Lake) -> dict[str, Any]:
    return {
        row["problem_id"]: {name: value for name, value in row.items() if name != "_batch_id"}
        for row in lake.rows(GOLD_PROBLEMS)
    }


def assert_as_rebuilt(lake: Lake) -> dict[str, Any]:
    by_increments = contents(lake)
    refresh_problems(lake.lakehouse, lake.settings, full_refresh=True)
    rebuilt = contents(lake)
    assert by_increments.keys() == rebuilt.keys()
    for name, row in rebuilt.items():
        assert by_increments[name] == row
    return rebuilt


def assert_as_the_oracle(lake: Lake) -> None:
    calls = {(row["caller"], row["callee"]) for row in lake.rows(SILVER_DEPENDENCIES)}
    seen = [
        oracle.Seen(
            row["incident_id"], row["application_id"], row["first_seen_timestamp"], row["last_seen_timestamp"],
            row["fingerprint"],
        )
        for row in lake.rows(GOLD_INCIDENTS)
    ]  # fmt: skip
    gap = timedelta(minutes=lake.settings.problem_gap_minutes)
    resolved = {(row["fingerprint"], row["resolved_at"]) for row in lake.rows(SILVER_ALERTS) if row["resolved_at"]}
    expected = oracle.group(seen, calls, lake.settings.problem_hops, gap, resolved)
    rows = contents(lake)
    got = {
        name: (
            set(row["incident_ids"]),
            {merged for merged, other in rows.items() if other["merged_into"] == name},
        )
        for name, row in rows.items()
        if row["merged_into"] is None
    }
    assert got == expected


def test_what_has_long_been_firing_is_ended_and_not_computed_by_what_fires(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that never says that it is over: the cost of its next alert does not grow from year to year."""
    done: list[int] = []
    monkeypatch.setattr(
        "alert_assets_tests.checks.lake.refresh_problems",
        lambda *given: done.append(refresh_problems(*given).recomputed),
    )
    fortnight = 14 * 24 * 60
    for number in range(12):
        lake.now = T0 + number * fortnight * MINUTE + timedelta(hours=1)
        land(lake, fires(number, "ledger", number * fortnight))
    assert problems(lake, "state") == ["firing"] * 12
    assert done == [1] * 12
    land(lake, fires("over", "ledger", 11 * fortnight + 30, status="resolved"))
    assert problems(lake, "state") == ["resolved"] * 12
    assert done[-1] == 12
    assert_as_the_oracle(lake)
    assert_as_rebuilt(lake)


def test_an_outage_in_three_applications_is_one_problem(lake: Lake) -> None:
    land(
        lake,
        call(1, "web", "cart"), call(2, "cart", "ledger"),
        fires(1, "ledger", 1, severity="MEDIUM"), fires(2, "web", 3, severity="CRITICAL"), fires(3, "batch", 3),
        line("v1", T0, "deployment", application_id="ledger", deployment_id="D-1", version="v1"),
    )  # fmt: skip
    (first, second) = problems(lake, "applications", "severity", "state", "alert_count", "title")
    assert first == (["ledger", "web"], "CRITICAL", "firing", 2, "cpu_high on web and 1 more application")
    assert second[0] == ["batch"]
    (changes, none) = problems(lake, "changes")
    assert [change["deployment_id"] for change in changes] == ["D-1"]
    assert none == []
    assert_as_rebuilt(lake)


def test_a_problem_is_over_when_its_last_alert_is(lake: Lake) -> None:
    land(lake, fires(1, "web", 0), fires(2, "web", 1, alert_type="slow"))
    land(lake, fires(3, "web", 2, status="resolved"))
    assert problems(lake, "state") == ["firing"]
    land(lake, fires(4, "web", 600, alert_type="slow", status="resolved"))
    assert problems(lake, "state", "resolved_at") == [("resolved", T0 + 600 * MINUTE)]
    land(lake, fires(5, "web", 4, alert_type="slow"))
    assert problems(lake, "state", "last_seen_at") == [("resolved", T0 + 4 * MINUTE)]
    # It fires again after what was its resolution, in the same window.
    land(lake, fires(6, "web", 601, alert_type="slow"))
    assert problems(lake, "state") == ["firing", "firing"]
    assert_as_rebuilt(lake)


def test_an_alert_that_goes_on_stays_in_its_problem_until_it_was_resolved(lake: Lake) -> None:
    land(lake, fires(1, "web", 0), fires(2, "web", 40), fires(3, "batch", 20))
    assert problems(lake, "alert_count") == [1, 1, 1], "of an alert that was never resolved nobody knows"
    before = {row["problem_id"]: row["_batch_id"] for row in lake.rows(GOLD_PROBLEMS)}
    land(lake, fires(4, "web", -600, status="resolved"), fires(5, "web", 120))
    assert problems(lake, "alert_count", "applications", "state") == [
        (3, ["web"], "firing"), (1, ["batch"], "firing"),
    ]  # fmt: skip
    land(lake, fires(6, "web", 90, status="resolved"), fires(7, "web", 200))
    assert problems(lake, "alert_count", "state") == [(2, "resolved"), (1, "firing"), (2, "firing")]
    (batch,) = (row for row in lake.rows(GOLD_PROBLEMS) if row["applications"] == ["batch"])
    assert batch["_batch_id"] == before[batch["problem_id"]]
    assert_as_rebuilt(lake)
    assert_as_the_oracle(lake)


def test_a_late_incident_joins_two_problems_and_the_younger_says_where_it_went(lake: Lake) -> None:
    calls = (call(1, "web", "cart"), call(2, "cart", "ledger"), call(3, "ledger", "disk"))
    land(lake, *calls, fires(1, "web", 0), fires(2, "disk", 1), fires(3, "far", 1))
    (web, disk) = (name for name, row in contents(lake).items() if row["applications"] in (["web"], ["disk"]))
    before = {row["problem_id"]: row["_batch_id"] for row in lake.rows(GOLD_PROBLEMS)}
    land(lake, fires(4, "cart", 2))
    assert problems(lake, "applications") == [["web", "disk", "cart"], ["far"]]
    rows = {row["problem_id"]: row for row in lake.rows(GOLD_PROBLEMS)}
    assert {rows[web]["merged_into"], rows[disk]["merged_into"]} == {None, *({web, disk} & rows.keys())} - {disk}
    (far,) = (name for name, row in rows.items() if row["applications"] == ["far"])
    assert rows[far]["_batch_id"] == before[far], "what is not touched is not written again"
    assert_as_rebuilt(lake)
    assert_as_the_oracle(lake)


def test_a_problem_that_an_earlier_firing_begins_anew_leaves_nothing_behind(lake: Lake) -> None:
    land(lake, fires(1, "web", 3))
    (old,) = contents(lake)
    land(lake, fires(2, "web", 2))
    (now,) = contents(lake)
    assert now != old
    assert problems(lake, "alert_count") == [2]
    assert_as_rebuilt(lake)


def test_late_calls_regroup_what_they_connect(lake: Lake) -> None:
    land(lake, fires(1, "web", 0), fires(2, "cart", 1), fires(3, "far", 1))
    before = {row["problem_id"]: row["_batch_id"] for row in lake.rows(GOLD_PROBLEMS)}
    assert len(before) == 3
    land(lake, call(1, "web", "cart", 2))
    assert problems(lake, "applications") == [["web", "cart"], ["far"]]
    (far,) = (row for row in lake.rows(GOLD_PROBLEMS) if row["applications"] == ["far"])
    assert far["_batch_id"] == before[far["problem_id"]]
    land(lake, call(2, "web", "cart", 60 * 24 * 9), fires(4, "web", 60 * 24 * 9))
    assert problems(lake, "applications") == [["web", "cart"], ["far"], ["web"]]
    assert_as_rebuilt(lake)


def test_the_cause_is_named_with_its_numbers_and_late_measurements_change_it(lake: Lake) -> None:
    usual = [
        metric(f"{name}{minute}", T0 + minute * MINUTE, application_id=name, host=None, error_rate=0.0,
               metrics={"requests": 100.0, "latency_ms": 20.0})
        for minute in range(40) for name in ("web", "ledger")
    ]  # fmt: skip
    broken = [
        metric(f"{name}{minute}", T0 + minute * MINUTE, application_id=name, host=None, error_rate=0.9,
               metrics={"requests": 100.0, "latency_ms": 20.0})
        for minute in range(40, 44) for name in ("web", "ledger")
    ]  # fmt: skip
    land(lake, call(1, "web", "ledger", 1), *usual, fires(1, "web", 43))
    assert problems(lake, "causes", "confidence") == [([], 0.0)]
    land(lake, *broken)
    ((causes, confidence),) = problems(lake, "causes", "confidence")
    assert causes[0]["application_id"] == "ledger"
    assert "requests of ledger failed" in causes[0]["because"]
    assert confidence > 0.4
    assert_as_rebuilt(lake)


def test_nothing_new_commits_nothing(lake: Lake) -> None:
    land(lake, fires(1, "web", 0))
    assert not refresh_problems(lake.lakehouse, lake.settings).committed


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_order_and_redelivery_gives_the_problems_of_the_oracle(
    settings: Settings, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    names = "abcdefgh"
    pairs = [rng.sample(names, 2) for _ in range(8)]
    calls = [call(n, caller, callee, rng.randint(0, 50)) for n, (caller, callee) in enumerate(pairs)]
    alerts = [
        fires(n, rng.choice(names), rng.choice([rng.randint(0, 90), rng.randint(0, 3000)]),
              status=rng.choice(["firing"] * 4 + ["resolved"]), alert_type=rng.choice("xy"))
        for n in range(24)
    ]  # fmt: skip
    measured = [
        metric(f"m{n}", T0 + rng.randint(0, 90) * MINUTE, application_id=rng.choice(names), host=None,
               error_rate=rng.choice([0.0, 0.0, 0.5]), metrics={"requests": 50.0})
        for n in range(30)
    ]  # fmt: skip
    # Calls are known from the beginning on, so that the oracle's one graph is that of every moment.
    lines = [*alerts, *measured]
    rng.shuffle(lines)
    lines += rng.sample(lines, 10)
    land(lake := new(settings), *(calls[:4]))
    cuts = sorted(rng.sample(range(1, len(lines)), 2))
    for begin, end in zip([0, *cuts], [*cuts, len(lines)], strict=True):
        land(lake, *lines[begin:end], *(calls[4:] if begin == cuts[0] else ()))
    assert_as_the_oracle(lake)
    assert_as_rebuilt(lake)


KILLED = """
import os, signal, sys
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import load_settings
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets.transforms.problems import refresh_problems

merge, (data, table, moment) = Lakehouse.merge, sys.argv[1:]

def dying(self, contract, *args, **kwargs):
    if contract.name == table and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    merge(self, contract, *args, **kwargs)
    if contract.name == table:
        os.kill(os.getpid(), signal.SIGKILL)

Lakehouse.merge = dying
settings = load_settings(_env_file=None, data_dir=data)
refresh_dependencies(Lakehouse(settings))
refresh_problems(Lakehouse(settings), settings)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("table", ["silver_dependencies", "gold_problems"])
def test_killed_around_its_commit_it_ends_in_the_same_rows(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, table: str, moment: str
) -> None:
    land(lake, call(1, "web", "cart"), fires(1, "web", 0), fires(2, "ledger", 1))
    # Silver and gold have what is new, the calls and the problems do not yet.
    for name in ("refresh_dependencies", "refresh_problems"):
        monkeypatch.setattr(f"alert_assets_tests.checks.lake.{name}", lambda *_: None)
    land(lake, call(1, "web", "cart"), call(2, "web", "cart", 1), call(3, "cart", "ledger"), fires(3, "cart", 2))
    monkeypatch.undo()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(lake.settings.data_dir), table, moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    lake.refresh(platinum=False)
    ((caller, callee, requests), _) = sorted(
        ((row["caller"], row["callee"], row["requests"]) for row in lake.rows(SILVER_DEPENDENCIES)), reverse=True
    )
    assert (caller, callee, requests) == ("web", "cart", 20)
    assert problems(lake, "applications") == [["web", "ledger", "cart"]]
    assert_as_rebuilt(lake)
