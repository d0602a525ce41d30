"""A batch that cannot be finished: what it fails on is found and set aside, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.ingest.apart import _ranges, poisonous, set_aside
from alert_assets.ingest.judge import Verdict
from alert_assets.ingest.landed_lines import landed_lines
from alert_assets.ingest.landing import backlog
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.spark.server import stop_server
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.ingest import small_spark
from alert_assets_tests.ingest.test_bad_files import alert
from alert_assets_tests.ingest.test_judge import contract
from alert_assets_tests.ingest.test_landed_lines import LIMIT, _files

if TYPE_CHECKING:
    from collections.abc import Sequence


@given(st.sets(st.integers(0, 99), min_size=1), st.integers(100, 200))
def test_every_poisonous_item_is_found_and_no_other(bad: set[int], size: int) -> None:
    assert poisonous(range(size), lambda part: not bad.isdisjoint(part)) == sorted(bad)


def test_one_of_a_million_is_found_in_forty_tries() -> None:
    tries = 0

    def fails(part: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return 123_456 in part

    assert poisonous(range(1_000_000), fails) == [123_456]
    assert tries <= 40


def test_what_fails_together_alone_is_set_aside_together() -> None:
    assert poisonous(range(8), lambda part: len(part) > 4) == list(range(8))


@given(st.sets(st.integers(0, 50)))
def test_ranges_hold_the_same_numbers(numbers: set[int]) -> None:
    assert [n for first, end in _ranges(sorted(numbers)) for n in range(first, end)] == sorted(numbers)


# What is set aside is a note in the place of the line


def _raw(path: Path, **selected: object) -> list[bytes]:
    batches = landed_lines([_files(path)], str(path.parent), LIMIT, **selected)  # type: ignore[arg-type]
    return [raw for batch in batches for raw in batch["raw"].view(pa.binary()).to_pylist()]


@given(lines=st.lists(st.binary(max_size=4).map(lambda line: line.replace(b"\n", b"")), min_size=1), data=st.data())
def test_a_line_that_is_set_aside_is_a_note_and_the_others_stay(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("landing") / "a.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    first, end = sorted((data.draw(st.integers(0, len(lines))), data.draw(st.integers(0, len(lines)))))
    found = _raw(path, aside={str(path): [(first, end)]})
    assert found[:first] + found[end:] == lines[:first] + lines[end:]
    for number in range(first, end):
        line, _, said = found[number].rpartition(b"\n")
        assert (line, said) == (
            lines[number],
            b"set_aside: Spark fails on line %d, %d bytes; %d are kept" % (number + 1, len(line), len(line)),
        )
        assert contract().verdict(found[number], 0) == Verdict({}, None, None, ["set_aside"])
    assert _raw(path, only=(first, end)) == lines[first:end]


def test_a_file_that_is_set_aside_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "gone.jsonl"
    assert _raw(path, aside={str(path): [None]}) == [b"\nset_aside: Spark fails on this file"]


# The whole way


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_line_that_kills_the_server_is_set_aside_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 MB that are no event, in one line: more than a JVM of 512 MB survives."""
    settings = settings_in(tmp_path / "data", max_line_bytes=64 << 20)
    landing = Path(settings.landing_dir)
    (landing / "good.jsonl").write_bytes(alert("good"))
    deadly = b"{" + b"x" * 60_000_000
    (landing / "poison.jsonl").write_bytes(b"\n".join([alert("before"), deadly, alert("after")]))
    (tmp_path / "spark").mkdir(mode=0o700)
    monkeypatch.setenv("SPARK_LOCAL_CONNECT_DISCOVERY", str(tmp_path / "spark/connect.json"))

    def run() -> str:
        command = [sys.executable, "-m", small_spark.__name__, str(settings.data_dir)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    try:
        first = run()
        assert f"Set aside, to quarantine, as Spark fails on it: line 2 of {landing}/poison.jsonl" in first
        assert "ServerGone The Spark server is gone" in first
        assert "1 of its parts, is set aside" in first
        assert set_aside(settings) == {f"{landing}/poison.jsonl": [(1, 2)]}

        second = run()
        assert "Batch 0: 4 lines, 3 events, 1 quarantined" in second
    finally:
        stop_server()

    lakehouse = Lakehouse(settings)
    assert sorted(lakehouse.rows(BRONZE_EVENTS)["event_id"].to_pylist()) == ["after", "before", "good"]
    (row,) = lakehouse.rows(BRONZE_QUARANTINE).to_pylist()
    assert row["reasons"] == ["set_aside"]
    assert row["raw"] == deadly[:16_384].decode() + (
        f"\nset_aside: Spark fails on line 2, {len(deadly):,} bytes; 16,384 are kept"
    )
    assert not backlog(settings)
    assert sorted(path.name for path in landing.iterdir()) == ["good.jsonl", "poison.jsonl"]
