"""The landing zone: which files are there, which are ingested, which cannot be read.

What is ingested is Spark's own knowledge, in the checkpoint of the landing query: `sources/0` lists the
files of each micro-batch, `commits` the batches that are done. It is read here as it is written (format
v1, one JSON object a file), so that sensors and the command line need no JVM.

With ALERTS_ARCHIVE_DIR, files go there once their batch is committed, so that listing the landing zone stays quick.
Spark's list of files still grows with every file there ever was, and is read whole at every start. So when all of
it has been archived, the query gets a new checkpoint (`landing-000001` after `landing`): with no file of the
old list in the landing zone, an empty list says the same. That one exists is one atomic step, and it is what
makes it the current one; the old one is removed afterwards.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from alert_assets.errors import UserError
from alert_assets.kernel.filesystems import filesystem_of

if TYPE_CHECKING:
    # Imported where it is used: Dagster loads this module in every process, and pyarrow brings NumPy with it.
    from collections.abc import Collection, Iterable

    from pyarrow import fs

    from alert_assets.settings import Settings

SUFFIXES = (".jsonl", ".jsonl.gz")

#: Entries in Spark's list of files at which the landing query gets a new checkpoint.
RENEW_AT_ENTRIES = 10_000

#: In a new checkpoint: how many files were ingested under the ones before it.
_RENEWED = "alert_assets.json"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LandingFile:
    """One file of the landing zone, as a path or object-store URL."""

    path: str
    size_bytes: int
    modified_at: datetime

    @property
    def name(self) -> str:
        """The path's last part."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Backlog:
    """Where the landing query stands.

    Attributes:
        pending: files no batch has taken yet, oldest first.
        unfinished: files of a batch that was begun and not committed; the next run finishes it.
        ingested: number of files that are done.
    """

    pending: tuple[LandingFile, ...]
    unfinished: tuple[str, ...]
    ingested: int

    def __bool__(self) -> bool:
        return bool(self.pending or self.unfinished)

    def among(self, landed: Collection[str]) -> Backlog:
        """Return the same of these paths alone; an unfinished batch is finished whatever it holds."""
        return replace(self, pending=tuple(file for file in self.pending if file.path in landed))


def landing_files(settings: Settings) -> list[LandingFile]:
    """Whole files in the landing zone, oldest first.

    A file or folder whose name starts with `.` or `_` is being written or not ours; Spark skips it too.

    Raises:
        UserError: the landing folder is not there.
    """
    from pyarrow import fs

    filesystem, root = filesystem_of(settings.landing_dir)
    if filesystem.get_file_info(root).type != fs.FileType.Directory:
        raise UserError(
            f"The landing folder {settings.landing_dir} does not exist. Create it, let a producer or "
            "`alert-assets simulate` write there, or set ALERTS_LANDING_DIR."
        )
    found = [
        LandingFile(f"{settings.landing_dir}{info.path[len(root) :]}", info.size, _modified(info))
        for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True))
        if info.is_file and info.path.endswith(SUFFIXES) and not _hidden(info.path[len(root) :])
    ]
    return sorted(found, key=lambda file: (file.modified_at, file.path))


def backlog(settings: Settings) -> Backlog:
    """Compare the landing zone with the checkpoint of the landing query."""
    current = checkpoint(settings)
    taken = {entry.path: entry.batch for entry in _taken_files(current)}
    last_done = _last_committed_batch(current)
    pending = tuple(file for file in landing_files(settings) if file.path not in taken)
    unfinished = tuple(sorted(path for path, batch in taken.items() if batch > last_done))
    return Backlog(pending, unfinished, _ingested_before(current) + len(taken) - len(unfinished))


def waiting_since(settings: Settings) -> datetime | None:
    """Return when the oldest file landed that can be ingested and has not been; None when none waits.

    A file that cannot be read waits for its producer, not for us, and does not count.
    """
    standing = backlog(settings)
    waiting = {file.path for file in standing.pending}.union(standing.unfinished)
    files = [file for file in landing_files(settings) if file.path in waiting] if waiting else []
    broken = broken_files(settings, files)
    return min((file.modified_at for file in files if file.path not in broken), default=None)


def checkpoint(settings: Settings) -> str:
    """Folder of the landing query's checkpoint: the newest."""
    return f"{settings.checkpoint_dir}/{_checkpoints(settings)[-1]}"


def _checkpoints(settings: Settings) -> list[str]:
    """Names of the checkpoints there are, and of the first one in any case, the newest last."""
    from pyarrow import fs

    filesystem, root = filesystem_of(settings.checkpoint_dir)
    found = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
    return ["landing", *sorted(info.base_name for info in found if re.fullmatch(r"landing-\d{6}", info.base_name))]


