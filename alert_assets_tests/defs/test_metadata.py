"""What the UI is given to show."""

from __future__ import annotations

from datetime import UTC, datetime

from alert_assets.defs.metadata import rows_shown


def test_rows_are_a_table_whose_text_steers_nothing() -> None:
    row = {
        "at": datetime(2026, 2, 14, tzinfo=UTC),
        "host": "a\x1b[2Jb\u202e",
        "summary": "x" * 2_000,
        "value": 92.5,
        "none": None,
        "not shown": 1,
    }
    shown = rows_shown([row], "at", "host", "summary", "value", "none")
    (record,) = [record.data for record in shown.records]
    assert [column.name for column in shown.schema.columns] == ["at", "host", "summary", "value", "none"]
    assert record["at"] == "2026-02-14T00:00:00.000000Z"
    assert record["host"] == "a\\u{001b}[2Jb\\u{202e}"
    assert len(str(record["summary"])) == 500
    assert (record["value"], record["none"]) == (92.5, "")


def test_no_rows_are_an_empty_table() -> None:
    assert rows_shown([], "host").records == []
