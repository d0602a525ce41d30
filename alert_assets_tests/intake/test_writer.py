"""What was answered is in the landing zone, whole and once."""

from __future__ import annotations

import asyncio
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from alert_assets.intake.writer import DurableWriter, OverloadedError, UnwritableError, WriterRules, recover

if TYPE_CHECKING:
    from pathlib import Path


def visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def lines(folder: Path) -> list[bytes]:
    return [line for path in visible(folder) for line in path.read_bytes().splitlines()]


async def test_a_line_is_in_a_named_file_before_it_is_answered(tmp_path):
    writer = DurableWriter(tmp_path / "landing")
    writer.start()
    await writer.write(b'{"a": 1}\n')
    assert lines(tmp_path / "landing") == [b'{"a": 1}']
    writer.close()


async def test_many_requests_share_a_file_and_none_is_lost(tmp_path):
    writer = DurableWriter(tmp_path, WriterRules(roll_seconds=0.2))
    writer.start()
    await asyncio.gather(*(writer.write(f"{number}\n".encode()) for number in range(2_000)))
    await writer.write(b"last\n")
    writer.close()
    assert sorted(lines(tmp_path)) == sorted([*(f"{number}".encode() for number in range(2_000)), b"last"])
    assert len(visible(tmp_path)) < 10
    assert not list(tmp_path.glob(".*"))


async def test_a_file_that_is_big_enough_gets_its_name_at_once(tmp_path):
    writer = DurableWriter(tmp_path, WriterRules(roll_seconds=3600, roll_bytes=100))
    writer.start()
    await writer.write(b"first\n")
    await writer.write(b"x" * 200 + b"\n")
    assert len(visible(tmp_path)) == 2
    writer.close()


async def test_a_file_gets_its_name_when_nothing_follows(tmp_path):
    writer = DurableWriter(tmp_path, WriterRules(roll_seconds=0.1))
    writer.start()
    await writer.write(b"first\n")
    await writer.write(b"second\n")
    async with asyncio.timeout(5):
        while len(lines(tmp_path)) < 2:
            await asyncio.sleep(0.01)
    writer.close()


async def test_more_than_may_wait_is_refused_and_nothing_of_it_kept(tmp_path):
    writer = DurableWriter(tmp_path, WriterRules(gather_seconds=0.2, max_pending_bytes=10))
    writer.start()
    first = asyncio.create_task(writer.write(b"123456789\n"))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as refusal:
        await writer.write(b"no\n")
    assert refusal.value.retry_after_seconds == 1
    await first
    writer.close()
    assert lines(tmp_path) == [b"123456789"]


async def test_a_folder_that_takes_no_data_is_said_and_recovers(tmp_path):
    folder = tmp_path / "landing"
    writer = DurableWriter(folder)
    writer.start()
    folder.rmdir()
    with pytest.raises(UnwritableError, match="No such file or directory; create it"):
        await writer.write(b"lost\n")
    assert writer.failure
    folder.mkdir()
    assert writer.probe() is None
    await writer.write(b"kept\n")
    writer.close()
    assert lines(folder) == [b"kept"]


async def test_nothing_half_written_is_left_of_a_disk_that_was_full(tmp_path):
    import resource

    writer = DurableWriter(tmp_path)
    writer.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(UnwritableError):
            await writer.write(b"x" * 5_000 + b"\n")
        await writer.write(b"small\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await writer.write(b"y" * 5_000 + b"\n")
    writer.close()
    assert lines(tmp_path) == [b"small", b"y" * 5_000]
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_writer_left_is_recovered_without_its_half_line(tmp_path):
    (tmp_path / ".intake-20260214T101500.000000Z-00000000.jsonl").write_bytes(b"one\ntwo\nhal")
    (tmp_path / ".intake-20260214T101501.000000Z-00000000.jsonl").write_bytes(b"half")
    assert [path.name for path in recover(tmp_path)] == ["intake-20260214T101500.000000Z-00000000.jsonl"]
    assert lines(tmp_path) == [b"one", b"two"]
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_another_process_writes_is_left_alone(tmp_path):
    path = tmp_path / ".intake-20260214T101500.000000Z-00000000.jsonl"
    path.write_bytes(b"one\n")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert recover(tmp_path) == []
    assert path.exists()


async def test_closing_writes_what_was_accepted(tmp_path):
    writer = DurableWriter(tmp_path, WriterRules(gather_seconds=0.05))
    writer.start()
    waiting = [asyncio.create_task(writer.write(f"{number}\n".encode())) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.close)
    await asyncio.gather(*waiting)
    assert len(lines(tmp_path)) == 50
    with pytest.raises(OverloadedError):
        await writer.write(b"late\n")


@pytest.mark.skipif(os.getuid() != 0, reason="a full disk is a small tmpfs, which only root can mount")
async def test_a_full_and_a_read_only_disk(tmp_path):
    import subprocess

    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        writer = DurableWriter(tmp_path, WriterRules(roll_seconds=0))
        writer.start()
        with pytest.raises(UnwritableError, match="No space left on device; make room"):
            await writer.write(b"x" * 100_000 + b"\n")
        await writer.write(b"small\n")
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(UnwritableError, match="mount it writable"):
            await writer.write(b"no\n")
        assert writer.probe()
        subprocess.run(["mount", "-o", "remount,rw", tmp_path], check=True)
        await writer.write(b"again\n")
        writer.close()
        assert lines(tmp_path) == [b"small", b"again"]
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
