"""Schema evolution: bring a table that an older contract made up to date, or refuse with a remedy that works.

Storage is nullable throughout (:func:`alert_assets.contracts.columns.delta_schema`), and every reader takes a column
that a file does not have for null: Spark by the contract's schema, delta-rs by the table's. So a nullable column is
added to the log alone, and only what is written from then on fills it. A required column cannot be added like this,
for the rows that are there have no value; `_batch_id` can, since these rows were all written by now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deltalake import CommitProperties, DeltaTable, QueryBuilder, Schema, write_deltalake
from deltalake.exceptions import DeltaError

from alert_assets.contracts.columns import delta_schema
from alert_assets.contracts.drift import schema_drift
from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from alert_assets.contracts import Contract
    from alert_assets.contracts.drift import Drift

#: Features of Delta's reader protocol that change the log or the types, and not what a Parquet file of the table says.
_HARMLESS_FEATURES = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})

#: The table property that turns a feature off.
_OFF = {
    "columnMapping": "delta.columnMapping.mode = none",
    "deletionVectors": "delta.enableDeletionVectors = false",
}

#: Key of a rebuild's figures in its commit. Not that of our own commits, which bring rows.
_REBUILD_INFO = "alert_assets_rebuild"


class LakehouseError(UserError):
    """The lake cannot be read or written as asked; the message says what to do."""


def stored_schema(contract: Contract) -> Schema:
    """Return the schema of a table that is made from the contract."""
    return Schema.from_json(delta_schema(contract.columns))


def foreign_feature(table: DeltaTable) -> str | None:
    """Return why the table's Parquet files do not say what its rows are, and the remedy; None when they do."""
    protocol, metadata = table.protocol(), table.metadata()
    features = {str(feature) for feature in protocol.reader_features or ()} - _HARMLESS_FEATURES
    if protocol.min_reader_version == 2 and metadata.configuration.get("delta.columnMapping.mode", "none") != "none":
        features.add("columnMapping")
    if metadata.partition_columns:
        return (
            f"{table.table_uri} has been partitioned by another program (by {', '.join(metadata.partition_columns)}); "
            "write it anew with that program without partitions, or restore the version before that"
        )
    if not features:
        return None
    named = ", ".join(sorted(features))
    off = "".join(f"set {_OFF[feature]}, " for feature in sorted(features) if feature in _OFF)
    return (
        f"{table.table_uri} has been altered by another program: its reader protocol has {named}, "
        f"and its files do not hold its rows as they are. Undo that with the program that did it ({off}write the files "
        "anew by REORG TABLE ... APPLY (PURGE), ALTER TABLE ... DROP FEATURE), or restore the version before that"
    )


#: What every table is to have. Statistics of all columns: by default a Delta writer keeps those of the first 32, and
#: `_batch_id`, by which readers pass over files, comes last. A checkpoint every ten commits: who opens a table reads
#: the commits after it, a third of a millisecond each.
PROPERTIES = {"delta.dataSkippingNumIndexedCols": "-1", "delta.checkpointInterval": "10"}


def require_readable(table: DeltaTable, contract: Contract) -> None:
    """Raise a :class:`LakehouseError` unless the table's files can be read as bare Parquet by the contract's schema."""
    if problem := foreign_feature(table):
        raise LakehouseError(f"{contract.name} cannot be read: {problem}.")
    if retyped := [drift for drift in schema_drift(contract, table.schema()) if drift.kind == "retyped"]:
        raise _refusal(contract, retyped)


def is_of_now(table: DeltaTable, contract: Contract) -> bool:
    """Whether there is nothing that :func:`evolve` would do to a table, or refuse."""
    there = PROPERTIES.items() <= table.metadata().configuration.items()
    return there and not schema_drift(contract, table.schema()) and foreign_feature(table) is None


