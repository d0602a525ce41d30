"""The landing zone: which files are there, which are ingested, which cannot be read.

What is ingested is Spark's own knowledge, in the checkpoint of the landing query: `sources/0` lists the
files of each micro-batch, `commits` the batches that are done. It is read here as it is written (format
v1, one JSON object a file), so that sensors and the command line need no JVM.

With ALERTS_ARCHIVE_DIR, files go there once their batch is committed, so that listing the landing zone stays quick.
Spark's list of files still grows with every file there ever was, and is read whole at every start. So when all of
it has been archived, the query gets a new checkpoint (`landing-000001` after `landing`): with no file of the
old list in the landing zone, an empty list says the same. That one exists is one atomic step, and it is what
makes it the current one; the old one is removed afterwards.

A producer may write any name and any kind of file. The walk follows no link, looks into no folder deeper than
`MAX_DEPTH`, and goes on past what it cannot look at; all that is left out is kept with the reason
(:class:`Skipped`) and shown by `alert-assets status` and in the run's metadata `files_not_read`.
"""

from __future__ import annotations

import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from alert_assets.errors import UserError
from alert_assets.kernel.filesystems import filesystem_of, is_utf8, make_private
from alert_assets.kernel.text import escape_invisible
from alert_assets.kernel.wording import count

if TYPE_CHECKING:
    # Imported where it is used: Dagster loads this module in every process, and pyarrow brings NumPy with it.
    from collections.abc import Collection, Iterable, Iterator

    from pyarrow import fs

    from alert_assets.ingest.landed_lines import Inflation
    from alert_assets.settings import Settings

SUFFIXES = (".jsonl", ".jsonl.gz")

#: Folders in one another that are looked into.
MAX_DEPTH = 32

#: Files whose sizes are kept one query a file; then they are written into one.
_SIZE_FILES = 64

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

    @property
    def modified_ms(self) -> int:
        """`modified_at` in milliseconds since the epoch, as Spark tells it."""
        return (self.modified_at - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True)
