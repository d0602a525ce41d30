"""When the landing sensor asks for a run, when not, and what it says then. Spark is not needed for any of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from alert_assets.breaker.store import circuit_breakers
from alert_assets.defs.medallion import landing_sensor as landing
from alert_assets.settings import Settings
from alert_assets.state.database import State
from alert_assets.stream.lease import Lease

ROOT = Path(__file__).parents[3]
JOB = "bronze_to_gold"


@dg.op(config_schema={"fails": dg.Field(bool, default_value=False)})
def work(context: dg.OpExecutionContext) -> None:
    if context.op_config["fails"]:
        raise dg.Failure("the lake is full")


@dg.job(name=JOB)
def job() -> None:
    """Stands in for the pipeline: what the sensor sees of it is its runs."""
    work()


class Daemon:
    """Ticks one sensor on one instance, and keeps its cursor from tick to tick."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self.instance = instance
        self.settings = settings
        self.cursor: str | None = None
        self.selection: Sequence[dg.AssetKey] | None = None
        self._sensor = landing.landing_sensor(JOB)

    def tick(self) -> str | None:
        """Why no run is asked for, or None when one is."""
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"settings": self.settings, "breakers": circuit_breakers(self.settings)},
        )
        with context:
            tick = self._sensor.evaluate_tick(context)
        if tick.skip_message:
            assert tick.run_requests == []
            # A skip changes nothing: the next tick sees what this one saw.
            assert tick.cursor in (None, self.cursor)
            return tick.skip_message
        (request,) = tick.run_requests or []
        assert request.run_key is None, "a key would keep the second run over the same files from starting"
        assert set(request.tags) >= {"alert_assets/landing_files"}
        self.selection = request.asset_selection
        self.cursor = tick.cursor
        return None

    def run(self, *, fails: bool = False) -> str:
        """A run that has been asked for takes place."""
        config = {"ops": {"work": {"config": {"fails": fails}}}}
        return job.execute_in_process(run_config=config, instance=self.instance, raise_on_error=False).run_id

    def ingest(self, *names: str) -> None:
        """Note files in the landing query's checkpoint as done, as Spark writes it down."""
        log, commits = (Path(self.settings.checkpoint_dir) / "landing" / name for name in ("sources/0", "commits"))
        batch = len(list(commits.iterdir())) if commits.exists() else 0
        self.begin_batch(*names)
        commits.mkdir(parents=True, exist_ok=True)
        (commits / str(batch)).write_text('v1\n{"nextBatchWatermarkMs":0}')
        assert (log / str(batch)).exists()

    def begin_batch(self, *names: str) -> None:
        """Note files as the next batch, which is not committed."""
        root = Path(self.settings.checkpoint_dir) / "landing"
        (root / "sources" / "0").mkdir(parents=True, exist_ok=True)
        batch = len(list((root / "sources" / "0").iterdir()))
        paths = [Path(self.settings.landing_dir) / name for name in names]
        entries = [
            json.dumps({"path": f"file://{path}", "timestamp": path.stat().st_mtime_ns // 1_000_000, "batchId": batch})
            for path in paths
        ]
        (root / "sources" / "0" / str(batch)).write_text("\n".join(["v1", *entries]))


@pytest.fixture
def daemon(settings: Settings) -> Iterator[Daemon]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Daemon(instance, settings)


@pytest.fixture
def zone(settings: Settings) -> Path:
    return Path(settings.landing_dir)


def test_no_landing_folder(daemon: Daemon, zone: Path) -> None:
    zone.rmdir()

    assert daemon.tick() == (
        f"The landing folder {zone} does not exist. Create it, let a producer or "
        "`alert-assets simulate` write there, or set ALERTS_LANDING_DIR."
    )


def test_nothing_there(daemon: Daemon, zone: Path) -> None:
    (zone / ".being-written.jsonl").touch()
    (zone / "_archive").mkdir()
    (zone / "_archive" / "old.jsonl").touch()
    (zone / "notes.txt").touch()

    nothing = "Nothing has landed: all 0 files in the landing zone are ingested."
    assert daemon.tick() == f"{nothing} Not read: 1, see `alert-assets status`."


def test_all_ingested(daemon: Daemon, zone: Path) -> None:
    (zone / "a.jsonl").touch()
    (zone / "b.jsonl.gz").touch()
    daemon.ingest("a.jsonl", "b.jsonl.gz")

    assert daemon.tick() == "Nothing has landed: all 2 files in the landing zone are ingested."


def test_an_analysis_that_is_refused_holds_up_no_incident(daemon: Daemon, zone: Path) -> None:
    """The job analyses too; while its breaker is open the run goes up to gold, and is let in."""
    (zone / "a.jsonl").touch()
    breakers = circuit_breakers(daemon.settings)
    breakers.open("analysis", "ann", "the rules are being changed")
    assert daemon.tick() is None
    assert daemon.selection is not None
    assert {key.to_user_string() for key in daemon.selection} == {
        *(
            "bronze_events",
            "bronze_quarantine",
            "bronze_held",
            "silver_alerts",
            "silver_baselines",
            "silver_dependencies",
            "gold_incidents",
            "gold_problems",
        )
    }
    breakers.reset("analysis", "ann", "done")
    (zone / "b.jsonl").touch()
    assert daemon.tick() is None
    assert daemon.selection is None, "all of the job"


def test_one_run_for_what_has_landed(daemon: Daemon, zone: Path) -> None:
    (zone / "a.jsonl").touch()

    assert daemon.tick() is None

    (zone / "b.jsonl").touch()
    daemon.run()
    daemon.ingest("a.jsonl")
    assert daemon.tick() is None, "b has landed since"

    daemon.run()
    daemon.ingest("b.jsonl")
    assert daemon.tick() == "Nothing has landed: all 2 files in the landing zone are ingested."


def test_a_batch_cut_short_is_finished(daemon: Daemon, zone: Path) -> None:
    (zone / "a.jsonl").touch()
    daemon.begin_batch("a.jsonl")

    assert daemon.tick() is None


@pytest.mark.parametrize("status", ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_not_a_second_run_beside_one(status: str, daemon: Daemon, zone: Path) -> None:
    (zone / "a.jsonl").touch()
    assert daemon.tick() is None
    # A queued run has to say where its job is.
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__"), JOB)
    run = daemon.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus[status],
        remote_job_origin=origin,
        job_code_origin=dg.reconstructable(job).get_python_origin(),
    )
    (zone / "b.jsonl").touch()

    assert daemon.tick() == f"Run {run.run_id} of {JOB} is under way; 2 landed, 0 in an unfinished batch."


def test_an_open_breaker_keeps_what_comes_in_the_landing_zone(daemon: Daemon, zone: Path) -> None:
    (zone / "a.jsonl").touch()
    breakers = circuit_breakers(daemon.settings)
    breakers.trip("pipeline", "the data is bad")

    said = daemon.tick()

    assert said is not None
    assert "Circuit breaker pipeline is OPEN" in said
    assert "the data is bad" in said
    assert said.endswith("The landing zone keeps what comes: 1 landed, 0 in an unfinished batch.")
    breakers.reset("pipeline", "ann", "it is well again")
    assert daemon.tick() is None


def test_files_left_as_unreadable_do_not_loop(daemon: Daemon, zone: Path) -> None:
    (zone / "cut.jsonl.gz").write_bytes(b"\x1f\x8b")
    assert daemon.tick() is None
    run_id = daemon.run()

    for _ in range(2):
        assert daemon.tick() == (
            f"Run {run_id} left these files as unreadable, see its broken_files: 1 landed, 0 in an unfinished batch."
        )

    (zone / "new.jsonl").touch()
    assert daemon.tick() is None
    daemon.run()
    daemon.ingest("new.jsonl")
    # What waits is less than the last run was asked for: one more run, which has nothing to do, and then quiet.
    assert daemon.tick() is None
    daemon.run()
    assert "as unreadable" in str(daemon.tick())


def test_a_file_made_whole_is_tried_again(daemon: Daemon, zone: Path) -> None:
    path = zone / "cut.jsonl.gz"
    path.write_bytes(b"\x1f\x8b")
    assert daemon.tick() is None
    daemon.run()
    assert daemon.tick() is not None

    path.write_bytes(b"\x1f\x8b and the rest")
    assert daemon.tick() is None


def test_a_failed_run_is_tried_again_after_a_while(daemon: Daemon, zone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (zone / "a.jsonl").touch()
    assert daemon.tick() is None
    run_id = daemon.run(fails=True)
    (record,) = daemon.instance.get_run_records()
    ended = record.end_time
    assert ended is not None

    def after(seconds: float) -> str | None:
        clock = SimpleNamespace(time=lambda: ended + seconds)
        monkeypatch.setattr(landing, "time", clock)
        return daemon.tick()

    wait = landing.RETRY_AFTER_SECONDS
    assert after(1) == f"Run {run_id} over these files ended as FAILURE; next try in {wait - 1} s."
    assert after(wait - 1) == f"Run {run_id} over these files ended as FAILURE; next try in 1 s."
    assert after(wait) is None


def test_a_new_file_does_not_wait_for_the_retry(daemon: Daemon, zone: Path) -> None:
    (zone / "a.jsonl").touch()
    assert daemon.tick() is None
    daemon.run(fails=True)
    assert daemon.tick() is not None

    (zone / "b.jsonl").touch()
    assert daemon.tick() is None


def test_what_waits_is_observed_when_a_run_is_requested(settings: Settings, zone: Path) -> None:
    (zone / "a.jsonl").write_text("x\n")
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"settings": settings, "breakers": circuit_breakers(settings)}
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            (seen,) = landing.landing_sensor(JOB).evaluate_tick(context).asset_events
    assert seen.asset_key == dg.AssetKey("landing_zone")
    assert (seen.metadata["waiting_files"].value, seen.metadata["waiting_bytes"].value) == (1, 2)


TICK = """
import sys

import dagster as dg

from alert_assets.definitions import defs

sensor = defs.get_repository_def().get_sensor_def("landing_sensor")
with dg.DagsterInstance.ephemeral() as instance:
    resources = {name: defs.resources[name] for name in ("settings", "breakers")}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        assert sensor.evaluate_tick(context).run_requests
assert "pyspark.java_gateway" not in sys.modules or not __import__("pyspark").SparkContext._gateway
"""


def test_a_tick_starts_no_java(settings: Settings, zone: Path, tmp_path: Path) -> None:
    (zone / "a.jsonl").touch()
    java, called = tmp_path / "jdk" / "bin" / "java", tmp_path / "java-was-called"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\ntouch {called}\nexit 1\n")
    java.chmod(0o755)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAVA_HOME": str(java.parents[1]),
        "PATH": f"{java.parent}{os.pathsep}{os.environ['PATH']}",
        "ALERTS_DATA_DIR": str(settings.data_dir),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }

    subprocess.run([sys.executable, "-c", TICK], env=environment, cwd=tmp_path, check=True)

    assert not called.exists()


def test_a_resident_process_takes_what_lands_and_the_sensor_takes_over_when_it_is_gone(
    daemon: Daemon, zone: Path
) -> None:
    (zone / "a.jsonl").touch()
    lease = Lease(State(daemon.settings.state_url), daemon.settings)
    lease.take()
    said = daemon.tick()
    assert said is not None
    assert f"`alert-assets stream` works on what lands (process {os.getpid()} on " in said
    lease.release()
    assert daemon.tick() is None