def broken_files(settings: Settings, files: Iterable[LandingFile]) -> dict[str, str]:
    """Files that cannot be read to their end, by path, with the reason.

    A truncated gzip would fail its batch at every retry, so it must not get into one. Reading is the
    only proof there is: the file's last bytes are its checksum, or not.
    """
    packed = [file for file in files if file.path.endswith(".gz")]
    filesystem, root = filesystem_of(settings.landing_dir)
    # Not by their URLs: a name may hold what is no part of a path there.
    paths = [root + file.path[len(settings.landing_dir) :] for file in packed]
    with ThreadPoolExecutor(4) as pool:
        problems = pool.map(lambda path: _gzip_problem(filesystem, path), paths)
    return {file.path: problem for file, problem in zip(packed, problems, strict=True) if problem}


def _gzip_problem(filesystem: fs.FileSystem, path: str) -> str | None:
    try:
        with filesystem.open_input_file(path) as raw, gzip.GzipFile(fileobj=raw) as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return f"{error}" or type(error).__name__
    return None


@dataclass(frozen=True)
class _Taken:
    """A file that the landing query has put into a batch, as it was then."""

    path: str
    modified_ms: int
    batch: int

    def is_of(self, file: LandingFile) -> bool:
        """Whether it is this file, and not another one that came under its name or has replaced it."""
        return self.modified_ms == (file.modified_at - _EPOCH) // timedelta(milliseconds=1)


def _taken_files(checkpoint_folder: str) -> list[_Taken]:
    filesystem, root = filesystem_of(f"{checkpoint_folder}/sources/0")
    logs = _numbered(filesystem, root)
    compacted = [number for number, path in logs.items() if path.endswith(".compact")]
    first = max(compacted, default=-1)
    taken: dict[str, _Taken] = {}
    for number, path in sorted(logs.items()):
        if number < first:
            continue
        with filesystem.open_input_stream(path) as stream:
            _, *entries = stream.read().decode().splitlines()
        for entry in map(json.loads, entries):
            file = _plain_path(entry["path"])
            taken[file] = _Taken(file, entry["timestamp"], entry["batchId"])
    return list(taken.values())


def _last_committed_batch(checkpoint_folder: str) -> int:
    filesystem, root = filesystem_of(f"{checkpoint_folder}/commits")
    return max(_numbered(filesystem, root), default=-1)


def _ingested_before(checkpoint_folder: str) -> int:
    """Files that were ingested under earlier checkpoints; for people, so a lost count is no error."""
    filesystem, path = filesystem_of(f"{checkpoint_folder}/{_RENEWED}")
    try:
        with filesystem.open_input_stream(path) as stream:
            return int(json.loads(stream.read())["ingested"])
    except (FileNotFoundError, ValueError, KeyError):
        return 0


# The archive


def archive_ingested(settings: Settings) -> int:
    """Move the files whose batch is committed to the archive, and bound what Spark remembers of them.

    A file goes to `ARCHIVE_DIR/{day it landed, UTC}/{its path in the landing zone}`: found from a row's
    `_landed_at` and `_source_file`, and the same place when a move that was cut short is done again. A
    file that has an ingested one's name but is not it, by its modification time, stays.

    The caller keeps ingestion out meanwhile (`Lakehouse.writing(BRONZE_EVENTS)`).

    Returns:
        files that left the landing zone; 0 without an archive.

    Raises:
        UserError: a file could not be moved; the others were.
    """
    if not settings.archive_dir:
        return 0
    current = checkpoint(settings)
    last_done = _last_committed_batch(current)
    taken = _taken_files(current)
    landed = {file.path: file for file in landing_files(settings)}
    moved, problems = 0, []
    for entry in taken:
        file = landed.get(entry.path)
        if file is None or entry.batch > last_done or not entry.is_of(file):
            continue
        try:
            _move(entry.path, _archived_as(settings, entry), entry.modified_ms)
            moved += 1
        except OSError as error:
            problems.append(f"{entry.path}: {error.strerror or error}")
    if problems:
        raise UserError(
            f"{len(problems):,} ingested files could not be moved from {settings.landing_dir} to the archive "
            f"{settings.archive_dir} (ALERTS_ARCHIVE_DIR), the first: {problems[0]}. They are ingested and stay where "
            "they are; make room or grant the right, and the next run moves them."
        )
    _renew_checkpoint(settings, taken, last_done)
    return moved


def waiting_for_archive(settings: Settings) -> tuple[int, int]:
    """Ingested files that are still in the landing zone, and entries in Spark's list of files."""
    current = checkpoint(settings)
    last_done, taken = _last_committed_batch(current), _taken_files(current)
    landed = {file.path: file for file in landing_files(settings)}
    waiting = [e for e in taken if e.batch <= last_done and e.path in landed and e.is_of(landed[e.path])]
    return len(waiting), len(taken)