class Skipped:
    r"""Something in the landing zone that is not read.

    Attributes:
        path: relative to the landing zone; bytes that are no UTF-8 as `\xff`.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class NotRead:
    """Files or folders that are not read for one reason.

    Attributes:
        examples: relative paths of the first three.
    """

    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        examples = escape_invisible(", ".join(self.examples)).replace("\n", "\\n")
        return f"{count(self.count, 'file')} ({examples}{more}): {self.reason}"


@dataclass(frozen=True)
class Landing:
    """What is in the landing zone: whole files, oldest first, and what is not read."""

    files: tuple[LandingFile, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Backlog:
    """Where the landing query stands.

    Attributes:
        pending: files no batch has taken yet, oldest first.
        unfinished: files of a batch that was begun and not committed; the next run finishes it.
        ingested: number of files that are done.
        skipped: what is not read, files that were changed after they were ingested among it.
    """

    pending: tuple[LandingFile, ...]
    unfinished: tuple[str, ...]
    ingested: int
    skipped: tuple[Skipped, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.pending or self.unfinished)

    def among(self, landed: Collection[str]) -> Backlog:
        """Return the same of these paths alone; an unfinished batch is finished whatever it holds."""
        return replace(self, pending=tuple(file for file in self.pending if file.path in landed))


def landing_files(settings: Settings) -> tuple[LandingFile, ...]:
    """Whole files in the landing zone, oldest first; raises as :func:`look_at_landing`."""
    return look_at_landing(settings).files


def look_at_landing(settings: Settings) -> Landing:
    """Walk the landing zone.

    A file or folder whose name starts with `.` or `_` is being written or not ours; it is passed over in silence.

    Raises:
        UserError: the landing folder is not there, or cannot be listed.
    """
    is_url = "://" in settings.landing_dir
    files, skipped = _listed(settings.landing_dir) if is_url else _walked(settings.landing_dir)
    return Landing(
        tuple(sorted(files, key=lambda file: (file.modified_at, file.path))),
        tuple(sorted(skipped, key=lambda left: (left.reason, left.path))),
    )


def by_reason(skipped: Iterable[Skipped]) -> list[NotRead]:
    """What is not read, one entry a reason."""
    paths: dict[str, list[str]] = {}
    for left in skipped:
        paths.setdefault(left.reason, []).append(left.path)
    return [NotRead(reason, len(found), tuple(found[:3])) for reason, found in sorted(paths.items())]


#: Why something is not read.
IS_A_LINK = "it is a link, and none is followed; put the file itself there"
_ONLY = "only *.jsonl and *.jsonl.gz are read"


def _walked(root: str) -> tuple[list[LandingFile], list[Skipped]]:
    """Files below a local folder, and what is not read."""
    files: list[LandingFile] = []
    skipped: list[Skipped] = []

    def skip(path: str, reason: str) -> None:
        skipped.append(Skipped(os.fsencode(path).decode(errors="backslashreplace"), reason))

    folders = [("", 0)]
    while folders:
        folder, depth = folders.pop()
        try:
            entries = _entries(f"{root}/{folder}" if folder else root)
        except OSError as error:
            if not folder:
                raise _no_landing_folder(root, error) from error
            skip(folder, f"the folder cannot be listed: {error.strerror}")
            continue
        for name, found in entries:
            path = f"{folder}/{name}" if folder else name
            if name.startswith((".", "_")) or found is None:
                continue
            if not is_utf8(name):
                skip(path, "its name is not UTF-8")
            elif isinstance(found, OSError):
                skip(path, f"it cannot be looked at: {found.strerror}")
            elif stat.S_ISDIR(found.st_mode):
                if depth < MAX_DEPTH:
                    folders.append((path, depth + 1))
                else:
                    skip(path, f"only {MAX_DEPTH} folders in one another are looked into")
            elif stat.S_ISLNK(found.st_mode):
                skip(path, IS_A_LINK)
            elif not name.endswith(SUFFIXES):
                skip(path, _ONLY)
            elif not stat.S_ISREG(found.st_mode):
                skip(path, "it is not a regular file")
            else:
                files.append(LandingFile(f"{root}/{path}", found.st_size, _moment(found.st_mtime_ns)))
    return files, skipped


def _entries(folder: str) -> list[tuple[str, os.stat_result | OSError | None]]:
    """What is in a folder: names and what they are; None for what has gone meanwhile."""
    # By its descriptor: not by way of a link that somebody puts in its place.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with os.scandir(descriptor) as entries:
            return [(entry.name, _state(entry)) for entry in entries]
    finally:
        os.close(descriptor)


def _state(entry: os.DirEntry[str]) -> os.stat_result | OSError | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error


def _no_landing_folder(root: str, error: OSError) -> UserError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return UserError(
            f"The landing folder {root} does not exist. Create it, let a producer or "
            "`alert-assets simulate` write there, or set ALERTS_LANDING_DIR."
        )
    return UserError(
        f"The landing folder {root} cannot be listed: {error.strerror}. Give this user the right to, or set "
        "ALERTS_LANDING_DIR to another folder."
    )


def _listed(url: str) -> tuple[list[LandingFile], list[Skipped]]:
    """As :func:`_walked`, in an object store, where there are neither links nor folders."""
    from pyarrow import fs

    filesystem, root = filesystem_of(url)
    # A folder is there with its first object; what has to be there is the bucket.
    bucket = root.partition("/")[0]
    if filesystem.get_file_info(bucket).type != fs.FileType.Directory:
        raise UserError(
            f"The bucket {bucket} of {url} does not exist, or these credentials may not list it. Create it, correct "
            "the variables AWS_*, or set ALERTS_LANDING_DIR."
        )
    there = [
        info
        for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        if info.is_file and not _hidden(info.path[len(root) :])
    ]
    files = [
        LandingFile(f"{url}{info.path[len(root) :]}", info.size, _modified(info))
        for info in there
        if info.path.endswith(SUFFIXES)
    ]
    others = [info.path[len(root) :].lstrip("/") for info in there if not info.path.endswith(SUFFIXES)]
    return files, [Skipped(path, _ONLY) for path in others]


def backlog(settings: Settings) -> Backlog:
    """Compare the landing zone with the checkpoint of the landing query."""
    current = checkpoint(settings)
    taken = {entry.path: entry for entry in taken_files(current)}
    last_done = last_committed_list(current)
    there = look_at_landing(settings)
    pending = tuple(file for file in there.files if file.path not in taken)
    unfinished = tuple(sorted(entry.path for entry in taken.values() if entry.batch > last_done))
    changed = [
        (file, entry)
        for file in there.files
        if (entry := taken.get(file.path)) and entry.batch <= last_done and not entry.is_of(file)
    ]
    ingested = _ingested_before(current) + len(taken) - len(unfinished)
    return Backlog(pending, unfinished, ingested, (*there.skipped, *_changed(settings, current, changed)))


def ingested_files(settings: Settings) -> set[str]:
    """Return the paths that the landing query has taken, but for those that were archived long ago."""
    return {entry.path for entry in taken_files(checkpoint(settings))}


def relative_path(settings: Settings, path: str) -> str:
    """Path of a landed file below the landing zone."""
    return path.removeprefix(settings.landing_dir).lstrip("/")


def _changed(settings: Settings, current: str, files: list[tuple[LandingFile, TakenFile]]) -> Iterator[Skipped]:
    """Files that are not what was ingested under their names."""
    sizes = _ingested_sizes(current) if files else {}
    for file, entry in files:
        path = relative_path(settings, file.path)
        if settings.archive_dir and _exists(_archived_as(settings, entry)):
            continue  # another file with the name of one that has gone: it is ingested when the list begins anew
        if (more := file.size_bytes - sizes.get(path, file.size_bytes)) > 0:
            happened = f"it grew after it was ingested, and {more:,} bytes were not read; land them under a new name"
        else:
            happened = "it was changed after it was ingested, and is not read again; land it under a new name"
        yield Skipped(path, happened)


def waiting_since(settings: Settings) -> datetime | None:
    """Return when the oldest file landed that can be ingested and has not been; None when none waits.

    A file that cannot be read waits for its producer, not for us, and does not count.
    """
    standing = backlog(settings)
    files = list(standing.pending)
    if standing.unfinished:
        files += [file for file in landing_files(settings) if file.path in set(standing.unfinished)]
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


def inflation_of(settings: Settings) -> Inflation:
    """What a packed file may unpack to, by the settings."""
    from alert_assets.ingest.landed_lines import Inflation

    return Inflation(settings.max_inflated_mib << 20, settings.max_inflation_ratio)


def broken_files(settings: Settings, files: Iterable[LandingFile]) -> dict[str, str]:
    """Files that cannot be opened or, packed, not be read to their end: by path, with the reason.

    A truncated gzip would fail its batch at every retry, so it must not get into one. Reading is the
    only proof there is: the file's last bytes are its checksum, or not. It is done by what reads the batch,
    and ends where the file has unpacked to more than it may.
    """
    from alert_assets.ingest.landed_lines import UNREADABLE, read_to_end

    inflation = inflation_of(settings)

    def problem(file: LandingFile) -> str | None:
        try:
            read_to_end(file.path, settings.landing_dir, inflation)
        except (OSError, *UNREADABLE) as error:
            return (isinstance(error, OSError) and error.strerror) or f"{error}" or type(error).__name__
        return None

    # An object is opened only to be read: one that is not packed can be.
    looked_at = [file for file in files if "://" not in file.path or file.path.endswith(".gz")]
    with ThreadPoolExecutor(4) as pool:
        problems = pool.map(problem, looked_at)
    return {file.path: found for file, found in zip(looked_at, problems, strict=True) if found}


@dataclass(frozen=True)
class TakenFile:
    """A file that the landing query has put into a batch, as it was then."""

    path: str
    modified_ms: int
    batch: int

    def is_of(self, file: LandingFile) -> bool:
        """Whether it is this file, and not another one that came under its name or has replaced it."""
        return self.modified_ms == file.modified_ms


def taken_files(checkpoint_folder: str) -> list[TakenFile]:
    """What the landing query has put into batches, by the lists in its checkpoint."""
    filesystem, root = filesystem_of(f"{checkpoint_folder}/sources/0")
    logs = numbered_files(filesystem, root)
    compacted = [number for number, path in logs.items() if path.endswith(".compact")]
    first = max(compacted, default=-1)
    taken: dict[str, TakenFile] = {}
    for number, path in sorted(logs.items()):
        if number < first:
            continue
        with filesystem.open_input_stream(path) as stream:
            _, *entries = stream.read().decode().splitlines()
        for entry in map(json.loads, entries):
            file = _plain_path(entry["path"])
            taken[file] = TakenFile(file, entry["timestamp"], entry["batchId"])
    return list(taken.values())


def last_committed_list(checkpoint_folder: str) -> int:
    """Number of the last list of files whose batch is committed.

    A list whose writer died before it noted the batch goes with the next list's batch: lists are ahead of batches then.
    """
    filesystem, root = filesystem_of(checkpoint_folder)
    committed = max(numbered_files(filesystem, f"{root}/commits"), default=-1)
    try:
        with filesystem.open_input_stream(f"{root}/offsets/{committed}") as stream:
            return int(json.loads(stream.read().decode().splitlines()[2])["logOffset"])
    except (FileNotFoundError, IndexError):
        return committed


def _ingested_before(checkpoint_folder: str) -> int:
    """Files that were ingested under earlier checkpoints; for people, so a lost count is no error."""
    filesystem, path = filesystem_of(f"{checkpoint_folder}/{_RENEWED}")
    try:
        with filesystem.open_input_stream(path) as stream:
            return int(json.loads(stream.read())["ingested"])
    except (FileNotFoundError, ValueError, KeyError):
        return 0


# Sizes of what is ingested: Spark's list has none, and what is appended later would go unnoticed.


def remember_sizes(settings: Settings, files: Iterable[LandingFile]) -> None:
    """Keep how large files are that are about to be ingested, beside the checkpoint's list of them."""
    filesystem, root = filesystem_of(_sizes_folder(checkpoint(settings)))
    there = numbered_files(filesystem, root)
    sizes = {relative_path(settings, file.path): file.size_bytes for file in files}
    if is_full := len(there) >= _SIZE_FILES:
        sizes = {**_ingested_sizes(checkpoint(settings)), **sizes}
    filesystem.create_dir(root, recursive=True)
    with filesystem.open_output_stream(f"{root}/{max(there, default=-1) + 1}") as stream:
        stream.write(json.dumps(sizes).encode())
    for path in there.values() if is_full else ():
        filesystem.delete_file(path)


