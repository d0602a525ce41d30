"""From a fact to a message: real runs, real tables, the real outbox and a real web server that is told."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from alert_assets.breaker.guard import REFUSED_TAGS
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.defs.notifications import runs
from alert_assets.defs.notifications.ledger import NOTIFICATIONS, ledger_check
from alert_assets.defs.notifications.runs import RunLook, look_at_runs
from alert_assets.defs.notifications.sensors import (
    escalations_sensor,
    incident_alerts,
    notifications_sensor,
    run_alerts,
)
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.stack import NotificationStack
from alert_assets.settings import Settings
from alert_assets.state.tables import outbox
from alert_assets_tests.commands.lake import analysis, incident, window
from alert_assets_tests.conftest import settings_in


class Site:
    """A settings folder, an instance, and a web server that writes down what it is told."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.lakehouse = Lakehouse(settings)
        self.breakers = circuit_breakers(settings)
        self.stack = NotificationStack(settings)

    def tick(self, sensor: Any) -> str:
        """One tick; what it says."""
        context = dg.build_sensor_context(
            instance=self.instance, resources={"settings": self.settings, "notification_stack": self.stack}
        )
        return str(sensor(context).skip_message)

    def waiting(self) -> list[tuple[str, str]]:
        """What is in the outbox and was not taken up: subject and status of the alert."""
        with self.stack.state.reading() as connection:
            rows = connection.execute(outbox.select().where(outbox.c.status == "pending").order_by(outbox.c.id))
            return [(row["subject"], row["payload"]["status"]) for row in rows.mappings()]

    def put(self, contract: Contract, *rows: dict[str, Any]) -> None:
        schema = pa.schema(self.lakehouse.create(contract).schema().to_arrow())
        columns = pa.schema([field for field in schema if field.name != "_batch_id"])
        self.lakehouse.merge(contract, contract.key, pa.Table.from_pylist(list(rows), columns), {})


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def site(tmp_path: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    routing = tmp_path / "routing.yaml"
    routing.write_text("routes:\n  - {name: everything, add: {webhook: []}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/hook")
    monkeypatch.setenv("ALERTS_WEBHOOK_SECRET", "a-secret-of-the-tests")
    settings = settings_in(
        tmp_path / "data",
        routing_file=str(routing),
        dagster_url="https://dagster.example",
        allowed_hosts="127.0.0.1",
    )
    with dg.DagsterInstance.ephemeral() as instance:
        yield Site(settings, instance)
    server.shutdown()


def job(name: str, fails: Callable[[], bool]) -> dg.JobDefinition:
    @dg.op
    def work() -> None:
        if fails():
            raise ValueError("the disk is full")

    @dg.job(name=name)
    def made() -> None:
        work()

    return made


def run(site: Site, *, fails: bool = True, tags: dict[str, str] | None = None) -> str:
    made = job("nightly", lambda: fails)
    return made.execute_in_process(instance=site.instance, raise_on_error=False, tags=tags).run_id


def test_a_failed_run_is_told_with_its_cause_once_and_a_success_ends_it(site: Site, told: list[Any]) -> None:
    run(site, fails=False)
    run(site, tags=REFUSED_TAGS)
    assert site.tick(run_alerts) == "0 new alerts of 2 runs that ended."
    failed = run(site)
    assert site.tick(run_alerts).startswith("1 new alerts of ")
    assert site.tick(run_alerts).startswith("0 new alerts of "), "the overlap tells nothing twice"
    assert site.waiting() == [("Run of nightly failed", "firing")]

    assert "1 alerts dispatched" in site.tick(notifications_sensor)

    (message,) = told
    text = json.dumps(message)
    assert "the disk is full" in text
    assert failed in text
    assert f"https://dagster.example/runs/{failed}" in text
    assert "line" in text
    assert "raise ValueError" in text, "the end of the stack trace"
    assert site.tick(notifications_sensor) == "0 alerts dispatched, 0 notifications sent."
    run(site, fails=False)
    site.tick(run_alerts)
    site.tick(notifications_sensor)
    assert [message["action"] for message in told] == ["open", "resolve"]
    assert told[0]["episode"] == told[1]["episode"]
    assert site.tick(escalations_sensor).endswith("episodes looked at.")


def test_a_look_that_takes_too_long_is_continued_by_the_next(site: Site) -> None:
    for _ in range(runs._RUNS_AT_ONCE + 1):
        run(site)
    assert look_at_runs(site.instance, site.stack.state, budget_seconds=0) == RunLook()
    assert site.waiting() == []
    ticking = chain([0.0, 0.0], repeat(30.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: next(ticking))
        assert look_at_runs(site.instance, site.stack.state, budget_seconds=25).runs == runs._RUNS_AT_ONCE
    look_at_runs(site.instance, site.stack.state)
    assert len(site.waiting()) == runs._RUNS_AT_ONCE + 1


def test_an_exception_between_the_fact_and_the_outbox_loses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(site)
    with monkeypatch.context() as patch:
        patch.setattr("alert_assets.notify.runs.run_alert", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            site.tick(run_alerts)
    assert site.waiting() == []
    site.tick(run_alerts)
    assert site.waiting() == [("Run of nightly failed", "firing")]


def test_failed_checks_of_other_peoples_assets_are_told_also_where_the_run_succeeded(site: Site) -> None:
    @dg.asset
    def theirs() -> None: ...

    @dg.asset_check(asset=theirs)
    def is_plausible() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="3 rows are not.")

    assert dg.materialize([theirs, is_plausible], instance=site.instance).success
    site.tick(run_alerts)
    assert site.waiting() == [("Check is_plausible of theirs failed", "firing")]


def now_incident(number: int, **fields: Any) -> dict[str, Any]:
    at = utc_now().replace(microsecond=0) - timedelta(minutes=number)
    times = {"alert_timestamp": at, "first_seen_timestamp": at, "last_seen_timestamp": at, "window_start": at}
    return incident(number, **{**times, **fields})


def test_an_incident_is_told_when_it_is_new_when_it_is_analysed_and_when_it_is_over(
    site: Site, told: list[Any]
) -> None:
    assert site.tick(incident_alerts) == "No incident has changed."
    gold, old = now_incident(1), now_incident(2, last_seen_timestamp=datetime(2022, 8, 22, tzinfo=UTC))
    site.put(SILVER_ALERTS, window(gold), window(old))
    site.put(GOLD_INCIDENTS, gold, old)

    assert site.tick(incident_alerts) == "1 new alerts of 2 incidents that changed; 1 are too old to be notified."
    assert site.tick(incident_alerts) == "No incident has changed."
    assert site.waiting() == [("cpu_high: payments-api on host-a", "firing")]
    site.put(PLATINUM_INCIDENTS, analysis(gold, analyzed_at=utc_now()))
    site.tick(incident_alerts)
    assert site.tick(incident_alerts) == "No incident has changed."
    site.tick(notifications_sensor)
    assert "cpu_high: payments-api on host-a" in json.dumps(told[0])
    site.put(SILVER_ALERTS, window(gold, resolved_at=utc_now()))
    site.tick(incident_alerts)
    site.tick(notifications_sensor)
    with site.stack.state.reading() as connection:
        statuses = [row["payload"]["status"] for row in connection.execute(outbox.select()).mappings()]
    assert statuses == ["firing", "firing", "resolved"]
    assert {message["action"] for message in told} >= {"open", "resolve"}


def test_a_step_of_a_breaker_goes_all_the_way(site: Site, told: list[Any]) -> None:
    site.breakers.trip("pipeline", "SLO quarantine-ratio burns")
    site.breakers.reset("pipeline", "ann", "mended")
    site.tick(notifications_sensor)
    assert [json.dumps(message).count("Circuit breaker pipeline") > 0 for message in told] == [True] * len(told)
    assert len(told) == 2


def test_the_ledger_is_a_check(site: Site) -> None:
    def check() -> dg.AssetCheckEvaluation:
        job = dg.Definitions(
            assets=[NOTIFICATIONS],
            asset_checks=[ledger_check],
            jobs=[dg.define_asset_job("look", selection=dg.AssetSelection.checks(ledger_check))],
            resources={"notification_stack": site.stack},
        ).resolve_job_def("look")
        done = job.execute_in_process(instance=site.instance)
        (evaluation,) = done.get_asset_check_evaluations()
        return evaluation

    assert check().passed
    site.breakers.trip("pipeline", "bad data")
    assert check().metadata["pending"].value == 1
    site.tick(notifications_sensor)
    told = check()
    assert told.passed
    assert told.metadata["dispatched"].value == told.metadata["notified"].value == 1
    # An alert that somebody marked as taken up, and that nobody decided on.
    with site.stack.state.writing() as connection:
        connection.execute(
            outbox.insert().values(
                created_at=utc_now(),
                kind="incident",
                idempotency_key="x",
                severity="LOW",
                subject="x",
                payload={},
                status="dispatched",
            )
        )
    for _ in range(2):
        lost = check()
        assert not lost.passed, "it fails until the alert is accounted for"
        assert lost.description == (
            "1 of 1 alerts that were dispatched since the ledger was last complete are unaccounted for; "
            "0 could not be dispatched."
        ), "the alert that was told is not counted again"
