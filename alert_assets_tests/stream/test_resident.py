"""What goes on beside the cycles, and after something broke. Spark is not needed for any of it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import (
    BRONZE_EVENTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
)
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify import round as rounds
from alert_assets.state import database
from alert_assets.state.database import State
from alert_assets.state.usage import usage_since
from alert_assets.stream import resident as module
from alert_assets.stream import watch
from alert_assets.stream.cycle import is_behind
from alert_assets.stream.lease import resident
from alert_assets.stream.resident import ResidentProcess
from alert_assets.stream.shift import CHAIN
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets.transforms.gold import refresh_gold
from alert_assets.transforms.problems import refresh_problems
from alert_assets.transforms.silver import refresh_silver
from alert_assets_tests.checks.lake import HOUR, T0, Lake, alert, line, metric
from alert_assets_tests.notify.channels.service import answer, running
from alert_assets_tests.stream.test_cycle import no_spark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from alert_assets.checks.check import Check
    from alert_assets.settings import Settings
    from alert_assets.stream.resident import Report


T = TypeVar("T")


class Running:
    """A resident process in a thread for as long as the block runs, and what it says."""

    def __init__(self, settings: Settings, *reports: Report) -> None:
        self.said: list[str] = []
        self.process = ResidentProcess(settings, circuit_breakers(settings), self.said.append, reports)
        self._thread = threading.Thread(target=self.process.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def until(self, condition: Callable[[], T]) -> T:
        """What a condition answers once it holds."""
        patience = time.monotonic() + 60
        while not (answer := condition()):
            assert time.monotonic() < patience, self.said
            time.sleep(0.02)
        return answer

    def await_(self, *words: str) -> str:
        """The first of what it says with all of these words."""
        return self.until(lambda: next((text for text in self.said if all(word in text for word in words)), ""))


def test_a_landing_zone_that_is_gone_for_a_while_ends_nothing(settings: Settings) -> None:
    landing = Path(settings.landing_dir)
    landing.rmdir()
    with Running(settings) as stream:
        said = stream.await_("Failed, and tried again in 1 s")
        assert f"The landing folder {landing} does not exist." in said
        landing.mkdir()
        (landing / "notes.txt").touch()
        stream.until(lambda: stream.process.facts.get("problem", "none yet") is None)
    assert [text for text in stream.said if "notif" in text] == []


@pytest.fixture
def without_spark(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a process that does all by itself, and soon."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(module, "_NOTIFY_SECONDS", 0.1)
    return settings.model_copy(update={"landing_engine": "arrow", "refresh_engine": "arrow"})


def land(settings: Settings, name: str) -> None:
    hidden = Path(settings.landing_dir) / f".{name}"
    hidden.write_bytes(alert(name, T0) + b"\n")
    hidden.rename(hidden.with_name(f"{name}.jsonl"))


def events(settings: Settings) -> set[str]:
    found = Lakehouse(settings).rows(BRONZE_EVENTS, "SELECT event_id FROM t")["event_id"].to_pylist()
    assert len(found) == len(set(found))
    return set(found)


def test_a_lake_that_is_gone_for_a_while_is_not_made_anew(
    without_spark: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is not mounted: what a new lake took would be hidden by the old one when it is back."""
    lake, between_rounds, notify = Path(without_spark.lake_dir), threading.Lock(), rounds.notify

    def one_round(*given: Any, **options: Any) -> Any:
        with between_rounds:
            return notify(*given, **options)

    monkeypatch.setattr(rounds, "notify", one_round)
    with Running(without_spark) as stream:
        land(without_spark, "before")
        stream.await_("alert windows")
        # A round that is reading the lake this moment could not go on, and would say so.
        with between_rounds:
            lake.rename(lake.with_name("away"))
        land(without_spark, "meanwhile")
        assert "1 landing file is ingested" in stream.await_("Failed, and tried again in 2 s")
        assert not lake.exists()
        lake.with_name("away").rename(lake)
        stream.until(lambda: events(without_spark) == {"before", "meanwhile"})
    assert [text for text in stream.said if "Could not" in text] == []


