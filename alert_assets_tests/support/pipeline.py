"""Landing to gold in a folder of its own, and its tables as plain Python: what the tests drive and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
    Contract,
)
from alert_assets.ingest.query import IngestReport, ingest
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.transforms.baselines import refresh_baselines
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets.transforms.gold import refresh_gold
from alert_assets.transforms.problems import refresh_problems
from alert_assets.transforms.silver import refresh_silver

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import SparkSession

    from alert_assets.settings import Settings
    from alert_assets.transforms.refresh import Refresh

#: The tables up to gold.
TABLES = (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    SILVER_ALERTS,
    SILVER_DEPENDENCIES,
    SILVER_BASELINES,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
)

Row = dict[str, Any]


class Pipeline:
    """One landing zone and its tables."""

    def __init__(self, settings: Settings, spark: Callable[[], SparkSession]) -> None:
        self.settings = settings
        self.lakehouse = Lakehouse(settings)
        self.log: list[str] = []
        self.spark = spark

    @property
    def landing(self) -> Path:
        return Path(self.settings.landing_dir)

    def land(self, name: str, *lines: bytes) -> Path:
        """Put a whole file with these lines into the landing zone."""
        path = self.landing / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    def ingest(self) -> IngestReport:
        return ingest(self.spark, self.lakehouse, self.settings, self.log.append)

    def refresh_silver(self, *, full_refresh: bool = False) -> Refresh:
        return refresh_silver(self.spark, self.lakehouse, self.settings, full_refresh=full_refresh)

    def refresh_gold(self, *, full_refresh: bool = False) -> Refresh:
        return refresh_gold(self.spark, self.lakehouse, self.settings, full_refresh=full_refresh)

    def run(self) -> IngestReport:
        """What has landed, all the way to gold."""
        report = self.ingest()
        self.refresh_silver()
        refresh_dependencies(self.lakehouse)
        refresh_baselines(self.lakehouse)
        self.refresh_gold()
        refresh_problems(self.lakehouse, self.settings)
        return report

    def rows(self, contract: Contract) -> list[Row]:
        """A table's rows; maps are dicts."""
        return arrow_rows(self.lakehouse.rows(contract))

    def by_key(self, contract: Contract, *, without: tuple[str, ...] = ("_batch_id",)) -> dict[tuple[Any, ...], Row]:
        """A table's rows by the contract's key, which must be unique."""
        rows = self.rows(contract)
        found = {
            tuple(row[name] for name in contract.key): {name: row[name] for name in row if name not in without}
            for row in rows
        }
        assert len(found) == len(rows), f"{contract.name} has two rows for one key"
        return found

    def versions(self) -> dict[str, int]:
        """The Delta version of each table; -1 for one that is not there."""
        return {contract.name: self.lakehouse.snapshot(contract).version for contract in TABLES}


def arrow_rows(table: pa.Table) -> list[Row]:
    """An Arrow table as dicts, its maps as dicts too (Arrow gives lists of pairs)."""
    maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
    rows: list[Row] = table.to_pylist()
    for row in rows:
        row.update({name: dict(row[name]) for name in maps if row[name] is not None})
    return rows
