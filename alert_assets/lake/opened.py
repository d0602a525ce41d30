"""Tables that are open for reading, for as long as no commit follows.

To open a table is to read its log: 12 ms, and a cycle of the resident process once did it ninety times. Whether there
is another commit is one look into a folder. An object store would have to be asked over the network for that; there a
table is opened each time.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import NamedTuple

from deltalake import DeltaTable


class _Commit(NamedTuple):
    """The file of a commit: another one may take its name where somebody makes a lake anew."""

    version: int
    file: int
    written_at_ns: int


_kept: dict[str, tuple[DeltaTable, _Commit]] = {}
_lock = Lock()


def open_table(uri: str) -> DeltaTable:
    """The table as it is now, for reading: several readers get one, so none may write with it.

    Raises:
        TableNotFoundError: nothing was ever committed to it.
    """
    if "://" in uri:
        return DeltaTable(uri)
    with _lock:
        kept = _kept.get(uri)
    if kept is not None and _is_newest(*kept, uri):
        return kept[0]
    table = DeltaTable(uri)
    if (commit := _commit(uri, table.version())) is not None:
        with _lock:
            _kept[uri] = table, commit
    return table


def _is_newest(table: DeltaTable, known: _Commit, uri: str) -> bool:
    there = _commit(uri, known.version) == known and _commit(uri, known.version + 1) is None
    return there and table.version() == known.version


def _commit(uri: str, version: int) -> _Commit | None:
    """A commit of a table, if its file is there: after a month it may not be."""
    try:
        found = Path(uri, "_delta_log", f"{version:020}.json").stat()
    except OSError:
        return None
    return _Commit(version, found.st_ino, found.st_mtime_ns)
