"""A lake from landed lines to platinum without Spark: the oracle judges, collapses and correlates, delta-rs writes.

Commits carry what the pipeline's own carry (batch, cursors, figures of a landing batch, run), so that the checks
see the tables as they are in operation.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from alert_assets.analysis.refresh import refresh_platinum, refresh_platinum_problems
from alert_assets.breaker.rules import Rules
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.checks.evaluate import Evaluation, evaluate, record
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.lake.lakehouse import COMMIT_INFO, Lakehouse, cursor_app
from alert_assets.lake.snapshot import BATCH_APP
from alert_assets.state.database import State
from alert_assets.transforms.baselines import refresh_baselines
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets.transforms.problems import refresh_problems
from alert_assets_tests.oracle import reference
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from alert_assets.checks.check import Finding
    from alert_assets.settings import Settings

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LANDING_APP = "alert_assets/landing/q1"

Row = dict[str, Any]


def line(event_id: str, at: datetime | str | int, event_type: str = "log", **fields: Any) -> bytes:
    """One landed line."""
    timestamp = at.isoformat() if isinstance(at, datetime) else at
    known = {"event_id": event_id, "timestamp": timestamp, "event_type": event_type, "application_id": "payments"}
    return json.dumps(known | ({"log_level": "ERROR"} if event_type == "log" else {}) | fields).encode()


def alert(event_id: str, at: datetime, **fields: Any) -> bytes:
    known = {"alert_type": "cpu_high", "severity": "HIGH", "host": "host-a", "current_value": 91.5, "threshold": 80}
    return line(event_id, at, "alert", **known | fields)


def metric(event_id: str, at: datetime, **fields: Any) -> bytes:
    return line(event_id, at, "metric", **{"host": "host-a", **fields})


class Lake:
    """The tables in a folder of their own, and the state database beside them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lakehouse = Lakehouse(settings)
        self.breakers = CircuitBreakers(State(settings.state_url), Rules.of(settings), lambda: self.now)
        self.now = T0 + HOUR
        self.events: list[reference.Event] = []
        self._landed = 0

    def copy(self, settings: Settings) -> Lake:
        """The same tables in another place, where there are none."""
        shutil.copytree(self.settings.data_dir, settings.data_dir, dirs_exist_ok=True)
        other = Lake(settings)
        other.now, other.events, other._landed = self.now, list(self.events), self._landed
        return other

    # Writing

    def land(self, *lines: bytes, run_id: str = "r1", landed_at: datetime | None = None) -> None:
        """Publish one landing batch."""
        landed_at = landed_at or self.now
        events, broken, blank = reference.judge_all(lines, self.now, self.settings.max_future_skew_minutes)
        self.events += events
        about = {"_source_file": f"/landing/{self._landed}.jsonl", "_landed_at": landed_at}
        about["_ingested_at"] = self.now + timedelta(seconds=self._landed)
        app = {LANDING_APP: self._landed}
        info = {"batch": self._landed, "run_id": run_id}
        counts = {"lines": len(lines), "blank": blank, "quarantined": len(broken), "late": 0, "seconds": 0.1}
        self.commit(BRONZE_EVENTS, [_bronze_row(e) | about for e in events], app, {**counts, **info})
        if broken:
            rows = [{"raw": q.raw.decode(), "reasons": q.reasons, "contract_version": 1, **about} for q in broken]
            self.commit(BRONZE_QUARANTINE, rows, app, info)
        self._landed += 1

    def refresh(self, *, platinum: bool = True) -> None:
        """Silver and gold as they should be; analyses by rules."""
        silver = reference.silver(self.events, self.settings)
        bronze = {cursor_app(BRONZE_EVENTS): self.batch(BRONZE_EVENTS)}
        self._merge(SILVER_ALERTS, silver.values(), bronze)
        refresh_dependencies(self.lakehouse)
        refresh_baselines(self.lakehouse)
        gold = reference.gold(self.events, silver, self.settings)
        self._merge(GOLD_INCIDENTS, gold.values(), {cursor_app(SILVER_ALERTS): self.batch(SILVER_ALERTS), **bronze})
        refresh_problems(self.lakehouse, self.settings)
        if platinum:
            refresh_platinum(self.lakehouse, self.settings)
            refresh_platinum_problems(self.lakehouse, self.settings)

    def _merge(self, contract: Contract, rows: Iterable[Row], cursors: Mapping[str, int]) -> None:
        stored = {_key(row): row for row in self.rows(contract)}
        changed = [row for row in rows if _key(row) not in stored or stored[_key(row)] != {**stored[_key(row)], **row}]
        schema = [f for f in pa.schema(self.lakehouse.create(contract).schema().to_arrow()) if f.name != "_batch_id"]
        table = pa.Table.from_pylist(changed, pa.schema(schema))
        self.lakehouse.merge(contract, ("fingerprint", "window_start"), table, cursors)

    def commit(
        self,
        contract: Contract,
        rows: Sequence[Row],
        transactions: Mapping[str, int] | None = None,
        info: Mapping[str, Any] | None = None,
        *,
        mode: Any = "append",
    ) -> None:
        """Add rows as they are; a commit without rows has no `_batch_id`."""
        table = self.lakehouse.create(contract)
        batch_id = self.batch(contract) + 1
        moved = {**(transactions or {}), **({BATCH_APP: batch_id} if rows else {})}
        schema = pa.schema(table.schema().to_arrow())
        write_deltalake(
            table,
            pa.Table.from_pylist([{"_batch_id": batch_id, **row} for row in rows], schema),
            mode=mode,
            commit_properties=CommitProperties(
                custom_metadata={COMMIT_INFO: {**(info or {}), "rows": len(rows), "transactions": moved}},
                app_transactions=[Transaction(app, version) for app, version in moved.items()],
            ),
        )

    def change(self, contract: Contract, where: str, **values: str) -> None:
        """Set columns (SQL) of some rows behind everybody's back; their `_batch_id` stays."""
        table = self.lakehouse.table(contract)
        assert table is not None
        assert table.update(predicate=where, updates=values)["num_updated_rows"]

    # Reading

    def batch(self, contract: Contract) -> int:
        return self.lakehouse.snapshot(contract).last_batch_id

    def committed_at(self, contract: Contract) -> datetime:
        """When the table's last commit was made, by the clock of this machine."""
        table = self.lakehouse.table(contract)
        assert table is not None
        return datetime.fromtimestamp(table.history(1)[0]["timestamp"] / 1000, UTC)

    def rows(self, contract: Contract) -> list[Row]:
        return arrow_rows(self.lakehouse.rows(contract))

    def evaluate(self, contract: Contract, *names: str, full: bool = False) -> dict[str, Evaluation]:
        """Evaluations of the named checks of a table, or of all, written down as a run does."""
        _, checks = CHECKS[contract.name]
        wanted = [check for check in checks() if not names or check.name in names]
        done = list(evaluate(self.lakehouse, self.settings, self.breakers, contract, wanted, now=self.now, full=full))
        record(self.breakers.state, contract, done, at=self.now, run_id="checks")
        return {evaluation.check.name: evaluation for evaluation in done}

    def check(self, contract: Contract, name: str, *, full: bool = False) -> Finding:
        return self.evaluate(contract, name, full=full)[name].finding


