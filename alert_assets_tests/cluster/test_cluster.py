"""The pipeline against a cluster: `SPARK_REMOTE` is set, and nothing else changes.

The tables are the oracle's, and the work was done by executors on both workers.
"""

from __future__ import annotations

import ipaddress
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from pyspark.errors.exceptions.connect import SparkConnectGrpcException
from pyspark.sql.connect.client import SparkConnectClient

from alert_assets_tests.cluster.standalone import Cluster, await_, spark_cluster
from alert_assets_tests.oracle.comparison import assert_same_bronze, assert_same_tables, cut, expected_of, make_lines
from alert_assets_tests.oracle.generate import write_files
from alert_assets_tests.support.dagster_site import Site, ended_well, kill, materialize
from alert_assets_tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TO_GOLD = "+gold_incidents"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with spark_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def site(tmp_path: Path, cluster: Cluster) -> Site:
    # A batch of generated lines may be worse than what people let pass, and is small enough to be taken without Spark.
    engines = {"ALERTS_LANDING_ENGINE": "spark", "ALERTS_REFRESH_ENGINE": "spark"}
    how = {"ALERTS_GATE_MAX_QUARANTINE_PERCENT": "100", "ALERTS_MAX_FILES_PER_TRIGGER": "4"}
    return Site(tmp_path, **cluster.variables, **engines, **how)


def assert_tables_are_the_oracles(site: Site, lines: list[bytes]) -> None:
    def no_session() -> Any:
        raise AssertionError("the tables are read without Spark")

    pipeline = Pipeline(site.settings, no_session)
    expected = expected_of(lines, site.settings)
    assert len(expected.gold) > 50
    assert_same_bronze(pipeline, expected)
    assert_same_tables(pipeline, expected)


def land(site: Site, folder: str, lines: list[bytes], rng: random.Random) -> None:
    """Put lines into the landing zone, in enough files for both workers."""
    landing = Path(site.settings.landing_dir) / folder
    write_files(lines[: len(lines) // 2], landing, rng, max_files=3, gzip_share=0.4)
    write_files(lines[len(lines) // 2 :], landing, rng, max_files=3, gzip_share=0.4)


def test_nothing_of_the_cluster_can_be_reached_from_another_machine(cluster: Cluster) -> None:
    listening = {
        connection.laddr.ip
        for process in cluster.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert all(is_loopback(address) for address in listening), listening


def test_nobody_gets_in_without_the_token(cluster: Cluster) -> None:
    client = SparkConnectClient(f"{cluster.variables['SPARK_REMOTE']}/;token=another")
    try:
        with pytest.raises(SparkConnectGrpcException, match="Invalid authentication token"):
            client.get_config_dict("spark.master")
    finally:
        client._channel.close()


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def test_what_both_workers_did_in_two_runs_is_what_the_oracle_says(site: Site, cluster: Cluster) -> None:
    rng = random.Random(1)
    lines = make_lines(41, 900)
    # In any order: what comes second is new evidence for incidents that are there, and late.
    for number, batch in enumerate(cut(rng.sample(lines, len(lines)), rng, 2)):
        land(site, f"{number}", batch, rng)
        before = cluster.tasks()
        site.materialize(TO_GOLD)
        done = {place: tasks - before[place] for place, tasks in cluster.tasks().items()}
        assert done["driver"] == 0, done
        assert 0 < sum(done.values()) / 4 <= min(done["worker-a"], done["worker-b"]), done
    assert_tables_are_the_oracles(site, lines)


# The last one: what it kills stays dead.
def test_one_worker_finishes_what_two_began(site: Site, cluster: Cluster) -> None:
    lines = make_lines(42, 900)
    land(site, "all", lines, random.Random(2))
    before = cluster.tasks()

    run = site.start(*materialize(TO_GOLD))
    try:
        await_(lambda: cluster.tasks()["worker-b"] > before["worker-b"] + 2, "tasks on both workers")
        assert run.poll() is None
        cluster.kill_worker("worker-b")
        at_death = cluster.tasks()
        output = ended_well(run)
    finally:
        kill(run)

    assert "RUN_SUCCESS" in output
    after = cluster.tasks()
    assert after["worker-b"] == at_death["worker-b"]
    assert after["worker-a"] > at_death["worker-a"] + 2
    assert cluster.executors() == {"worker-a"}
    assert_tables_are_the_oracles(site, lines)
