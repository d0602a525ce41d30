"""OpenLineage events: of a real run, of the resident process, where a catalog hangs or fails, and where none is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from alert_assets.checks.check import Check, Finding
from alert_assets.checks.evaluate import Evaluation
from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, SILVER_ALERTS
from alert_assets.kernel.clock import utc_now
from alert_assets.observe.lineage import Emitter, Happened, RunListener, StreamReports, Table
from alert_assets_tests.checks.lake import Lake
from alert_assets_tests.notify.channels.service import Service, answer, running, stall
from alert_assets_tests.observe.openlineage import VALIDATOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.settings import Settings

Event = dict[str, Any]


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with running() as service:
        monkeypatch.setenv("OPENLINEAGE_URL", service.url)
        yield service


@pytest.fixture
def lake(healthy_once: Lake, settings: Settings) -> Lake:
    return healthy_once.copy(settings)


def must_be_valid(event: Event) -> None:
    """An event as OpenLineage's specification has it, down to each facet, whose columns are those of its table."""
    faults = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(event)]
    assert faults == []
    assert event["eventType"] in {"START", "COMPLETE", "FAIL"}
    assert all(one["namespace"] and one["name"] for one in (event["job"], *event["inputs"], *event["outputs"]))
    for dataset in event["outputs"]:
        names = {field["name"] for field in dataset["facets"]["schema"]["fields"]}
        assert set(dataset["facets"]["columnLineage"]["fields"]) <= names


def events_of(service: Service) -> list[Event]:
    assert {request.path for request in service.requests} <= {"/api/v1/lineage"}
    return [request.json for request in service.requests]


def table(event: Event, side: str, name: str) -> Event:
    (found,) = (one for one in event[side] if one["name"].endswith(f"/{name}"))
    return found


def materialize(settings: Settings, *select: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "dagster", "asset", "materialize", "-m", "alert_assets.definitions")
    return subprocess.run(
        [*command, "--select", ",".join(select)],
        env={**os.environ, "ALERTS_DATA_DIR": str(settings.data_dir)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_real_run_says_what_it_read_and_wrote(lake: Lake, settings: Settings, catalog: Service) -> None:
    read = lake.lakehouse.snapshot(GOLD_INCIDENTS).version

    done = materialize(settings, "gold_problems", "platinum_problems")

    assert done.returncode == 0, done.stderr
    events = events_of(catalog)
    for event in events:
        must_be_valid(event)
    run, *steps = dict.fromkeys(event["run"]["runId"] for event in events)
    for one in (run, *steps):
        states = [event["eventType"] for event in events if event["run"]["runId"] == one]
        assert states == ["START", "COMPLETE"]
    by_job = {event["job"]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    problems = by_job["__ASSET_JOB.gold_problems"]
    assert problems["run"]["facets"]["parent"]["run"]["runId"] == run
    assert table(problems, "inputs", "gold_incidents")["facets"]["version"]["datasetVersion"] == str(read)
    written = table(problems, "outputs", "gold_problems")
    assert written["namespace"] == "file"
    assert written["facets"]["version"]["datasetVersion"] == str(lake.lakehouse.snapshot(GOLD_PROBLEMS).version)
    title = written["facets"]["columnLineage"]["fields"]["title"]["inputFields"]
    assert {(one["name"].rpartition("/")[2], one["field"]) for one in title} == {
        *((GOLD_INCIDENTS.name, name) for name in ("alert_type", "application_id", "severity"))
    }
    checks = by_job["__ASSET_JOB.gold_problems_checks"]
    found = table(checks, "inputs", "gold_problems")["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert {one["name"]: one["success"] for one in found}["key_unique"] is True


@pytest.mark.slow
def test_a_real_run_that_fails_says_which_step_and_why(lake: Lake, settings: Settings, catalog: Service) -> None:
    shutil.rmtree(lake.lakehouse.uri(GOLD_PROBLEMS))
    for file in lake.lakehouse.snapshot(GOLD_INCIDENTS).files():
        with open(file, "r+b") as damaged:
            damaged.truncate(10)

    assert materialize(settings, "gold_problems", "platinum_problems").returncode == 1

    events = events_of(catalog)
    for event in events:
        must_be_valid(event)
    assert [(event["job"]["name"], event["eventType"]) for event in events] == [
        ("__ASSET_JOB", "START"),
        ("__ASSET_JOB.gold_problems", "START"),
        ("__ASSET_JOB.gold_problems", "FAIL"),
        ("__ASSET_JOB", "FAIL"),
    ]
    for failed in events[2:]:
        assert "arquet" in failed["run"]["facets"]["errorMessage"]["message"]
    assert [
        one for event in events for one in event["outputs"] if "outputStatistics" in one.get("outputFacets", {})
    ] == []


@pytest.mark.slow
def test_a_catalog_that_hangs_holds_up_no_run(lake: Lake, settings: Settings, catalog: Service) -> None:
    catalog.failure = stall

    began = time.monotonic()
    done = materialize(settings, "gold_problems")

    assert done.returncode == 0, done.stderr
    assert catalog.requests, "it was asked"
    assert "lineage_not_sent" in done.stderr
    # It hangs for 20 s a request.
    assert time.monotonic() - began < 40


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("eventTime", "yesterday"), ("eventType", "ENDED"), ("run.runId", "17"), ("producer", "urn:alert-assets"),
        ("run.facets.parent.job.name", None), ("job.facets.jobType.processingType", "OFTEN"), ("job.namespace", 3),
        ("run.facets.unheard_of", {}), ("outputs.0.outputFacets.outputStatistics.rowCount", "12"),
        ("outputs.0.facets.columnLineage.fields.title.inputFields.0.field", None), ("schemaURL", "https://example.com"),
        ("outputs.0.facets.version._schemaURL", "https://openlineage.io/spec/facets/0-0-1/Nothing.json"),
    ],
)  # fmt: skip
def test_what_the_schema_refuses(settings: Settings, catalog: Service, path: str, value: Any) -> None:
    """What must_be_valid finds: a validator that takes everything would prove nothing."""
    emitter = Emitter(settings, print)
    emitter.send(happened("COMPLETE", outputs=(Table(GOLD_PROBLEMS, 3, 12),), parent=("job", str(uuid.uuid4()))))
    assert emitter.drain(10)
    (event,) = events_of(catalog)
    must_be_valid(event)
    *steps, last = path.split(".")
    inner: Any = event
    for step in steps:
        inner = inner[int(step)] if step.isdecimal() else inner[step]
    inner[last] = value
    with pytest.raises(AssertionError):
        must_be_valid(event)


def happened(state: str = "START", **more: Any) -> Happened:
    return Happened(state, str(uuid.uuid4()), "job", utc_now(), **more)


def test_a_run_that_fails_says_why_and_no_address_of_anybody(settings: Settings, catalog: Service) -> None:
    emitter = Emitter(settings, print)
    listener = RunListener(emitter, Lake(settings).lakehouse, str(uuid.uuid4()), "nightly")

    listener.begin()
    listener.end(ValueError("no mailbox for jane.doe@example.com"))

    start, fail = events_of(catalog)
    must_be_valid(fail)
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert "no mailbox" in fail["run"]["facets"]["errorMessage"]["message"]
    assert "jane.doe" not in fail["run"]["facets"]["errorMessage"]["message"]


def test_a_table_that_was_not_made_has_no_version(settings: Settings, catalog: Service) -> None:
    @dg.asset(name=SILVER_ALERTS.name)
    def nothing() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"delta_version": -1, "dagster/row_count": 0})

    listener = RunListener(Emitter(settings, print), Lake(settings).lakehouse, str(uuid.uuid4()), "nightly")
    for event in dg.materialize([nothing], instance=dg.DagsterInstance.ephemeral()).all_events:
        if not event.is_step_start:
            listener.see(None, event)
    listener.end(None)

    step = next(event for event in events_of(catalog) if event["job"]["name"].endswith(SILVER_ALERTS.name))
    assert "version" not in table(step, "outputs", SILVER_ALERTS.name)["facets"]