def _key(row: Row) -> tuple[Any, ...]:
    return row["fingerprint"], row["window_start"]


def _bronze_row(event: reference.Event) -> Row:
    row = asdict(event)
    rescued = row.pop("rescued")
    return row | {"_rescued": rescued and json.dumps(rescued)}


def healthy(lake: Lake) -> Lake:
    """An hour of everything, up to platinum, with which every check is content."""
    lake.land(
        line("d1", T0, "deployment", deployment_id="D-1", version="v1", change_type="rolling_update"),
        *[line(f"l{i}", T0 + i * MINUTE, error_code="Timeout", host="host-a") for i in range(39)],
        line("c1", T0 + 39 * MINUTE, "dependency", depends_on="ledger", metrics={"requests": 5.0}),
        *[metric(f"m{i}", T0 + i * MINUTE, cpu_percent=50.0 + i % 7, metrics={"ops": float(i)}) for i in range(40)],
        *[alert(f"a{i}", T0 + 30 * MINUTE + i * MINUTE) for i in range(8)],
        alert("r1", T0 + 36 * MINUTE, status="resolved"),
        alert("b1", T0 + 20 * MINUTE, host="host-b", alert_type="memory_high", severity="CRITICAL"),
        line("bad", T0, log_level="LOUD"),
        b"",
    )
    lake.now = T0 + 41 * MINUTE
    lake.refresh()
    return lake