def _archived_as(settings: Settings, entry: _Taken) -> str:
    day = _EPOCH + timedelta(milliseconds=entry.modified_ms)
    return f"{settings.archive_dir}/{day:%Y-%m-%d}/{entry.path.removeprefix(settings.landing_dir).lstrip('/')}"


def _renew_checkpoint(settings: Settings, taken: list[_Taken], last_done: int) -> None:
    """Begin a new checkpoint when Spark's list is long, or holds a name that came again; remove the old ones.

    Not before every file of the list has left the landing zone, or it would be ingested once more.
    """
    _remove_retired(settings)
    landed = {file.path: file for file in landing_files(settings)}
    still_there = [entry for entry in taken if entry.path in landed]
    came_again = [
        entry for entry in still_there if not entry.is_of(landed[entry.path]) and _exists(_archived_as(settings, entry))
    ]
    is_unfinished = any(entry.batch > last_done for entry in taken)
    if is_unfinished or len(still_there) > len(came_again):
        return
    if len(taken) < RENEW_AT_ENTRIES and not came_again:
        return
    current = checkpoint(settings)
    _, _, number = current.rpartition("/")[2].partition("-")
    filesystem, root = filesystem_of(f"{settings.checkpoint_dir}/landing-{int(number or 0) + 1:06d}")
    about = {"ingested": _ingested_before(current) + len(taken)}
    filesystem.create_dir(root, recursive=True)
    with filesystem.open_output_stream(f"{root}/{_RENEWED}") as stream:
        stream.write(json.dumps(about).encode())
    _remove_retired(settings)


def _remove_retired(settings: Settings) -> None:
    from pyarrow import fs

    for name in _checkpoints(settings)[:-1]:
        filesystem, root = filesystem_of(f"{settings.checkpoint_dir}/{name}")
        if filesystem.get_file_info(root).type != fs.FileType.NotFound:
            filesystem.delete_dir(root)


def _move(source: str, target: str, modified_ms: int) -> None:
    """Move a file without ever overwriting one; done again after a crash, it ends the same."""
    if _exists(target):
        if _digest(source) == _digest(target):
            return _remove(source)
        # Another file of this name landed that day.
        stem, dot, suffix = target.rpartition("/")[2].partition(".")
        return _move(source, f"{target.rpartition('/')[0]}/{stem}.{modified_ms}{dot}{suffix}", modified_ms)
    if "://" not in source and "://" not in target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        try:
            # Unlike a rename, a link never replaces what is there.
            os.link(source, target)
            return _remove(source)
        except FileExistsError:
            raise
        except OSError:
            pass  # another filesystem, or one without links
    _copy(source, target)
    return _remove(source)


def _copy(source: str, target: str) -> None:
    """Copy a file under a name that nobody looks at, compare, and give it its own name."""
    (from_fs, path), (to_fs, final) = filesystem_of(source), filesystem_of(target)
    folder, _, name = final.rpartition("/")
    part = f"{folder}/.{name}.part"
    to_fs.create_dir(folder, recursive=True)
    with (
        from_fs.open_input_stream(path, compression=None) as read,
        to_fs.open_output_stream(part, compression=None) as write,
    ):
        while chunk := read.read(1 << 20):
            write.write(chunk)
    if _digest(source) != _digest(f"{target.removesuffix(name)}.{name}.part"):
        raise OSError(f"the copy {part} is not what was copied")
    to_fs.move(part, final)


def _digest(location: str) -> str:
    filesystem, path = filesystem_of(location)
    found = sha256()
    with filesystem.open_input_stream(path, compression=None) as stream:
        while chunk := stream.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def _exists(location: str) -> bool:
    from pyarrow import fs

    filesystem, path = filesystem_of(location)
    return bool(filesystem.get_file_info(path).type == fs.FileType.File)


def _remove(location: str) -> None:
    filesystem, path = filesystem_of(location)
    filesystem.delete_file(path)


# Files and folders


def _numbered(filesystem: fs.FileSystem, root: str) -> dict[int, str]:
    """Spark's metadata files `N` and `N.compact` by number; a compacted one stands for its plain twin."""
    from pyarrow import fs

    found: dict[int, str] = {}
    for info in filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True)):
        number, _, kind = info.base_name.partition(".")
        if number.isdigit() and kind in ("", "compact") and not (int(number) in found and not kind):
            found[int(number)] = info.path
    return found


def _plain_path(uri: str) -> str:
    """Spark's URI of a local file as a path; of an object as its URL."""
    if uri.startswith("file:"):
        return unquote("/" + uri.removeprefix("file:").lstrip("/"))
    return unquote(uri)


def _hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(relative.lstrip("/")).parts)


def _modified(info: fs.FileInfo) -> datetime:
    return datetime.fromtimestamp((info.mtime_ns or 0) / 1e9, UTC)