def test_the_resident_process_says_what_came_into_tables(lake: Lake, settings: Settings, catalog: Service) -> None:
    finding = Finding(False, "3 rows of jane.doe@example.com are late.")
    check = Check("freshness", "timeliness", "Rows are new.", lambda rows: finding)
    reports = StreamReports(settings, print)

    reports(
        f"stream/{uuid.uuid4()}",
        {SILVER_ALERTS.name: {"rows_out": 3}},
        {SILVER_ALERTS.name: [evaluation(check, finding)]},
    )

    events = events_of(catalog)
    for event in events:
        must_be_valid(event)
    assert [(event["job"]["name"], event["eventType"]) for event in events] == [
        ("stream", "START"),
        ("stream.silver_alerts", "START"),
        ("stream.silver_alerts", "COMPLETE"),
        ("stream", "COMPLETE"),
    ]
    done = events[2]
    assert table(done, "inputs", "bronze_events")["facets"]["version"]
    assert table(done, "outputs", "silver_alerts")["facets"]["version"]
    (found,) = table(done, "inputs", "silver_alerts")["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (found["name"], found["success"]) == ("freshness", False)
    assert "jane.doe" not in str(done)


def evaluation(check: Check, finding: Finding) -> Evaluation:
    return Evaluation(check, finding, mark=1)


def test_a_catalog_that_hangs_is_waited_for_no_longer_than_said(settings: Settings, catalog: Service) -> None:
    catalog.failure = stall
    emitter = Emitter(settings, print)
    for _ in range(1_100):
        emitter.send(happened())

    began = time.monotonic()

    assert not emitter.drain(0.2)
    assert time.monotonic() - began < 2


def test_a_catalog_that_fails_is_said_once_and_asked_again(
    settings: Settings, catalog: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    catalog.failure = answer(403, {"error": "no"})
    emitter = Emitter(settings, said.append)

    for _ in range(2):
        emitter.send(happened())
    assert emitter.drain(10)
    assert len(said) == 1
    assert "403" in said[0]

    catalog.failure = None
    emitter.send(happened(outputs=(Table(SILVER_ALERTS, 3, 12),)))
    assert emitter.drain(10)
    assert (
        table(events_of(catalog)[-1], "outputs", "silver_alerts")["outputFacets"]["outputStatistics"]["rowCount"] == 12
    )


OFF = """
import sys
import alert_assets.definitions
print("MODULES", *(name for name in sys.modules if "openlineage" in name or name == "alert_assets.observe.lineage"))
"""


def test_without_the_extra_the_next_step_is_said(
    settings: Settings, catalog: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for name in [name for name in sys.modules if name.partition(".")[0] == "openlineage"]:
        monkeypatch.setitem(sys.modules, name, None)
    emitter = Emitter(settings, said.append)
    emitter.send(happened())

    assert emitter.drain(10)
    assert len(said) == 1
    assert "pip install 'alert-assets[lineage]'" in said[0]


def test_off_nothing_of_it_is_imported(settings: Settings) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENLINEAGE")}
    environment = {**kept, "ALERTS_DATA_DIR": str(settings.data_dir)}
    done = subprocess.run([sys.executable, "-c", OFF], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MODULES"
