"""A landing batch that cannot be finished is taken apart until what it fails on is found and set aside.

A batch whose lines kill Spark, or fail its query, would kill the next server too, and nothing behind it would ever be
read. So once the server died in a batch, or it failed a second time, parts of it are *rehearsed*: all is done that
publishing does but the commit, in a process of its own with a JVM of its own (:mod:`alert_assets.ingest.rehearsal`),
which may die. Files are halved, then the lines of those that fail, and the smallest part that fails is kept beside the
checkpoint. The next attempt reads a note in its place, which goes to quarantine with the reason `set_aside`: the batch
keeps its number, its files and its one commit. The landed file stays where it is.

What does not fail in a rehearsal is not set aside, nor anything while a batch of our own fails, or what fails has to do
with files and disks: then it is the machine and not what a producer wrote.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from threading import Timer
from typing import TYPE_CHECKING, Any, Self, TypeVar

from alert_assets.ingest.landing import checkpoint, inflation_of, numbered_files, relative_path
from alert_assets.kernel.filesystems import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from alert_assets.ingest.batch import LandingBatch
    from alert_assets.settings import Settings

#: Rehearsals of one batch; when they are used up, what is known to fail is set aside as it is.
_MOST = 100

#: How long one may take, the start of its JVM included.
_SECONDS = 900.0

#: What the machine does to a batch, and not its lines.
_OF_THE_MACHINE = ("[Errno ", "OSError", "FileNotFound", "No space left", "Read-only file system", "Permission denied")

#: Variables that a rehearsal does not get: no secret of ours, and what PySpark notes of a session with a server.
_NOT_FOR_IT = ("ALERTS_", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED")

Item = TypeVar("Item")

#: Lines by path that are not read, as (first, behind the last) counted from 0; None for the whole file.
SetAside = dict[str, list[tuple[int, int] | None]]


def set_aside(settings: Settings) -> SetAside:
    """What has been set aside of the batches of this checkpoint."""
    filesystem, root = filesystem_of(_folder(settings))
    found: SetAside = {}
    for _, path in sorted(numbered_files(filesystem, root).items()):
        # One that was cut short is found again.
        with suppress(ValueError), filesystem.open_input_stream(path) as stream:
            entry = json.loads(stream.read())
            lines = entry["lines"]
            found.setdefault(f"{settings.landing_dir}/{entry['file']}", []).append(lines and (lines[0], lines[1]))
    return found


def _keep(settings: Settings, path: str, lines: tuple[int, int] | None) -> None:
    filesystem, root = filesystem_of(_folder(settings))
    filesystem.create_dir(root, recursive=True)
    number = max(numbered_files(filesystem, root), default=-1) + 1
    with filesystem.open_output_stream(f"{root}/{number}") as stream:
        stream.write(json.dumps({"file": relative_path(settings, path), "lines": lines}).encode())


def _folder(settings: Settings) -> str:
    return f"{checkpoint(settings)}/alert_assets_set_aside"


def take_apart(batch: LandingBatch, files: Sequence[str], log: Callable[[str], None]) -> int:
    """Find what a batch fails on and set it aside.

    Args:
        files: the batch's, as paths or URLs.

    Returns:
        parts that were set aside; 0 when it does not fail in a rehearsal, or not because of them.
    """
    settings = batch.settings
    log(f"The batch of {len(files):,} files is tried in parts, in a process of its own, to find what it fails on")
    with Rehearsals(batch) as rehearsals:
        try:
            if rehearsals.fails(None):
                raise OfTheMachine("a batch without these files fails as well")
            if not rehearsals.fails(files):
                log("It does not fail there: nothing is set aside")
                return 0
            parts = [part for path in poisonous(files, rehearsals.fails) for part in _lines_of(path, rehearsals)]
        except (OfTheMachine, OSError) as error:
            log(f"Nothing is set aside, it is not the files: {error}")
            return 0
    for path, lines in parts:
        _keep(settings, path, lines)
        where = "all lines" if lines is None else f"line {lines[0] + 1:,}" + _to(*lines)
        log(f"Set aside, to quarantine, as Spark fails on it: {where} of {path}")
    return len(parts)


def _to(first: int, end: int) -> str:
    return "" if end == first + 1 else f" to {end:,}"


def _lines_of(path: str, rehearsals: Rehearsals) -> Iterable[tuple[str, tuple[int, int] | None]]:
    """The lines that a file fails on; None for one that fails when no line of it is looked at."""
    from alert_assets.ingest.landed_lines import count_lines

    def fails(lines: Sequence[int]) -> bool:
        return rehearsals.fails([path], (lines[0], lines[-1] + 1))

    settings = rehearsals.settings
    count = count_lines(path, settings.landing_dir, settings.max_line_bytes, inflation_of(settings))
    if not count or rehearsals.fails([path], (0, 0)):
        return [(path, None)]
    return [(path, lines) for lines in _ranges(poisonous(range(count), fails))]


def poisonous(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """The items without which the others do not fail; all, where they fail together and neither half does.

    Args:
        items: they fail together.
    """
    if len(items) == 1:
        return list(items)
    half = len(items) // 2
    found = [item for part in (items[:half], items[half:]) if fails(part) for item in poisonous(part, fails)]
    return found or list(items)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges (first, behind the last)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


class OfTheMachine(Exception):
    """A rehearsal failed on something that is not in the landed lines."""


class Rehearsals:
    """Rehearsals of parts of a batch, in processes of which each lives until a part kills it."""

    def __init__(self, batch: LandingBatch) -> None:
        self.settings = batch.settings
        self._batch, self._left = pickle.dumps(batch).hex(), _MOST
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def fails(self, files: Sequence[str] | None, lines: tuple[int, int] | None = None) -> bool:
        """Return whether these files fail, or these lines of one; True without a try when there were too many.

        Args:
            files: None for a file of our own, which does not fail where all is well.

        Raises:
            OfTheMachine: it failed on something else.
        """
        if not self._left:
            return True
        self._left -= 1
        process = self._running()
        watch = Timer(_SECONDS, process.kill)
        watch.start()
        try:
            answer = self._ask(process, {"files": files, "lines": lines})
        finally:
            watch.cancel()
        if answer is None:
            self._end()
            return True
        if any(word in answer for word in _OF_THE_MACHINE):
            raise OfTheMachine(answer)
        return answer != ""

    def _ask(self, process: subprocess.Popen[str], question: dict[str, Any]) -> str | None:
        """What went wrong, empty for nothing; None when the process has died of it."""
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = process.stdout.readline()
        return str(json.loads(answer)) if answer.endswith("\n") else None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "alert_assets.ingest.rehearsal"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                env={name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_IT)},
            )
            self._ask_to_begin(self._process)
        return self._process

    def _ask_to_begin(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        process.stdin.write(self._batch + "\n")
        process.stdin.flush()

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None
