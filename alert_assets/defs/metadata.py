"""What every asset says of itself: how it is described before a run, and what a run reports of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import dagster as dg

from alert_assets.contracts import EVENT, Contract
from alert_assets.contracts.lineage import ColumnRef, Lineage
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import escape_invisible
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.snapshot import Snapshot
from alert_assets.logs import run_log
from alert_assets.settings import load_settings

#: The asset that stands for the folder where producers put their events.
LANDING_ZONE_ASSET = "landing_zone"

#: Most of one text that is shown; a line of a log may be as long as its writer likes.
_TEXT = 500


def described(contract: Contract, *kinds: str, group: str | None = None) -> dict[str, Any]:
    """Arguments of `dg.asset` and `dg.AssetSpec` that come from the table's contract."""
    limit = timedelta(minutes=contract.freshness_minutes)
    return {
        "key": contract.name,
        "description": contract.description,
        "group_name": group or contract.name.partition("_")[0],
        "owners": [contract.owner],
        "kinds": {"deltalake", *kinds},
        # About runs, not rows: how long ago the asset was last brought up to date. The check `freshness` is about rows.
        "freshness_policy": dg.FreshnessPolicy.time_window(fail_window=2 * limit, warn_window=limit),
        "metadata": {
            "contract_version": contract.version,
            "key": ", ".join(contract.key) or "none",
            "consumers": ", ".join(contract.consumers),
            **column_lineage(contract),
        },
    }


def column_lineage(contract: Contract) -> dict[str, dg.TableColumnLineage]:
    """What the UI draws of the columns that a table's columns are made of or chosen by; empty where there are none."""
    deps = {
        name: [dg.TableColumnDep(asset_key=_asset(ref.table), column_name=ref.column) for ref in sources]
        for name in contract.columns
        if (sources := _lineage().into(ColumnRef(contract.name, name)))
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)} if deps else {}


@cache
def _lineage() -> Lineage:
    return Lineage(load_settings().dedup_fields)


def _asset(table: str) -> str:
    """The asset that a table of the catalog is: events are what lies in the landing zone."""
    return LANDING_ZONE_ASSET if table == EVENT.name else table


def table_metadata(run_id: str, lakehouse: Lakehouse, contract: Contract, **numbers: Any) -> dict[str, Any]:
    """Metadata of a materialization: the table as it is now, and the run's own numbers, which are logged too."""
    log, snapshot = run_log(run_id, table=contract.name), lakehouse.snapshot(contract)
    log.info("table_refreshed", **numbers)
    if numbers.get("rows_out"):
        before = snapshot.last_batch_id - (numbers.get("batches") or 1)
        log.info("table_nulls", null_percent=snapshot.null_percent(newer_than=before))
    found: dict[str, Any] = {
        "dagster/uri": lakehouse.uri(contract),
        "dagster/table_name": contract.name,
        "dagster/row_count": snapshot.row_count,
        "delta_version": snapshot.version,
        **column_lineage(contract),
        **_newest_row(snapshot),
        **numbers,
    }
    if snapshot.table is not None:
        found["dagster/column_schema"] = _column_schema(snapshot.table.schema().fields)
    return found


def _newest_row(snapshot: Snapshot) -> dict[str, Any]:
    """When the newest row is from, and as a number that the UI plots how old it is; nothing of an empty table."""
    column = snapshot.contract.newest_column
    newest = snapshot.newest(column) if column else None
    if newest is None:
        return {}
    minutes = (utc_now() - newest).total_seconds() / 60
    return {"newest_row_at": dg.MetadataValue.timestamp(newest), "newest_row_age_minutes": round(minutes, 2)}


def rows_shown(rows: Iterable[Mapping[str, Any]], *columns: str) -> dg.TableMetadataValue:
    """Some columns of some rows, as the table that the UI shows."""

    def cell(value: Any) -> str | int | float:
        value = plain(value)
        return value if isinstance(value, (int, float)) else "" if value is None else str(value)

    return dg.MetadataValue.table(
        [dg.TableRecord({name: cell(row.get(name)) for name in columns}) for row in rows],
        dg.TableSchema([dg.TableColumn(name) for name in columns]),
    )


def plain(value: Any) -> Any:
    """A value as JSON has it; text from outside is cut, and cannot steer the terminal or page that shows it."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, str):
        return escape_invisible(value if len(value) <= _TEXT else f"{value[: _TEXT - 1]}…")
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if hasattr(value, "isoformat"):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value


def _column_schema(fields: Any) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(field.name, _type_name(field.type), description=(field.metadata or {}).get("comment"))
            for field in fields
        ]
    )


def _type_name(dtype: Any) -> str:
    """Delta's name of a type, e.g. `map<string, long>`."""
    name = type(dtype).__name__
    if name == "MapType":
        return f"map<{_type_name(dtype.key_type)}, {_type_name(dtype.value_type)}>"
    if name == "ArrayType":
        return f"array<{_type_name(dtype.element_type)}>"
    if name == "StructType":
        return f"struct<{', '.join(f'{field.name}: {_type_name(field.type)}' for field in dtype.fields)}>"
    return str(dtype.type)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Show an error that the user can put right as its message, and Spark's by what it begins with.

    Spark's messages go on with query plans and the server's stack trace; those stay in the cause.
    """
    try:
        yield
    except UserError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except Exception as error:
        if not type(error).__module__.startswith("pyspark."):
            raise
        if "UNAUTHENTICATED" in str(error):
            raise dg.Failure(
                description="The Spark server refuses the token. Set SPARK_CONNECT_AUTHENTICATE_TOKEN to the server's; "
                "without TLS it is sent only to the name `localhost`.",
                allow_retries=False,
            ) from error
        if "UNAVAILABLE" in str(error):
            raise dg.Failure(
                description="The Spark server stopped answering. Nothing half-done is visible; run again: "
                "a local server is started anew."
            ) from error
        raise dg.Failure(description=f"Spark failed: {str(error).splitlines()[0][:2000]}") from error


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return round(time.monotonic() - self._start, 3)


def percent(part: int, whole: int) -> float:
    """A share in percent; 0 of nothing is 0."""
    return round(100.0 * part / whole, 4) if whole else 0.0
