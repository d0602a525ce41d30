"""Everything in an object store, without Spark: from landing to the webhook, killed with SIGKILL on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    CONTRACTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    SILVER_ALERTS,
)
from alert_assets.ingest.landing import backlog
from alert_assets.ingest.query import ingest
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.filesystems import filesystem_of
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings, load_settings
from alert_assets_tests.crash import victim
from alert_assets_tests.ingest.test_without_spark import no_spark
from alert_assets_tests.notify.channels.service import answer, running
from alert_assets_tests.support.dagster_site import ROOT
from alert_assets_tests.support.object_store import bucket, s3_endpoint
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bucket", "s3_endpoint"]


@pytest.fixture
def settings(bucket: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """All in one bucket, the state in PostgreSQL; no Spark is to be had."""
    (tmp_path / "routing.yaml").write_text("routes:\n  - {name: everything, add: {webhook: []}}\n")
    for name, value in {
        "ALERTS_DATA_DIR": str(tmp_path / "data"),
        "ALERTS_STATE_URL": postgres_url,
        "ALERTS_ROUTING_FILE": str(tmp_path / "routing.yaml"),
        "ALERTS_GATE_MAX_QUARANTINE_PERCENT": "100",
        **{f"ALERTS_{name.upper()}_DIR": f"{bucket}/{name}" for name in ("landing", "lake", "checkpoint", "archive")},
        "JAVA_HOME": str(tmp_path / "no java"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return load_settings()


def land(settings: Settings, name: str) -> None:
    """Land an alert of now and a line for quarantine."""
    fields = {"event_type": "alert", "application_id": "payments-api", "host": "a", "severity": "CRITICAL"}
    event = {"event_id": name, "alert_type": name, "timestamp": utc_now().isoformat(), **fields}
    filesystem, root = filesystem_of(settings.landing_dir)
    with filesystem.open_output_stream(f"{root}/{name}.jsonl") as stream:
        stream.write(json.dumps(event).encode() + b"\nno event\n")


def objects(location: str) -> list[str]:
    from pyarrow import fs

    filesystem, root = filesystem_of(location)
    found = filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    return sorted(info.path[len(root) + 1 :] for info in found if info.is_file)


def ingest_until_killed(moment: str, table: str) -> None:
    """Ingest in a process that is killed before or after the commit of a table."""
    orders = {
        "settings": {},
        "kill": {"victim": "pipeline", "moment": moment, "step": "commit", "table": table},
        "steps": ["ingest"],
    }
    command = [sys.executable, victim.__file__, json.dumps(orders)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_in_an_object_store_survives_sigkill(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch is killed before bronze's commit, and the second between those of bronze and quarantine."""
    land(settings, "first")
    ingest_until_killed("before", "bronze_events")
    lakehouse = Lakehouse(settings)
    assert lakehouse.rows(BRONZE_EVENTS).num_rows == 0
    assert [path for path in objects(settings.lake_dir) if path.startswith("bronze_events/data/")]  # staged
    ingest(no_spark, lakehouse, settings, print)
    assert lakehouse.rows(BRONZE_EVENTS).num_rows == 1
    land(settings, "second")
    ingest_until_killed("after", "bronze_events")
    assert (lakehouse.rows(BRONZE_EVENTS).num_rows, lakehouse.rows(BRONZE_QUARANTINE).num_rows) == (2, 1)

    with running(lambda _: answer(200)) as service:
        command = [sys.executable, "-m", "alert_assets.cli", "run", "--select", ",".join(CONTRACTS)]
        environment = os.environ | service.variables
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        titles = [request.json["alert"]["title"] for request in service.requests]

    for table in (SILVER_ALERTS, GOLD_INCIDENTS):
        assert sorted(row["alert_type"] for row in arrow_rows(lakehouse.rows(table))) == ["first", "second"], table.name
    assert lakehouse.rows(BRONZE_EVENTS).num_rows == lakehouse.rows(PLATINUM_INCIDENTS).num_rows == 2
    assert [row["raw"] for row in arrow_rows(lakehouse.rows(BRONZE_QUARANTINE))] == ["no event"] * 2
    (problem,) = arrow_rows(lakehouse.rows(GOLD_PROBLEMS))
    assert len(problem["incident_ids"]) == 2
    assert any("payments-api" in title for title in titles), titles
    assert not backlog(settings)
    assert [path.rpartition("/")[2] for path in objects(settings.archive_dir)] == ["first.jsonl", "second.jsonl"]
    assert objects(settings.landing_dir) == []


def test_of_two_first_commits_one_is_refused(bucket: str) -> None:
    """By If-None-Match: the second of two that make the same version finds it there, and no lock table is needed."""
    import pyarrow as pa

    uri = f"{bucket}/table"
    write_deltalake(uri, pa.table({"a": [0]}))
    one, other = DeltaTable(uri), DeltaTable(uri)
    one.delete("a = 0")
    with pytest.raises(CommitFailedError):
        other.delete("a = 0")
    assert DeltaTable(uri).version() == 1
