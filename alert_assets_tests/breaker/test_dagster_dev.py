"""An open breaker in a real `dagster dev` and in real terminals: every way to launch a run ends at the gate."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.kernel.clock import utc_now
from alert_assets_tests.support.dagster_site import DagsterDev, Site, kill, materialize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LAUNCHERS = "alert_assets_tests.breaker.launchers"
REFUSED = {"alert_assets/breaker": "refused", "dagster/max_retries": "0"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    workspace = {"load_from": [{"python_module": {"module_name": LAUNCHERS, "working_directory": "."}}]}
    (site.folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    # Retries of everything: none may be spent on a refusal.
    instance = yaml.safe_load((site.home / "dagster.yaml").read_text())
    instance["run_retries"] = {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": True}
    (site.home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    return site


@pytest.fixture
def dev(site: Site) -> Iterator[DagsterDev]:
    """Started with the breaker held open."""
    site.command("breaker", "open", "pipeline", "--why", "a drill", "--who", "ann")
    dev = DagsterDev(site, LAUNCHERS)
    try:
        dev.await_loaded()
        yield dev
    finally:
        kill(dev.process)


def backfill(dev: DagsterDev) -> str:
    """Of all assets, as the UI asks for one."""
    query = """
        mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
            __typename
            ... on LaunchBackfillSuccess { backfillId }
            ... on PythonError { message }
        } }
    """
    names = ("bronze_events", "bronze_quarantine", "silver_alerts", "gold_incidents")
    params = {"assetSelection": [{"path": [name]} for name in names], "allPartitions": True}
    answer = dev.ask(query, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    backfill_id: str = answer["backfillId"]
    return backfill_id


def run_with(dev: DagsterDev, **tags: str) -> dict[str, Any]:
    """The first run with these tags, as soon as there is one and it has ended."""

    def look() -> str | None:
        wanted = {name.replace("__", "/"): value for name, value in tags.items()}
        return next((run_id for run_id, run in dev.runs().items() if wanted.items() <= run["tags"].items()), None)

    return dev.fail(dev.await_(look, f"run with {tags}"))


def test_every_launch_is_refused_no_retry_is_spent_and_nothing_counts(site: Site, dev: DagsterDev) -> None:
    refused = {
        "the UI": dev.fail(dev.launch("bronze_to_gold")),
        "a sensor": run_with(dev, dagster__sensor_name="eager_sensor"),
        "a backfill": run_with(dev, dagster__backfill=backfill(dev)),
        "a schedule": run_with(dev, dagster__schedule_name="eager_schedule"),
    }
    for launched_by, run in refused.items():
        said = dev.failure(run["runId"])
        assert "Circuit breaker pipeline is OPEN and refuses this run: held open by ann: a drill." in said, launched_by
        assert "alert-assets breaker reset pipeline --why" in said, launched_by
        assert REFUSED.items() <= run["tags"].items(), launched_by

    terminal = site.start(*materialize("*"))
    said, _ = terminal.communicate(timeout=120)
    assert terminal.returncode == 1
    assert "Circuit breaker pipeline is OPEN and refuses this run: held open by ann: a drill." in said

    # The instance does retry what fails in earnest, so it had the time to retry a refusal.
    failed = dev.fail(dev.launch("breaks_down"))["runId"]
    dev.await_(
        lambda: [run for run in dev.runs().values() if run["tags"].get("dagster/parent_run_id") == failed], "retry"
    )
    parents = {run["tags"].get("dagster/parent_run_id") for run in dev.runs().values()}
    assert parents & {run["runId"] for run in refused.values()} == set()

    breakers = circuit_breakers(site.settings)
    assert breakers.outcomes(utc_now() - timedelta(hours=1)) == []
    assert [step.cause for step in breakers.history()] == ["forced_open"]
    (shown,) = dev.await_(lambda: observations(dev), "observation of the transition")
    assert shown["breaker"] == "pipeline"
    assert shown["to"] == "OPEN"
    assert shown["who"] == "ann"

    # What lands waits, and the sensor says why.
    site.land_sample()
    dev.await_(
        lambda: [reason for reason in dev.skips() if "held open by ann" in reason and "landing zone keeps" in reason],
        "skip of the landing sensor",
    )

    site.command("breaker", "reset", "pipeline", "--why", "the drill is over", "--who", "ann")
    dev.succeed(dev.launch("bronze_to_gold"))
    dev.await_(lambda: site.versions()["gold_incidents"] > 0, "gold")
    assert ("success", "pipeline") in {
        (outcome.outcome, outcome.breaker) for outcome in breakers.outcomes(utc_now() - timedelta(hours=1))
    }


def observations(dev: DagsterDev) -> list[dict[str, str]]:
    query = """
        { assetOrError(assetKey: {path: ["circuit_breakers"]}) { ... on Asset { assetObservations(limit: 10) {
            metadataEntries { label ... on TextMetadataEntry { text } }
        } } } }
    """
    found = dev.ask(query)["assetOrError"].get("assetObservations", [])
    return [{entry["label"]: entry.get("text") for entry in shown["metadataEntries"]} for shown in found]


def materialize_bronze(site: Site) -> tuple[int, str]:
    process = site.start(*materialize("bronze_events"), dagster_home=False)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


@pytest.fixture
def terminals(tmp_path: Path) -> Site:
    """No daemon, no instance that stays; the landing folder is missing."""
    site = Site(tmp_path, ALERTS_BREAKER_RECOVERY_TIMEOUT_SECONDS="30", ALERTS_BREAKER_PROBE_LEASE_SECONDS="60")
    Path(site.settings.landing_dir).rmdir()
    return site


def test_three_failures_from_terminals_open_it_and_one_of_two_runs_is_the_probe(terminals: Site) -> None:
    for _ in range(3):
        code, said = materialize_bronze(terminals)
        assert code == 1
        assert "does not exist" in said
    code, said = materialize_bronze(terminals)
    assert code == 1
    assert "Circuit breaker pipeline is OPEN and refuses this run: 3 runs in a row failed" in said

    breakers = circuit_breakers(terminals.settings)
    (status,) = [breaker for breaker in breakers.all() if breaker.name == "pipeline"]
    assert status.retry_at is not None
    Path(terminals.settings.landing_dir).mkdir()
    time.sleep(max(0.0, (status.retry_at - utc_now()).total_seconds()))
    both = [terminals.start(*materialize("bronze_events"), dagster_home=False) for _ in range(2)]
    ends = [(process.communicate(timeout=300)[0], process.returncode) for process in both]

    steps = [step.cause for step in reversed(breakers.history("pipeline"))]
    assert steps == ["consecutive_failures", "probe_started", "probe_succeeded"]
    # The other one was refused, or came after the probe had closed the breaker.
    for said, code in ends:
        assert code == 0 or "is probing whether it can close" in said
    assert 0 in {code for _, code in ends}


def test_a_probe_that_is_killed_frees_the_way(terminals: Site) -> None:
    breakers = circuit_breakers(terminals.settings.model_copy(update={"breaker_recovery_timeout_seconds": 1}))
    Path(terminals.settings.landing_dir).mkdir()
    for number in range(3):
        breakers.record(f"run-{number}", "failure", ["pipeline"], reported_by="test")
    _await(lambda: breakers.peek(["pipeline"]) == ())
    # The probe waits for the table's lock, which is ours.
    with terminals.lakehouse.writing(BRONZE_EVENTS):
        probe = terminals.start(*materialize("bronze_events"), dagster_home=False)
        try:
            _await(lambda: breakers.history("pipeline")[0].cause == "probe_started")
            assert "is probing whether it can close" in str(breakers.peek(["pipeline"])[0])
        finally:
            os.killpg(probe.pid, signal.SIGKILL)
            probe.wait()

    (refusal,) = breakers.peek(["pipeline"])
    assert (refusal.state, refusal.probe_run_id) == ("OPEN", None)
    assert "its process has ended" in refusal.reason
    _await(lambda: breakers.peek(["pipeline"]) == ())
    code, said = materialize_bronze(terminals)
    assert code == 0, said
    causes = [step.cause for step in reversed(breakers.history("pipeline"))]
    assert causes == ["consecutive_failures", "probe_started", "probe_lost", "probe_started", "probe_succeeded"]


def _await(look: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.2)
