"""What another process does while a table is compacted. Multiprocessing finds it by its name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from alert_assets.contracts import BRONZE_EVENTS, Contract
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.commands.lake import T0, Row, event

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def append(lakehouse: Lakehouse, contract: Contract, *rows: Row) -> None:
    """One commit of rows, but for their `_batch_id`."""
    columns = [f for f in pa.schema(lakehouse.create(contract).schema().to_arrow()) if f.name != "_batch_id"]
    lakehouse.append(contract, pa.Table.from_pylist(list(rows), pa.schema(columns)))


def append_events(settings: Settings, count: int) -> None:
    """So many commits of one event each."""
    lakehouse = Lakehouse(settings)
    for number in range(count):
        append(lakehouse, BRONZE_EVENTS, event(number, timestamp=T0 + timedelta(seconds=number)))
