"""What is accepted without a judge is what the judge, and the oracle, would accept, with the same values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.resources.ingestion import plain_lines
from alert_assets.resources.lakehouse import records
from alert_assets.settings import load_settings
from alert_assets.transforms.plain_lines import PlainLines
from alert_assets_tests.oracle import reference
from alert_assets_tests.oracle.reference import Event
from alert_assets_tests.transforms.test_validate import (
    AWKWARD,
    EXCEPTIONS,
    NOW,
    RECORDS,
    SKEW_MINUTES,
    every_kind_of_line,
)

TIME = pa.timestamp("us", "UTC")
LINES = pa.schema([("raw", pa.string()), ("_source_file", pa.string()), ("_landed_at", TIME), ("_ingested_at", TIME)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PlainLines:
    folder = tmp_path_factory.mktemp("bronze")
    settings = load_settings(data_dir=folder, max_future_skew_minutes=SKEW_MINUTES)
    return plain_lines(settings, None, str(folder / "files"), 7)


def _table(lines: list[bytes]) -> pa.Table:
    """Lines as Spark hands them on: text whose bytes need not be UTF-8."""
    raw = pa.array(lines, pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    times = pa.array([NOW] * len(lines), TIME)
    return pa.table([texts, pa.array(["f"] * len(lines)), times, times], schema=LINES)


def _accepted(plain: PlainLines, lines: list[bytes]) -> list[dict[str, Any]]:
    accepted, others = plain.split(_table(lines))
    assert accepted.num_rows + others.num_rows == len(lines)
    return [{name: _plain_value(value) for name, value in row.items()} for row in records(accepted)]


def _plain_value(value: Any) -> Any:
    """Arrow hands back a map as a list of pairs."""
    return dict(value) if isinstance(value, list) else value


def _difference(line: bytes, row: dict[str, Any]) -> object:
    expected = reference.judge(line, NOW, SKEW_MINUTES)
    if not isinstance(expected, Event):
        return expected
    names = [name for name in vars(expected) if name != "rescued"]
    assert expected.rescued is None and row["_rescued"] is None
    return {
        name: (row[name], getattr(expected, name)) for name in names if row[name] != getattr(expected, name)
    } or None


def test_what_is_accepted_is_valid_to_the_oracle_and_has_its_values(plain: PlainLines) -> None:
    different, accepted = [], 0
    for line in every_kind_of_line():
        if line in EXCEPTIONS or len(line) > 100_000:
            continue
        for row in _accepted(plain, [line]):
            accepted += 1
            if (found := _difference(line, row)) is not None:
                different.append((line[:300], found))
    assert not different, f"{len(different)} of {accepted} accepted lines, as (got, expected): {different[:5]}"
    assert accepted > 250


@pytest.mark.parametrize("kind", ["alert", "metric", "deployment"])
def test_an_ordinary_line_is_accepted(plain: PlainLines, kind: str) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        (row,) = _accepted(plain, [json.dumps(RECORDS[kind], separators=separators).encode()])
        assert row["event_type"] == kind and row["_batch_id"] == 7 and row["_source_file"] == "f"
    assert list(row) == list(BRONZE_EVENTS.columns)


@pytest.mark.parametrize("name", [name for name, (_, reasons) in AWKWARD.items() if reasons != []])
def test_an_awkward_line_spoils_nothing_for_the_lines_around_it(plain: PlainLines, name: str) -> None:
    good = [json.dumps({**RECORDS["metric"], "event_id": f"m-{n}"}).encode() for n in range(3)]
    awkward = AWKWARD[name][0]
    accepted, others = plain.split(_table([good[0], awkward, good[1], awkward, good[2]]))
    passed_on = others["raw"].cast(pa.binary()).to_pylist()
    assert passed_on.count(awkward) == 2, "a line that is not valid is passed on as it came"
    # One Arrow does not take apart, such as one with a key that is there twice, takes its batch along to the judge.
    assert accepted.num_rows + len(passed_on) == 5 and accepted.num_rows in (0, 3)


#: Lines of every kind but the huge ones.
LINES_OF_ALL_KINDS = sorted({line for line in every_kind_of_line() if len(line) < 2_000} - EXCEPTIONS)


@given(st.lists(st.sampled_from(LINES_OF_ALL_KINDS), max_size=30))
def test_a_batch_accepts_no_line_that_is_not_accepted_alone(plain: PlainLines, lines: list[bytes]) -> None:
    alone = [row["event_id"] for line in lines for row in _accepted(plain, [line])]
    together = [row["event_id"] for row in _accepted(plain, lines)]
    assert together in (alone, [])


def test_a_partition_that_is_run_again_writes_the_same_file(plain: PlainLines) -> None:
    lines = [json.dumps({**RECORDS["metric"], "event_id": f"m-{n}"}).encode() for n in range(100)]
    batch = _table(lines).rename_columns(["raw", "path", "_landed_at", "_ingested_at"])
    once = [list(plain(batch.to_batches())), Path(plain.folder, "plain-00000.parquet").read_bytes()]
    again = [list(plain(batch.to_batches())), Path(plain.folder, "plain-00000.parquet").read_bytes()]
    assert once == again
    assert pq.read_metadata(Path(plain.folder, "plain-00000.parquet")).num_rows == 100
