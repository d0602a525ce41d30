"""No page about the pipeline when only its producers are quiet, or what they landed was old; real tables and runs."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from sqlalchemy import select

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, PIPELINE_LATENCY, SLO_STATUS, Contract
from alert_assets.defs.reliability import assets
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, cursor_app, records
from alert_assets.settings import Settings
from alert_assets.state.tables import outbox
from alert_assets_tests.commands.lake import event, incident
from alert_assets_tests.conftest import settings_in

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
FEBRUARY = datetime(2026, 2, 14, 10, tzinfo=UTC)
FRESHNESS = ("bronze-freshness", "gold-freshness")
LATENCY = ("event-to-bronze-latency", "event-to-gold-latency", "landed-to-bronze-latency", "ingested-to-bronze-latency")


class Machine:
    """A lake, and the reliability assets at any time."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, clock: pytest.MonkeyPatch) -> None:
        self.settings, self.instance, self._clock = settings, instance, clock
        self.lakehouse = Lakehouse(settings)
        self.breakers = circuit_breakers(settings)

    def land(self, *at: datetime, waited: timedelta = SECOND, **fields: Any) -> None:
        """Alerts of these times land and go to bronze and gold at once."""
        landed = utc_now() - waited
        about = {"_landed_at": landed, "_ingested_at": landed, "event_type": "alert", **fields}
        alerts = [event(n, alert_id=f"a{n}", timestamp=moment, **about) for n, moment in enumerate(at)]
        self.lakehouse.append(BRONZE_EVENTS, self._arrow(BRONZE_EVENTS, alerts))
        times = ("first_seen_timestamp", "last_seen_timestamp", "alert_timestamp", "window_start")
        found = [incident(n, **dict.fromkeys(times, moment)) for n, moment in enumerate(at)]
        cursor = {cursor_app(BRONZE_EVENTS): self.lakehouse.snapshot(BRONZE_EVENTS).last_batch_id}
        key = ("fingerprint", "window_start")
        self.lakehouse.merge(GOLD_INCIDENTS, key, self._arrow(GOLD_INCIDENTS, found), cursor)

    def _arrow(self, contract: Contract, rows: list[dict[str, Any]]) -> pa.Table:
        schema = pa.schema(self.lakehouse.create(contract).schema().to_arrow())
        return pa.Table.from_pylist(rows, pa.schema([field for field in schema if field.name != "_batch_id"]))

    def measure(self, now: datetime) -> dict[str, dict[str, Any]]:
        """Materialize the reliability assets at a time; the SLOs by name."""
        self._clock.setattr(assets, "utc_now", lambda: now)
        resources = {"settings": self.settings, "lakehouse": self.lakehouse, "breakers": self.breakers}
        assert dg.materialize(assets.ASSETS, instance=self.instance, resources=resources).success
        newest = "SELECT * FROM t WHERE evaluated_at = (SELECT max(evaluated_at) FROM t)"
        return {row["slo"]: row for row in records(self.lakehouse.rows(SLO_STATUS, newest))}

    def stages(self) -> dict[str, list[int]]:
        """The counted rows of each measured commit, by stage."""
        found: dict[str, list[int]] = {}
        for row in records(self.lakehouse.rows(PIPELINE_LATENCY, "SELECT * FROM t ORDER BY stage, table_version")):
            found.setdefault(row["stage"], []).append(row["row_count"])
        return found

    def pages(self) -> list[str]:
        """Subjects of the P1 and P2 alerts in the outbox."""
        with self.breakers.state.reading() as connection:
            urgent = outbox.c.severity.in_(["CRITICAL", "HIGH"])
            return [str(subject) for subject in connection.scalars(select(outbox.c.subject).where(urgent))]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Machine(settings_in(tmp_path / "data"), instance, monkeypatch)


def test_old_sample_data_on_a_fresh_machine_burns_nothing(machine: Machine) -> None:
    machine.land(*(FEBRUARY + n * MINUTE for n in range(200)))
    for later in (timedelta(), 30 * MINUTE, 55 * MINUTE):
        slos = machine.measure(utc_now() + later)
        assert {row["state"] for row in slos.values()} == {"warming_up", "no_data"}
        assert {slos[name]["state"] for name in (*FRESHNESS, *LATENCY)} == {"no_data"}
        assert all(row["budget_left_percent"] is None and row["burn_rates"] == [] for row in slos.values())
    for later in (HOUR + MINUTE, 2 * HOUR, timedelta(days=1)):
        slos = machine.measure(utc_now() + later)
        assert {row["severity"] for row in slos.values()} == {None}, slos
        assert {slos[name]["state"] for name in (*FRESHNESS, *LATENCY)} == {"no_data"}
    assert machine.pages() == []


def test_what_lands_late_counts_and_what_was_old_does_not(machine: Machine) -> None:
    now = utc_now()
    # The pipeline was down for three hours: fresh when it landed.
    machine.land(now - 3 * HOUR - MINUTE, now - 3 * HOUR, waited=3 * HOUR - MINUTE)
    machine.land(FEBRUARY, now - 2 * MINUTE)
    machine.measure(now)
    assert machine.stages() == {stage: [2, 1] for stage in machine.stages()}
    assert len(machine.stages()) == 4


@pytest.mark.slow
def test_sample_data_simulate_then_nothing_pages_nobody(machine: Machine) -> None:
    machine.land(*(FEBRUARY + n * MINUTE for n in range(50)))
    for _ in range(3):
        machine.land(*(utc_now() - n * SECOND for n in range(40)))
    for minutes in (0, 5, 11, 20, 45, 61, 90, 180, 24 * 60):
        slos = machine.measure(utc_now() + minutes * MINUTE)
        assert {row["severity"] for row in slos.values()} == {None}, (minutes, slos)
    assert machine.pages() == []
    # Fresh for 10 and 15 minutes; the time without news is not held against the pipeline.
    assert [slos[name]["achieved_percent"] for name in FRESHNESS] == [100, 100]


def test_a_file_that_waits_is_the_pipelines_business(machine: Machine) -> None:
    """Against the tests above: what has landed and is not taken up burns, and is notified."""
    machine.land(*(utc_now() - n * SECOND for n in range(40)))
    waiting = Path(machine.settings.landing_dir) / "waiting.jsonl"
    waiting.touch()
    broken = Path(machine.settings.landing_dir) / "broken.jsonl.gz"
    broken.write_bytes(b"\x1f\x8b")
    os.utime(broken, (0, 0))
    slos = machine.measure(utc_now() + 2 * HOUR)
    for name, fresh in zip(FRESHNESS, (10, 15), strict=True):
        assert (slos[name]["state"], slos[name]["severity"]) == ("burning", "CRITICAL")
        assert (slos[name]["good"], slos[name]["total"]) == pytest.approx((fresh, 120), abs=0.5)
    assert sorted(machine.pages()) == [f"SLO {name} burns its error budget" for name in FRESHNESS]