def test_a_disk_that_is_gone_for_a_while_with_all_that_is_on_it(without_spark: Settings) -> None:
    disk = without_spark.data_dir
    with Running(without_spark) as stream:
        land(without_spark, "before")
        stream.await_("alert windows")
        disk.rename(disk.with_name("away"))
        stream.await_("Failed, and tried again in 2 s")
        for failed in ("No sign of life could be given", "Could not notify"):
            # What the move finds at work says something else first.
            stream.await_(failed, "is gone")
        assert not disk.exists()
        disk.with_name("away").rename(disk)
        land(without_spark, "after")
        stream.until(lambda: events(without_spark) == {"before", "after"})
    said = [text for text in stream.said if "No sign of life" in text]
    assert len(said) == len(set(said))


def test_it_is_resident_while_it_runs_and_a_second_one_is_refused(settings: Settings) -> None:
    breakers = circuit_breakers(settings)
    with Running(settings) as stream:
        stream.until(lambda: resident(breakers.state, settings, utc_now()))
        with pytest.raises(UserError, match="One is enough"):
            ResidentProcess(settings, breakers, print).run()
        assert resident(breakers.state, settings, utc_now()) is not None
    assert resident(breakers.state, settings, utc_now()) is None


def test_problems_follow_when_nothing_waits(settings: Settings) -> None:
    """They are left out while files land; the next look without any finds them behind, once."""
    lake = Lake(settings)
    lake.land(alert("a1", T0))
    lake.refresh()
    lake.land(metric("m1", T0 - 3 * HOUR, application_id="other", cpu_percent=12.5))
    assert is_behind(lake.lakehouse, settings, CHAIN)
    with Running(settings) as stream:
        stream.await_("Nothing new in")
    assert lake.lakehouse.cursor(GOLD_PROBLEMS, BRONZE_EVENTS) == lake.batch(BRONZE_EVENTS) == 2
    assert not is_behind(lake.lakehouse, settings, CHAIN)
    assert stream.process.facts["cycles"] == 1
    # What it used is recorded by table, the rest of the process beside them.
    used = {row["step"]: row for row in usage_since(State(settings.state_url), T0)}
    assert {GOLD_PROBLEMS.name, "(run)"} <= set(used)
    assert {row["job"] for row in used.values()} == {"stream"}
    assert used[GOLD_PROBLEMS.name]["cpu_seconds"] > 0


def behind(settings: Settings) -> Lake:
    """A lake whose problems are not up to date, which one cycle does without Spark."""
    lake = Lake(settings)
    lake.land(alert("a1", T0))
    lake.refresh()
    lake.land(metric("m1", T0 - 3 * HOUR, application_id="other", cpu_percent=12.5))
    return lake