def evolve(table: DeltaTable, contract: Contract, last_batch_id: int) -> DeltaTable:
    """Add the contract's new columns to a table; return it as it is then.

    Args:
        last_batch_id: the highest `_batch_id` that the table has given out: that of its rows where it has no such
            column yet.

    Raises:
        LakehouseError: a column was retyped or removed, or a required one is new.
    """
    if problem := foreign_feature(table):
        raise LakehouseError(f"{contract.name} cannot be written: {problem}.")
    drifts = schema_drift(contract, table.schema())
    missing = [drift.column for drift in drifts if drift.kind == "missing"]
    known = {"_batch_id": last_batch_id}
    refused = [
        drift
        for drift in drifts
        if drift.kind != "missing" or not (contract.columns[drift.column].nullable or drift.column in known)
    ]
    if refused:
        raise _refusal(contract, refused)
    if known.keys() & missing:
        return rebuild(table, contract, known)
    if missing:
        table.alter.add_columns([field for field in stored_schema(contract).fields if field.name in missing])
    if not PROPERTIES.items() <= table.metadata().configuration.items():
        table.alter.set_table_properties(PROPERTIES)
    return table


def rebuild(table: DeltaTable, contract: Contract, values: Mapping[str, Any] | None = None) -> DeltaTable:
    """Write a table's rows anew with the contract's columns, in one commit; return the table as it is then.

    Columns that the contract does not have are dropped, retyped ones cast. Rows keep their `_batch_id`.

    Args:
        values: of columns that the table does not have; the others are null.

    Raises:
        LakehouseError: a value does not fit its column's new type.
    """
    import pyarrow as pa

    schema = pa.schema(stored_schema(contract).to_arrow())
    rows = pa.RecordBatchReader.from_stream(QueryBuilder().register("t", table).execute("SELECT * FROM t"))
    refused: list[LakehouseError] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in rows:
                yield shaped(batch, schema, values)
        except LakehouseError as error:
            # delta-rs, which pulls the batches, raises one of its own instead.
            refused.append(error)
            raise

    try:
        write_deltalake(
            table,
            pa.RecordBatchReader.from_batches(schema, batches()),
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=CommitProperties(custom_metadata={_REBUILD_INFO: {"contract_version": contract.version}}),
        )
    except DeltaError:
        if not refused:
            raise
        raise refused[0] from None
    return table


def shaped(rows: Any, schema: pa.Schema, values: Mapping[str, Any] | None = None) -> Any:
    """Return an Arrow batch or table with the schema's columns, order and types.

    Args:
        values: of columns that it does not have; the others are null.

    Raises:
        LakehouseError: a value does not fit its column's type.
    """
    import pyarrow as pa

    columns = []
    for field in schema:
        if field.name not in rows.schema.names:
            value = pa.scalar((values or {}).get(field.name), field.type)
            columns.append(pa.repeat(value, rows.num_rows))
            continue
        try:
            columns.append(rows[field.name].cast(field.type))
        except pa.ArrowException as error:
            raise LakehouseError(
                f"The values of {field.name} do not fit the contract's type {field.type}: {error}. Give the column of "
                "the new type another name in the contract, or mend the values, and run again."
            ) from error
    return type(rows).from_arrays(columns, schema=schema)


def _refusal(contract: Contract, drifts: list[Drift]) -> LakehouseError:
    said = {
        "retyped": "{0.column} is {0.found} in the table and {0.expected} in the contract",
        "unexpected": "{0.column} ({0.found}) is in the table and not in the contract",
        "missing": "{0.column} ({0.expected}) is new and required, and the rows that are there have no value",
    }
    if contract.is_merged:
        remedy = f"Rebuild it: materialize {contract.name} with `full_refresh: true` in the run config."
    elif any(drift.kind == "missing" for drift in drifts):
        remedy = "Declare the column nullable in the contract."
    else:
        remedy = (
            f"Write it anew with `alert-assets maintenance rebuild {contract.name}`, which casts retyped columns and "
            "drops removed ones, or take the contract's change back."
        )
    return LakehouseError(
        f"{contract.name} was made by another version of its contract: "
        f"{'; '.join(said[drift.kind].format(drift) for drift in drifts)}. {remedy}"
    )
