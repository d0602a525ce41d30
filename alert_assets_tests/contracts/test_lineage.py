"""Column lineage is whole: what it names is there, and each column of a computed table says what it is made of."""

from __future__ import annotations

import pytest

from alert_assets.contracts import ALL_CONTRACTS, CONTRACTS, EVENT
from alert_assets.contracts.lineage import ROWS, ColumnRef, Lineage

LINEAGE = Lineage(("application_id", "labels.team"))
#: What the pipeline, the clock or a person writes, and no column of a table before.
FROM_NOTHING = {
    "contract_version", "raw", "raw_bytes", "reasons", "replayed_at", "measure",
    "model", "prompt_version", "analyzed_at", "prompt_tokens", "completion_tokens", "error", "attempts",
}  # fmt: skip


@pytest.mark.parametrize("table", ALL_CONTRACTS)
def test_every_column_that_is_named_is_there_in_a_table_before(table: str) -> None:
    before = list(ALL_CONTRACTS)[: list(ALL_CONTRACTS).index(table)]
    for edge in LINEAGE.edges[table]:
        assert edge.source.table in before
        assert edge.source.column in {ROWS, *ALL_CONTRACTS[edge.source.table].columns}
        assert edge.target.column in {ROWS, *ALL_CONTRACTS[table].columns}


@pytest.mark.parametrize("table", CONTRACTS)
def test_every_column_says_what_it_is_made_of(table: str) -> None:
    silent = {name for name in CONTRACTS[table].columns if not LINEAGE.into(ColumnRef(table, name))}
    assert {name for name in silent if not name.startswith("_")} <= FROM_NOTHING


def test_fingerprints_are_made_of_the_fields_of_the_settings() -> None:
    (app, labels) = LINEAGE.into(ColumnRef("silver_alerts", "fingerprint"))
    assert (app.column, labels.column) == ("application_id", "labels")


def test_events_are_where_all_begins() -> None:
    assert LINEAGE.edges[EVENT.name] == ()
    assert LINEAGE.into(ColumnRef("bronze_events", "host")) == (ColumnRef("event", "host"),)
