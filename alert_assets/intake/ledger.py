"""What was answered 2xx, by landing file: so that it can be seen later whether all of it is there.

A file a day, `DATA_DIR/state/intake/ledger-YYYYMMDD.jsonl`, with a line for each landing file, written before that has
its name: `{"file", "lines", "bytes"}`. A landing file that is not in it was written by something else, or its entry
could not be written; then less is checked, and nothing is lost.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

#: Days that are kept.
_DAYS = 3


@dataclass(frozen=True)
class Entry:
    """A landing file, as it was answered for."""

    file: str
    lines: int
    bytes: int


class Ledger:
    """Appends entries."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "intake"

    def record(self, entry: Entry, now: datetime) -> None:
        """Add an entry, in one write, so that several servers can share the file.

        Raises:
            OSError: it cannot be written.
        """
        path = self._folder / f"ledger-{now:%Y%m%d}.jsonl"
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in sorted(self._folder.glob("ledger-*.jsonl"))[: -_DAYS + 1]:
                old.unlink(missing_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")


def entries(state_dir: Path) -> dict[str, Entry]:
    """Return the entries there are, by file; a half line of a server that was killed counts for nothing."""
    found = {}
    for path in sorted((state_dir / "intake").glob("ledger-*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue
            found[entry.file] = entry
    return found
