"""The landing query's checkpoint, written as Spark writes it, so that a small batch needs no query.

To Spark such a batch is one of its own: `sources/0` lists its files, `offsets` says when it began, `commits` that it is
done. One that was begun and not committed is finished by the next query, with the same files and the same clock.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alert_assets.ingest.landing import checkpoint, numbered_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alert_assets.ingest.landing import LandingFile
    from alert_assets.settings import Settings

#: A path that a URI spells as it is.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._-]+")

#: Spark's spark.sql.streaming.fileSource.log.compactInterval: every tenth list of files holds those before it.
_COMPACTED_EVERY = 10

#: Spark's spark.sql.streaming.minBatchesToRetain.
_KEPT_BATCHES = 100


@dataclass(frozen=True)
class QueryLog:
    """A checkpoint on a local disk whose last batch is committed.

    Attributes:
        last: number of that batch.
    """

    folder: Path
    last: int

    @classmethod
    def of(cls, settings: Settings) -> QueryLog | None:
        """Return the landing query's; None where its last batch is not whole, or Spark has yet to begin it."""
        folder = checkpoint(settings)
        if "://" in folder:
            return None
        last = {max(_numbered(Path(folder) / name), default=-1) for name in ("sources/0", "offsets", "commits")}
        number = last.pop()
        return cls(Path(folder), number) if not last and number >= 0 else None

    @staticmethod
    def can_list(file: LandingFile) -> bool:
        """Whether the file's path is the same in the list, where it is a URI."""
        return bool(_PLAIN_PATH.fullmatch(file.path))

    def begin(self, files: Iterable[LandingFile], began_ms: int) -> int:
        """List a batch's files, and note that it began at so many milliseconds since the epoch; return its number."""
        number = self.last + 1
        entries = [_entry(file, number) for file in files]
        is_compacted = (number + 1) % _COMPACTED_EVERY == 0
        if is_compacted:
            entries = [*self._entries(), *entries]
        self._write(f"sources/0/{number}{'.compact' if is_compacted else ''}", ["v1", *entries])
        version, metadata, _ = (self.folder / "offsets" / str(self.last)).read_text("utf-8").splitlines()
        # The rest is the session's configuration that a query goes on with.
        began = json.dumps(json.loads(metadata) | {"batchTimestampMs": began_ms}, separators=(",", ":"))
        self._write(f"offsets/{number}", [version, began, f'{{"logOffset":{number}}}'])
        return number

    def commit(self, number: int) -> QueryLog:
        """Note that the batch is done; return the checkpoint with it."""
        self._write(f"commits/{number}", (self.folder / "commits" / str(self.last)).read_text("utf-8").splitlines())
        if (number + 1) % _COMPACTED_EVERY == 0:
            self._forget(number - _KEPT_BATCHES)
        return QueryLog(self.folder, number)

    def _entries(self) -> list[str]:
        """What the lists say of all files so far, from the last compacted one."""
        logs = _numbered(self.folder / "sources/0")
        first = max((number for number, path in logs.items() if path.endswith(".compact")), default=-1)
        return [
            line
            for number, path in sorted(logs.items())
            if number >= first
            for line in Path(path).read_text("utf-8").splitlines()[1:]
        ]

    def _write(self, name: str, lines: Sequence[str]) -> None:
        """Write a file that is whole once it has its name, and there after a power failure."""
        path = self.folder / name
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("w", encoding="utf-8") as stream:
            stream.write("\n".join(lines))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _forget(self, before: int) -> None:
        """Remove what Spark would remove, too, of batches before that one."""
        for folder in ("sources/0", "offsets", "commits"):
            for number, path in _numbered(self.folder / folder).items():
                if number < before:
                    for gone in (Path(path), Path(path).with_name(f".{Path(path).name}.crc")):
                        with suppress(FileNotFoundError):
                            gone.unlink()


def _numbered(folder: Path) -> dict[int, str]:
    from pyarrow import fs

    return numbered_files(fs.LocalFileSystem(), str(folder))


def _entry(file: LandingFile, batch: int) -> str:
    entry = {"path": f"file://{file.path}", "timestamp": file.modified_ms, "batchId": batch}
    return json.dumps(entry, separators=(",", ":"))
