"""The landing query's checkpoint, written as Spark writes it, so that a small batch needs no query.

To Spark such a batch is one of its own: `sources/0` lists its files, `offsets` says when it began, `commits` that it is
done. One that was begun here and not committed is finished here, with the same files and the same clock; where that is
cut short too, by Spark's next query. One that Spark began is Spark's to finish: its query may live on in the server.
In an object store, and with ALERTS_LANDING_ENGINE=arrow, all are finished here: Spark's S3 client is not in the pyspark
package, and these must not depend on it.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pyarrow import fs

from alert_assets.errors import UserError
from alert_assets.ingest.landing import checkpoint, last_committed_list, numbered_files, taken_files
from alert_assets.kernel.filesystems import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alert_assets.ingest.landing import LandingFile, TakenFile
    from alert_assets.settings import Settings

#: A path that a URI spells as it is, or the URL of such an object.
_PLAIN_PATH = re.compile(r"([a-z][a-z0-9]*:/)?/[A-Za-z0-9/._-]+")

#: Spark's spark.sql.streaming.fileSource.log.compactInterval: every tenth list of files holds those before it.
_COMPACTED_EVERY = 10

#: Spark's spark.sql.streaming.minBatchesToRetain.
_KEPT_BATCHES = 100

#: The number of a batch that is not finished here: it was being finished when the process ended, or is Spark's by now.
_TRIED = "alert_assets_finished"

#: In the offsets of a batch that was begun here; Spark reads past it.
_BEGUN_BY = "begunBy"


@dataclass(frozen=True)
class QueryLog:
    """A checkpoint that can be gone on with without Spark.

    Attributes:
        url: its folder, a path or URL.
        last: number of the last batch that is committed; -1 before the first.
        is_begun: whether the batch after it is begun.
    """

    url: str
    last: int
    is_begun: bool = False

    @classmethod
    def of(cls, settings: Settings) -> QueryLog | None:
        """Return the landing query's; None where it is Spark's to finish its last batch."""
        url = checkpoint(settings)
        listed, began, last = (_last(url, name) for name in ("sources/0", "offsets", "commits"))
        # Lists that are ahead of their batches would be taken once more under the next one's number.
        if not (last <= began <= listed <= last + 1) or last_committed_list(url) != last:
            return None
        is_ours = settings.landing_engine == "arrow" or "://" in url
        found = cls(url, last, listed > last)
        return found if is_ours or listed == last or found._is_begun_here() else None

    @staticmethod
    def can_list(file: LandingFile) -> bool:
        """Whether the file's path is the same in the list, where it is a URI."""
        return bool(_PLAIN_PATH.fullmatch(file.path))

    def begin(self, files: Iterable[LandingFile], began_ms: int) -> int:
        """List a batch's files, and note that it began at so many milliseconds since the epoch; return its number.

        Raises:
            UserError: another query has listed the files of this batch.
        """
        number = self.last + 1
        if self.last < 0 and not self._is_there("metadata"):
            self._write("metadata", [json.dumps({"id": str(uuid4())}, separators=(",", ":"))])
        entries = [_entry(file, number) for file in files]
        is_compacted = (number + 1) % _COMPACTED_EVERY == 0
        if is_compacted:
            entries = [*self._entries(), *entries]
        try:
            self._write(f"sources/0/{number}{'.compact' if is_compacted else ''}", ["v1", *entries], is_new=True)
        except FileExistsError:
            # The query of a process that was killed lives on in the Spark server, which looks in the same way.
            raise UserError(f"Another landing query has just begun batch {number} of {self.url}; run again.") from None
        self._note_when(number, began_ms)
        return number

    def begun(self, now_ms: int) -> tuple[int, list[TakenFile], int]:
        """Return the number of the batch that is begun, its files, and when it began: now, where that is not noted."""
        number = self.last + 1
        if not self._is_there(f"offsets/{number}"):
            self._note_when(number, now_ms)
        _, metadata, _ = self._read(f"offsets/{number}")
        files = [file for file in taken_files(self.url) if file.batch == number]
        return number, files, int(json.loads(metadata)["batchTimestampMs"])

    def may_finish(self, number: int) -> bool:
        """Note that a batch is being finished here; False where it was before, and may have ended the process."""
        if self._is_there(_TRIED) and self._read(_TRIED) == [str(number)]:
            return False
        self._write(_TRIED, [str(number)])
        return True

    def forgive(self) -> None:
        """Note that what was tried has not ended the process: it may be tried again."""
        self._write(_TRIED, [])

    def leave(self) -> None:
        """Note that the batch that is begun is Spark's now, whose query may live on when this process does not."""
        self._write(_TRIED, [str(self.last + 1)])

    def commit(self, number: int) -> QueryLog:
        """Note that the batch is done; return the checkpoint with it."""
        self._write(f"commits/{number}", ["v1", '{"nextBatchWatermarkMs":0}'])
        if (number + 1) % _COMPACTED_EVERY == 0:
            self._forget(number - _KEPT_BATCHES)
        return replace(self, last=number, is_begun=False)

    def _is_begun_here(self) -> bool:
        name = f"offsets/{self.last + 1}"
        return self._is_there(name) and _BEGUN_BY in json.loads(self._read(name)[1])

    def _note_when(self, number: int, began_ms: int) -> None:
        # The rest is the session's configuration that a query goes on with: Spark fills in what is missing.
        before = self._read(f"offsets/{self.last}") if self.last >= 0 else ["v1", '{"batchWatermarkMs":0,"conf":{}}']
        told = json.loads(before[1]) | {"batchTimestampMs": began_ms, _BEGUN_BY: "alert_assets"}
        began = json.dumps(told, separators=(",", ":"))
        self._write(f"offsets/{number}", [before[0], began, f'{{"logOffset":{number}}}'])

    def _entries(self) -> list[str]:
        """What the lists say of all files so far, from the last compacted one."""
        logs = _numbered(self.url, "sources/0")
        first = max((number for number, name in logs.items() if name.endswith(".compact")), default=-1)
        return [line for number, name in sorted(logs.items()) if number >= first for line in self._read(name)[1:]]

    def _is_there(self, name: str) -> bool:
        filesystem, root = filesystem_of(self.url)
        return bool(filesystem.get_file_info(f"{root}/{name}").type == fs.FileType.File)

    def _read(self, name: str) -> list[str]:
        filesystem, root = filesystem_of(self.url)
        with filesystem.open_input_stream(f"{root}/{name}", compression=None) as stream:
            return bytes(stream.read()).decode().splitlines()

    def _write(self, name: str, lines: Sequence[str], *, is_new: bool = False) -> None:
        """Write a file that is whole once it has its name, and there after a power failure.

        Args:
            is_new: replace no other; an object store replaces it, where no query of Spark's writes beside this one.

        Raises:
            FileExistsError: there is one.
        """
        filesystem, root = filesystem_of(self.url)
        if not isinstance(filesystem, fs.LocalFileSystem):
            with filesystem.open_output_stream(f"{root}/{name}") as target:  # an object is there whole, or not
                target.write("\n".join(lines).encode())
            return
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        try:
            with draft.open("w", encoding="utf-8") as stream:
                stream.write("\n".join(lines))
                stream.flush()
                os.fsync(stream.fileno())
            _name(draft, path, is_new=is_new)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _forget(self, before: int) -> None:
        """Remove what Spark would remove, too, of batches before that one."""
        filesystem, root = filesystem_of(self.url)
        for folder in ("sources/0", "offsets", "commits"):
            for number, name in _numbered(self.url, folder).items():
                if number < before:
                    path, _, last = name.rpartition("/")
                    for gone in (name, f"{path}/.{last}.crc"):
                        with suppress(FileNotFoundError):
                            filesystem.delete_file(f"{root}/{gone}")


def _name(draft: Path, path: Path, *, is_new: bool) -> None:
    """Give a file its name, in place of another only unless it has to be new; the draft may be left."""
    if is_new:
        try:
            os.link(draft, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            if path.exists():
                raise FileExistsError(path) from None
        else:
            return
    draft.replace(path)


def _numbered(url: str, folder: str) -> dict[int, str]:
    """A folder's files by number, their names relative to the checkpoint."""
    filesystem, root = filesystem_of(url)
    return {number: path[len(root) + 1 :] for number, path in numbered_files(filesystem, f"{root}/{folder}").items()}


def _last(url: str, folder: str) -> int:
    return max(_numbered(url, folder), default=-1)


def _entry(file: LandingFile, batch: int) -> str:
    path = file.path if "://" in file.path else f"file://{file.path}"
    return json.dumps({"path": path, "timestamp": file.modified_ms, "batchId": batch}, separators=(",", ":"))