def test_what_waits_has_its_turn_though_the_landing_zone_never_rests(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody writes for hours is no reason to wait for it longer than for any other."""

    def stirring(_: Settings, stop: threading.Event) -> Iterator[bool]:
        while not stop.wait(0.02):
            yield True

    monkeypatch.setattr(module, "looks", stirring)
    monkeypatch.setattr(module, "_GROUP_SECONDS", 0.5)
    lake = behind(settings)
    with Running(settings) as stream:
        # The first look is no stir.
        stream.await_("Nothing new in")
        lake.land(metric("m2", T0 - 3 * HOUR, application_id="other", cpu_percent=13.5))
        stream.until(lambda: not is_behind(lake.lakehouse, settings, CHAIN))


def test_baselines_alone_are_no_reason_for_a_cycle_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold up the message of the incident that was just found."""
    lake = Lake(settings)
    lake.now = now = utc_now()
    lake.land(line("l1", now), alert("a1", now))
    lake.refresh()
    lake.land(line("l2", now))
    for refresh in (refresh_silver, refresh_gold):
        refresh(no_spark, lake.lakehouse, settings)
    refresh_dependencies(lake.lakehouse)
    refresh_problems(lake.lakehouse, settings)
    refresh_platinum(lake.lakehouse, settings)
    assert is_behind(lake.lakehouse, settings, (SILVER_BASELINES,))
    process = ResidentProcess(settings, circuit_breakers(settings), lambda _: None)
    assert not process._is_behind(CHAIN, happened=False)
    monkeypatch.setattr(module, "_GROUP_SECONDS", 0.0)
    assert process._is_behind(CHAIN, happened=False)


def test_what_is_small_asks_for_no_spark(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    behind(settings)
    with Running(settings) as stream:
        stream.await_("Nothing new in")
    assert [said for said in stream.said if "Failed" in said] == []


def test_a_check_that_fails_is_evaluated_once_for_all_reports_and_holds_up_no_other_table(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.1)
    behind(settings)
    evaluated: list[str] = []
    told: dict[str, list[set[str]]] = {"one": [], "other": []}

    def broken() -> list[Check]:
        evaluated.append(PLATINUM_PROBLEMS.name)
        raise OSError("its file is gone")

    contract, checks = CHECKS[PLATINUM_PROBLEMS.name]
    monkeypatch.setitem(CHECKS, PLATINUM_PROBLEMS.name, (contract, broken))
    with Running(
        settings,
        lambda _run_id, _numbers, checked: told["one"].append(set(checked)),
        lambda _run_id, _numbers, checked: told["other"].append(set(checked)),
    ) as stream:
        assert "platinum_problems: its file is gone" in stream.await_("Could not report")
        monkeypatch.setitem(CHECKS, PLATINUM_PROBLEMS.name, (contract, checks))
        stream.until(lambda: len(told["other"]) > 1)
    said = [text for text in stream.said if "Could not report" in text]
    assert len(evaluated) == len(said)
    assert told["one"] == told["other"]
    assert GOLD_PROBLEMS.name in told["one"][0]
    assert told["one"][1:] == [{PLATINUM_PROBLEMS.name}]


def test_a_database_that_is_away_is_waited_for_once_and_not_for_each_table(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute for each of nine tables would be more than who stops it waits."""
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 1)
    behind(settings)
    with Running(settings) as stream:
        stream.await_("Nothing new in")
        with State(settings.state_url).writing():
            stream.process.stop.set()
            stream.await_("What it used could not be recorded")
    assert len([text for text in stream.said if "Could not report" in text]) == 1


def test_a_report_that_fails_is_told_again_and_the_others_are_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.1)
    behind(settings)
    told: dict[str, list[object]] = {"well": [], "ill": [], "after": []}
    again = threading.Event()

    def ill(_run_id: str, numbers: object, checked: Mapping[str, object]) -> None:
        told["ill"].append((numbers, list(checked)))
        if len(told["ill"]) < 3:
            raise OSError("nobody listens")
        again.set()

    with Running(
        settings,
        lambda _run_id, numbers, checked: told["well"].append((numbers, list(checked))),
        ill,
        lambda _run_id, numbers, checked: told["after"].append((numbers, list(checked))),
    ) as stream:
        stream.until(again.is_set)
        assert "nobody listens" in stream.await_("Could not report")
    assert len(told["well"]) == 1
    assert told["well"] == told["after"]
    assert told["ill"] == 3 * told["well"]


def test_what_was_used_while_the_database_was_away_is_recorded_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.1)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.2)
    lake, state, started = behind(settings), State(settings.state_url), time.process_time()

    def rename(table: str, name: str) -> None:
        with state.writing() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")

    rename("run_usage", "away")
    with Running(settings) as stream:
        stream.await_("What it used could not be recorded")
        rename("away", "run_usage")
        assert usage_since(state, T0) == []
        lake.land(metric("m2", T0 - 3 * HOUR, application_id="other", cpu_percent=12.6))
        used = stream.until(lambda: {row["step"]: row for row in usage_since(state, T0)})
    # The first figures, with which the second are recorded, hold the process's own start.
    assert used["(run)"]["cpu_seconds"] > started - 0.1


def with_small_files(settings: Settings) -> Lake:
    """A lake that is up to date, six files a table."""
    lake = Lake(settings)
    for number in range(6):
        lake.land(alert(f"a{number}", T0 - number * HOUR))
        lake.refresh()
    return lake


def test_small_files_are_put_together_soon(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle writes a file a table: forty of them a minute would make each query slower than the one before."""
    monkeypatch.setattr(module, "_COMPACT_SECONDS", 0.1)
    lake = with_small_files(settings)
    lake.land(alert("last", T0 - 9 * HOUR))
    before = len(lake.lakehouse.snapshot(BRONZE_EVENTS).files())
    assert before == 7
    with Running(settings) as stream:
        stream.until(lambda: len(lake.lakehouse.snapshot(BRONZE_EVENTS).files()) < before)
    assert [said for said in stream.said if "not put together" in said] == []
    assert lake.lakehouse.snapshot(BRONZE_EVENTS).row_count == 7


def test_what_arrow_has_freed_is_given_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPACT_SECONDS", 0.1)
    rows = pa.table({"text": [f"text {number}" for number in range(400_000)]})
    behind(settings)
    before = _resident_mib()
    for _ in range(3):
        pq.write_table(rows.sort_by([("text", "descending")]), pa.BufferOutputStream(), compression="zstd")
    kept = _resident_mib() - before
    with Running(settings) as stream:
        stream.until(lambda: _resident_mib() - before < kept / 2)


def _resident_mib() -> float:
    """Memory of this process that is not a file's."""
    used = psutil.Process().memory_info()
    return float(used.rss - used.shared) / (1 << 20)


def test_a_table_that_is_being_written_for_long_holds_up_no_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full refresh by another process, say: its table is compacted the next time."""
    monkeypatch.setattr(module, "_COMPACT_SECONDS", 0.1)
    lake = with_small_files(settings)
    with lake.lakehouse.writing(SILVER_ALERTS):
        with Running(settings) as stream:
            stream.process.facts["cycles"] += 1
            stream.until(lambda: len(lake.lakehouse.snapshot(BRONZE_EVENTS).files()) == 1)
            began = time.monotonic()
        assert time.monotonic() - began < 20
    assert len(lake.lakehouse.snapshot(SILVER_ALERTS).files()) == 6


def test_files_that_cannot_be_put_together_are_said_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPACT_SECONDS", 0.05)
    lake = with_small_files(settings)
    gone = Path(lake.lakehouse.snapshot(SILVER_ALERTS).files()[0])
    content = gone.read_bytes()
    gone.unlink()
    with Running(settings) as stream:

        def cycle_until(condition: Callable[[], T]) -> None:
            def holds() -> T:
                stream.process.facts["cycles"] += 1
                return condition()

            stream.until(holds)

        cycle_until(lambda: len(lake.lakehouse.snapshot(GOLD_INCIDENTS).files()) == 1)
        before = stream.process.facts["cycles"]
        cycle_until(lambda: stream.process.facts["cycles"] > before + 50)
        assert [one.partition(":")[0] for one in stream.said] == ["Small files of silver_alerts were not put together"]
        gone.write_bytes(content)
        cycle_until(lambda: len(lake.lakehouse.snapshot(SILVER_ALERTS).files()) == 1)
    assert len(stream.said) == 1


def test_who_watches_from_outside_is_asked_while_all_is_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    with running() as service:
        watched = settings.model_copy(
            update={"heartbeat_url": SecretStr(f"{service.url}/ping/s3cret"), "allowed_hosts": "127.0.0.1"}
        )
        with Running(watched) as stream:
            stream.until(lambda: service.requests)
        said = stream.said
        assert (service.requests[0].method, service.requests[0].path) == ("GET", "/ping/s3cret")
        assert said == []

        service.failure = answer(500)
        with Running(watched) as stream:
            assert "s3cret" not in stream.await_("ALERTS_HEARTBEAT_URL")
            asked = len(service.requests)
            stream.until(lambda: len(service.requests) > asked + 2)
        assert len(stream.said) == 1

    private = watched.model_copy(update={"allowed_hosts": ""})
    with Running(private) as stream:
        assert "ALERTS_HEARTBEAT_URL" in stream.await_("127.0.0.1")
