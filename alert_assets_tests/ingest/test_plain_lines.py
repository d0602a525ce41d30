"""What is accepted without a judge is what the judge, and the oracle, would accept, with the same values."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import BRONZE_EVENTS, EVENT
from alert_assets.ingest import plain_lines as sent_along
from alert_assets.ingest.contract_judge import plain_lines
from alert_assets.lake.lakehouse import records
from alert_assets.settings import load_settings
from alert_assets_tests.ingest.test_judge import (
    AWKWARD,
    NOW,
    RECORDS,
    SKEW_MINUTES,
    every_kind_of_line,
    generated_lines,
    judge_lines,
    lines_by_hand,
)
from alert_assets_tests.oracle import reference
from alert_assets_tests.oracle.reference import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alert_assets.ingest.plain_lines import PlainLines

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
    # Arrow hands back a map as a list of pairs.
    return [
        {
            name: dict(value) if name in ("labels", "metrics") and value is not None else value
            for name, value in row.items()
        }
        for row in records(accepted)
    ]


def _difference(line: bytes, row: dict[str, Any]) -> object:
    expected = reference.judge(line, NOW, SKEW_MINUTES)
    if not isinstance(expected, Event):
        return expected
    got = {**row, "rescued": json.loads(row["_rescued"] or "null"), "adapted": row["_adapted"]}
    return {name: (got[name], value) for name, value in vars(expected).items() if got[name] != value} or None


@pytest.mark.parametrize(
    ("lines", "at_least"), [(lines_by_hand, 75), pytest.param(generated_lines, 175, marks=pytest.mark.slow)]
)
def test_what_is_accepted_is_valid_to_the_oracle_and_has_its_values(
    plain: PlainLines, lines: Callable[[], list[bytes]], at_least: int
) -> None:
    different, accepted = [], 0
    for line in lines():
        for row in _accepted(plain, [line]):
            accepted += 1
            if (found := _difference(line, row)) is not None:
                different.append((line[:300], found))
    assert not different, f"{len(different)} of {accepted} accepted lines, as (got, expected): {different[:5]}"
    assert accepted > at_least


@pytest.mark.parametrize("kind", ["alert", "metric", "deployment"])
def test_an_ordinary_line_is_accepted(plain: PlainLines, kind: str) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        (row,) = _accepted(plain, [json.dumps(RECORDS[kind], separators=separators).encode()])
        assert row["event_type"] == kind
        assert row["_batch_id"] == 7
        assert row["_source_file"] == "f"
    assert list(row) == list(BRONZE_EVENTS.columns)


@pytest.mark.parametrize("kind", ["alert", "metric", "deployment"])
def test_a_member_that_is_null_is_as_absent(plain: PlainLines, kind: str) -> None:
    """Many producers write all members of all events: those lines are no slower to take."""
    absent = {name: None for name in EVENT.columns if name not in RECORDS[kind]}
    (row,) = _accepted(plain, [json.dumps(RECORDS[kind]).encode()])
    assert _accepted(plain, [json.dumps({**RECORDS[kind], **absent}).encode()]) == [row]
    needed = {**RECORDS[kind], "application_id": None}
    assert _accepted(plain, [json.dumps(needed).encode()]) == []


#: Values of fields that the contract does not know, as JSON, that are accepted here, and that are not.
SIMPLE = ('""', '"a b"', '"/x?y=z&<>\'"', '"~ !"', "0", "-7", "123456789012345678", "true", "false")
NOT_SO_SIMPLE = ('"\\n"', '"\\u0041"', '"é"', "1.50", "1e3", "-0", "12345678901234567890", "null", "{}", "[1]")


def _with_unknown(record: dict[str, Any], value: str, names: tuple[str, ...] = ("trace_id", "a.b-C")) -> bytes:
    return (json.dumps(record)[:-1] + "".join(f', "{name}": {value}' for name in names) + "}").encode()


@pytest.mark.parametrize("value", SIMPLE)
def test_a_line_with_simple_unknown_members_is_accepted(plain: PlainLines, value: str) -> None:
    (row,) = _accepted(plain, [_with_unknown(RECORDS["alert"], value)])
    assert json.loads(row["_rescued"]) == dict.fromkeys(("a.b-C", "trace_id"), json.loads(value))


@pytest.mark.parametrize("value", NOT_SO_SIMPLE)
def test_a_line_with_other_unknown_members_is_passed_on(plain: PlainLines, value: str) -> None:
    assert not _accepted(plain, [_with_unknown(RECORDS["alert"], value)])


def test_unknown_members_are_rescued_in_the_judges_words(
    plain: PlainLines,
) -> None:
    orders = [("trace_id", "a.b-C", "B_2"), ("B_2", "trace_id", "a.b-C")]
    lines = [
        _with_unknown({**RECORDS[kind], "event_id": f"{kind}{value}{names}"}, value, names)
        for names, value, kind in product(orders, SIMPLE, ("alert", "metric"))
    ]
    accepted = {row["event_id"]: row["_rescued"] for row in _accepted(plain, lines)}
    judged = {found.event["event_id"]: found.rescued for _, found in judge_lines(lines)}
    assert accepted == judged
    assert len(judged) == len(lines)


def test_a_known_member_of_the_wrong_type_is_no_unknown_one(plain: PlainLines) -> None:
    for member in ('"host": 17', '"threshold": "high"', '"labels": "none"', '"timestamp": "yesterday"'):
        record = {name: value for name, value in RECORDS["alert"].items() if f'"{name}"' not in member}
        line = json.dumps(record)[:-1] + f', {member}, "trace_id": "x"}}'
        assert not _accepted(plain, [line.encode()]), member


def test_what_an_unknown_member_stands_beside_keeps_its_value(plain: PlainLines) -> None:
    record = {
        **RECORDS["metric"],
        "cpu_percent": 1.10,
        "labels": {"é": '"a\\ \u2028', "b": ""},
        "metrics": {"x": -0.0, "y": 1e-7},
    }
    (alone,) = _accepted(plain, [json.dumps(record).encode()])
    (beside,) = _accepted(plain, [json.dumps({"trace_id": "t", **record}).encode()])
    assert beside == {**alone, "_rescued": '{"trace_id":"t"}'}


@pytest.mark.parametrize("name", [name for name, (_, reasons) in AWKWARD.items() if reasons != []])
def test_an_awkward_line_spoils_nothing_for_the_lines_around_it(plain: PlainLines, name: str) -> None:
    good = [json.dumps({**RECORDS["metric"], "event_id": f"m-{n}"}).encode() for n in range(3)]
    awkward = AWKWARD[name][0]
    accepted, others = plain.split(_table([good[0], awkward, good[1], awkward, good[2]]))
    passed_on = others["raw"].cast(pa.binary()).to_pylist()
    assert passed_on.count(awkward) == 2, "a line that is not valid is passed on as it came"
    # One Arrow does not take apart, such as one with a key that is there twice, takes a few along to the judge.
    assert accepted.num_rows + len(passed_on) == 5
    assert accepted.num_rows in (0, 3)


@pytest.mark.parametrize("surrogate", [b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80"])
@pytest.mark.parametrize("unknown", [{}, {"trace_id": "t"}])
def test_a_surrogate_in_bytes_is_no_text_beside_an_unknown_member_either(
    plain: PlainLines, surrogate: bytes, unknown: dict[str, str]
) -> None:
    good = json.dumps({**unknown, **RECORDS["metric"]}).encode()
    bad = json.dumps({**unknown, **RECORDS["metric"], "message": "MARK"}).encode().replace(b"MARK", surrogate)
    accepted, others = plain.split(_table([good, bad]))
    assert (accepted.num_rows, others["raw"].cast(pa.binary()).to_pylist()) == (1, [bad])


def test_a_number_that_python_does_not_read_is_passed_on(plain: PlainLines) -> None:
    line = json.dumps({"trace_id": "t", **RECORDS["metric"], "cpu_percent": "MARK"}).encode()
    line = line.replace(b'"MARK"', b"9" * 5_000)
    assert plain.split(_table([line]))[1]["raw"].to_pylist() == [line.decode()]


def test_a_line_that_arrow_does_not_take_apart_takes_only_a_few_along(plain: PlainLines) -> None:
    lines = [json.dumps({**RECORDS["metric"], "event_id": f"m-{n}"}).encode() for n in range(1_000)]
    lines[500] = lines[500][:-1] + b', "host": "again"}'
    accepted, others = plain.split(_table(lines))
    assert accepted.num_rows > 980
    assert accepted.num_rows + others.num_rows == 1_000
    assert accepted["event_id"].to_pylist() == sorted(accepted["event_id"].to_pylist(), key=lambda name: int(name[2:]))


#: Lines of every kind but the huge ones.
LINES_OF_ALL_KINDS = sorted({line for line in every_kind_of_line() if len(line) < 2_000})


@given(st.lists(st.sampled_from(LINES_OF_ALL_KINDS), max_size=30))
def test_a_batch_accepts_no_line_that_is_not_accepted_alone(plain: PlainLines, lines: list[bytes]) -> None:
    alone = [row["event_id"] for line in lines for row in _accepted(plain, [line])]
    together = [row["event_id"] for row in _accepted(plain, lines)]
    # Arrow may not take the batch apart; all of it is judged then.
    assert together == [name for name in alone if name in together]


def test_a_partition_that_is_run_again_writes_the_same_file(plain: PlainLines) -> None:
    lines = [json.dumps({**RECORDS["metric"], "event_id": f"m-{n}"}).encode() for n in range(100)]
    batch = _table(lines)
    once = [list(plain(batch.to_batches())), Path(plain.folder, "plain-00000.parquet").read_bytes()]
    again = [list(plain(batch.to_batches())), Path(plain.folder, "plain-00000.parquet").read_bytes()]
    assert once == again
    assert pq.read_metadata(Path(plain.folder, "plain-00000.parquet")).num_rows == 100


@pytest.mark.parametrize("bound", ["_ROW_GROUP", "_MOST_BYTES"])
def test_an_attempt_that_fails_leaves_no_file_and_one_beside_it_ends_in_one(
    plain: PlainLines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(sent_along, bound, 10)
    plain = replace(plain, folder=str(tmp_path / "files"))
    batches = _table([json.dumps({**RECORDS["metric"], "event_id": f"m-{n}"}).encode() for n in range(100)]).to_batches(
        max_chunksize=20
    )

    def cut_short() -> Iterator[pa.RecordBatch]:
        yield from batches[:3]
        assert Path(plain.folder, "plain-00000.parquet.attempt-0").exists(), "rows are being written"
        raise OSError("the landing zone is gone")

    with pytest.raises(OSError, match="landing zone"):
        list(plain(cut_short()))
    assert list(Path(plain.folder).glob("*.parquet")) == []
    list(plain(batches))
    (path,) = Path(plain.folder).glob("*.parquet")
    assert pq.read_metadata(path).num_rows == 100
