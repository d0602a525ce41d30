"""Dagster's history: what is old and ours goes, whole; what is young, the latest or somebody else's stays."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

from alert_assets.defs.maintenance import history
from alert_assets.defs.maintenance.history import Ours, prune_history
from alert_assets.kernel.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE, OTHER = dg.AssetKey("bronze_events"), dg.AssetKey("of_others")
LABEL = "__repository__@here"
OURS = Ours(frozenset({"ours", "report"}), frozenset({TABLE}), LABEL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


@dg.asset(key=TABLE, check_specs=[dg.AssetCheckSpec("is_well", asset=TABLE)])
def table():
    # No annotation: with a check, Dagster takes it for that of two outputs.
    print("said by the step")
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)], tags={"a": "tag"})


@dg.op
def write() -> None:
    """As a report does."""


def of_asset(instance: dg.DagsterInstance, job: str = "ours", **tags: str) -> str:
    made = dg.Definitions(
        assets=[table], jobs=[dg.define_asset_job(job, selection=[TABLE])], executor=dg.in_process_executor
    ).resolve_job_def(job)
    done = made.execute_in_process(instance=instance, tags={REPOSITORY_LABEL_TAG: LABEL, **tags})
    assert done.success
    return done.run_id


def of_no_asset(instance: dg.DagsterInstance, job: str, **tags: str) -> str:
    made = dg.GraphDefinition(job, node_defs=[write]).to_job(executor_def=dg.in_process_executor)
    return made.execute_in_process(instance=instance, tags=tags).run_id


def pruned(instance: dg.DagsterInstance, ours: Ours = OURS) -> dict[str, int]:
    """Of everything that there is by now."""
    return prune_history(instance, ours, utc_now() + timedelta(seconds=1))


def runs(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def named_in(home: Path, run_id: str) -> list[str]:
    """Where a run is still known: files of its name, and tables with rows of it."""
    found = [str(path.relative_to(home)) for path in home.rglob("*") if run_id in path.name]
    for path in home.rglob("*.db"):
        with sqlite3.connect(path) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in names:
                columns = {column[1] for column in connection.execute(f"PRAGMA table_info({name})")}
                if (
                    "run_id" in columns
                    and connection.execute(f"SELECT 1 FROM {name} WHERE run_id = ?", (run_id,)).fetchone()
                ):
                    found.append(f"{path.name}: {name}")
    return found


def test_nothing_is_left_of_an_old_run(instance: dg.DagsterInstance, home: Path) -> None:
    first, last = of_asset(instance, a="tag"), of_asset(instance)
    assert {"runs.db: run_tags", "index.db: event_logs", f"{first}.db: event_logs"} <= {*named_in(home, first)}
    assert pruned(instance) == {"runs": 1, "check_results": 1}
    assert named_in(home, first) == []
    assert runs(instance) == {last}


def test_the_latest_of_an_asset_and_of_a_check_stays(instance: dg.DagsterInstance) -> None:
    last = of_asset(instance)
    assert pruned(instance) == {}
    event = instance.get_latest_materialization_event(TABLE)
    assert event is not None
    assert event.run_id == last
    key = dg.AssetCheckKey(TABLE, "is_well")
    assert instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key].run_id == last


def test_what_is_not_old_stays(instance: dg.DagsterInstance) -> None:
    of_report = of_no_asset(instance, "report", **{REPOSITORY_LABEL_TAG: LABEL})
    all_of_them = {of_asset(instance), of_asset(instance), of_report}
    assert prune_history(instance, OURS, utc_now() - timedelta(minutes=5)) == {}
    assert runs(instance) == all_of_them


def test_runs_of_other_code_locations_stay(instance: dg.DagsterInstance) -> None:
    launched = {REPOSITORY_LABEL_TAG: LABEL}
    elsewhere = of_no_asset(instance, "report", **{REPOSITORY_LABEL_TAG: "__repository__@elsewhere"})
    another = of_no_asset(instance, "another", **launched)
    from_somebodys_terminal = of_no_asset(instance, "report")
    of_no_asset(instance, "report", **launched)
    assert pruned(instance) == {"runs": 1}
    assert runs(instance) == {elsewhere, another, from_somebodys_terminal}
    assert pruned(instance, replace(OURS, label=None)) == {}, "to a terminal no label is its own"


def test_a_long_history_goes_page_by_page_the_oldest_first(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_PAGE", 2)
    monkeypatch.setattr(history, "_RUNS_A_TIME", 3)
    kept = [of_no_asset(instance, "another") for _ in range(2)]
    names = [of_no_asset(instance, "report", **{REPOSITORY_LABEL_TAG: LABEL}) for _ in range(6)]
    # Pages of two: none, two and two of ours, which are three and more.
    assert pruned(instance) == {"runs": 4}
    assert runs(instance) == {*kept, *names[4:]}
    assert pruned(instance) == {"runs": 2}
    assert runs(instance) == {*kept}


def report_definitions() -> dg.Definitions:
    return dg.Definitions(jobs=[dg.GraphDefinition("report", node_defs=[write]).to_job()])


def test_a_run_from_a_terminal_is_of_the_package_that_it_was_started_from(instance: dg.DagsterInstance) -> None:
    repository = ReconstructableRepository.for_module(__name__, report_definitions.__name__)
    with dg.execute_job(repository.get_reconstructable_job("report"), instance) as done:
        run = instance.get_run_by_id(done.run_id)
    assert pruned(instance) == {}
    assert pruned(instance, Ours.of(repository.get_definition(), None)) == {}, "these tests are no code of the package"
    assert pruned(instance, Ours.of(repository.get_definition(), run)) == {"runs": 1}


def test_the_last_result_of_a_check_stays_when_another_is_planned(instance: dg.DagsterInstance) -> None:
    """A run that died between the two leaves its plan, which says nothing of the table."""
    of_asset(instance)
    made = dg.Definitions(assets=[table], jobs=[dg.define_asset_job("ours", selection=[TABLE])])
    instance.create_run_for_job(made.resolve_job_def("ours"), status=dg.DagsterRunStatus.STARTED)
    assert pruned(instance) == {}
    found = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(TABLE, "is_well"), limit=9)
    assert [one.status.value for one in found] == ["PLANNED", "SUCCEEDED"]


def test_assets_of_others_from_a_terminal_stay(instance: dg.DagsterInstance) -> None:
    made = dg.Definitions(assets=[table], executor=dg.in_process_executor).resolve_implicit_global_asset_job_def()
    first, _ = (made.execute_in_process(instance=instance, asset_selection=[TABLE]).run_id for _ in range(2))
    assert pruned(instance, Ours(frozenset({made.name}), frozenset({OTHER}), LABEL)) == {}
    assert pruned(instance, Ours(frozenset({made.name}), frozenset({TABLE}), LABEL))["runs"] == 1
    assert first not in runs(instance)


def test_a_run_under_way_stays(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(
        dg.GraphDefinition("report", node_defs=[write]).to_job(), status=dg.DagsterRunStatus.STARTED
    )
    assert pruned(instance) == {}
    assert runs(instance) == {run.run_id}


def test_what_belongs_to_no_run_goes_too_but_for_the_latest(instance: dg.DagsterInstance, home: Path) -> None:
    for key in (TABLE, OTHER):
        for number in range(3):
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata={"number": number}))
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(asset_key=key, check_name="is_well", passed=number == 2)
            )
    assert pruned(instance) == {"events": 5, "check_results": 2}
    assert pruned(instance) == {}
    for key, count in ((TABLE, 1), (OTHER, 3)):
        found = instance.fetch_materializations(key, limit=10).records
        assert len(found) == count
        assert found[0].asset_materialization is not None
        assert found[0].asset_materialization.metadata["number"].value == 2
        check = dg.AssetCheckKey(key, "is_well")
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
        assert latest.status.value == "SUCCEEDED"
        assert len(instance.event_log_storage.get_asset_check_execution_history(check, limit=10)) == count
    # The events themselves, in both databases of SQLite's. Those of checks name no asset: the three left are of others.
    for name in ("index.db", ".db"):
        with sqlite3.connect(next(path for path in home.rglob("*.db") if path.name == name)) as connection:
            kept = dict(connection.execute("SELECT asset_key, count(*) FROM event_logs GROUP BY asset_key").fetchall())
        assert kept == {TABLE.to_string(): 1, OTHER.to_string(): 3, None: 3}
