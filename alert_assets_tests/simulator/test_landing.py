"""The landing zone: whole files under names that are used once."""

from __future__ import annotations

import gzip
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_assets.errors import UserError
from alert_assets.simulator.landing import Compression, LandingWriter

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def visible(folder: Path) -> list[str]:
    """What a reader of the landing zone looks at."""
    return [name for name in names(folder) if not name.startswith(".")]


def test_names_and_contents(tmp_path: Path) -> None:
    writer = LandingWriter(tmp_path / "new" / "folder", name="run")
    first, second = writer.write(["a", "é"]), writer.write(["b"])

    assert (first.name, second.name) == ("run-0001.jsonl", "run-0002.jsonl")
    assert first.read_bytes() == "a\né\n".encode()
    assert writer.names == names(first.parent)


def test_writers_never_share_a_name(tmp_path: Path) -> None:
    writers = [LandingWriter(tmp_path) for _ in range(50)]
    for writer in writers:
        writer.write(["x"])
        writer.write(["y"])

    assert len(visible(tmp_path)) == 100
    assert all(name.endswith(".jsonl") for name in visible(tmp_path))


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "run-0001.jsonl").write_text("old\n")
    with pytest.raises(UserError, match="exists already"):
        LandingWriter(tmp_path, name="run").write(["new"])

    assert (tmp_path / "run-0001.jsonl").read_text() == "old\n"
    assert names(tmp_path) == ["run-0001.jsonl"]


def test_a_name_somebody_else_is_writing_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / ".run-0001.jsonl.tmp").write_text("half a li")
    with pytest.raises(UserError, match="another simulation"):
        LandingWriter(tmp_path, name="run").write(["new"])

    assert names(tmp_path) == [".run-0001.jsonl.tmp"]


@pytest.mark.parametrize("name", ["", ".hidden", "_hidden", "a/b", "../up", "a b"])
def test_names_a_reader_would_skip_or_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot begin a file name"):
        LandingWriter(tmp_path, name=name)


def test_mixed_compresses_every_second_file(tmp_path: Path) -> None:
    writer = LandingWriter(tmp_path, name="run", compression=Compression.MIXED)
    paths = [writer.write([str(number)]) for number in range(4)]

    assert [path.suffix for path in paths] == [".jsonl", ".gz", ".jsonl", ".gz"]
    assert gzip.decompress(paths[1].read_bytes()) == b"1\n"


@settings(max_examples=25, deadline=None)
@given(lines=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_gzip_is_readable_and_reproducible(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    first, second = (
        LandingWriter(tmp_path_factory.mktemp("landing"), compression=Compression.GZIP).write(lines) for _ in range(2)
    )

    assert first.name.endswith(".jsonl.gz")
    assert gzip.decompress(first.read_bytes()).decode() == "".join(f"{line}\n" for line in lines)
    assert first.read_bytes() == second.read_bytes()


def test_a_file_has_its_name_only_when_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        seen.append(names(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    LandingWriter(tmp_path, name="run").write(["x"])

    assert seen == [[".run-0001.jsonl.tmp"], ["run-0001.jsonl"]]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    def fail(_: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(failure)):
        LandingWriter(tmp_path).write(["x"])

    assert names(tmp_path) == []


def test_a_reader_never_meets_half_a_file(tmp_path: Path) -> None:
    lines = [f"{number:06d}" + "x" * 500 for number in range(5_000)]
    done = threading.Event()
    writers = [LandingWriter(tmp_path, compression=c) for c in (Compression.NONE, Compression.GZIP)]

    def write() -> None:
        for _ in range(5):
            for writer in writers:
                writer.write(lines)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    looks = 0
    while not done.is_set():
        for name in visible(tmp_path)[-2:]:
            data = (tmp_path / name).read_bytes()
            text = gzip.decompress(data) if name.endswith(".gz") else data
            assert text.count(b"\n") == len(lines), name
            looks += 1
    thread.join()

    assert looks
    assert len(visible(tmp_path)) == 10