def _ingested_sizes(checkpoint_folder: str) -> dict[str, int]:
    """Bytes of ingested files by relative path; files of older releases are not among them."""
    filesystem, root = filesystem_of(_sizes_folder(checkpoint_folder))
    sizes: dict[str, int] = {}
    for _, path in sorted(numbered_files(filesystem, root).items()):
        with suppress(FileNotFoundError, ValueError), filesystem.open_input_stream(path) as stream:
            sizes |= json.loads(stream.read())
    return sizes


def _sizes_folder(checkpoint_folder: str) -> str:
    return f"{checkpoint_folder}/alert_assets_sizes"


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
    with suppress(OSError):  # said where a file cannot be moved there
        make_private(settings.archive_dir)
    current = checkpoint(settings)
    last_done = last_committed_list(current)
    taken = taken_files(current)
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
    last_done, taken = last_committed_list(current), taken_files(current)
    landed = {file.path: file for file in landing_files(settings)}
    waiting = [e for e in taken if e.batch <= last_done and e.path in landed and e.is_of(landed[e.path])]
    return len(waiting), len(taken)


def _archived_as(settings: Settings, entry: TakenFile) -> str:
    day = _EPOCH + timedelta(milliseconds=entry.modified_ms)
    return f"{settings.archive_dir}/{day:%Y-%m-%d}/{relative_path(settings, entry.path)}"


def _renew_checkpoint(settings: Settings, taken: list[TakenFile], last_done: int) -> None:
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
            os.link(source, target, follow_symlinks=False)
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


def numbered_files(filesystem: fs.FileSystem, root: str) -> dict[int, str]:
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
    return _moment(info.mtime_ns or 0)


def _moment(nanoseconds: int) -> datetime:
    """Cut, not rounded: Spark's milliseconds are, and the two are compared."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
