"""When each sender last spoke, and how much: kept in memory, and in a file that other processes read.

A file per port, `DATA_DIR/state/intake/senders-PORT.json`: a server that is started again goes on counting.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING

from alert_assets.kernel.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_DAYS = 7
_FILES = "senders-*.json"


@dataclass
class Spoken:
    """What is known of one sender.

    Attributes:
        requests: that were answered 2xx.
        lines: that landed.
        unmapped: lines among them that could not be mapped.
        first_at, last_at: when it first and last spoke, RFC 3339.
        last: its last event, in a few words.
        gaps: by day, the longest it was silent, in seconds.
        silent_since: since when its silence is an alert; None while it is none.
    """

    requests: int = 0
    lines: int = 0
    unmapped: int = 0
    first_at: str | None = None
    last_at: str | None = None
    last: str | None = None
    gaps: dict[str, float] = field(default_factory=dict)
    silent_since: str | None = None

    def silent_seconds(self, now: datetime) -> float | None:
        """Return for how long it has been silent; None when it never spoke."""
        return (now - datetime.fromisoformat(self.last_at)).total_seconds() if self.last_at else None


class Activity:
    """Counts what senders send."""

    def __init__(self, folder: Path, port: int) -> None:
        """Continue with what an earlier server on the port has counted."""
        self._folder = folder / "intake"
        self._path = self._folder / f"senders-{port}.json"
        self.senders: dict[str, Spoken] = _read(self._path)
        self._is_changed = False

    def record(self, sender: str, lines: int, unmapped: int, last: bytes | None, now: datetime) -> None:
        """Count one request that was taken."""
        spoken = self.senders.setdefault(sender, Spoken())
        silent = spoken.silent_seconds(now)
        if silent is not None:
            day = now.date().isoformat()
            if silent > spoken.gaps.get(day, 0.0):
                spoken.gaps[day] = round(silent, 3)
                for old in sorted(spoken.gaps)[:-_DAYS]:
                    del spoken.gaps[old]
        spoken.requests += 1
        spoken.lines += lines
        spoken.unmapped += unmapped
        spoken.first_at = spoken.first_at or now.isoformat()
        spoken.last_at = now.isoformat()
        if last is not None:
            spoken.last = _in_short(last)
        self._is_changed = True

    def changed(self) -> None:
        """Note that something was changed in :attr:`senders`."""
        self._is_changed = True

    def heard_elsewhere(self) -> dict[str, str]:
        """Return when other servers last heard each sender, RFC 3339, as their files say."""
        found: dict[str, str] = {}
        for path in self._folder.glob(_FILES):
            for name, spoken in (_read(path) if path != self._path else {}).items():
                found[name] = max(found.get(name, ""), spoken.last_at or "")
        return {name: last_at for name, last_at in found.items() if last_at}

    def save(self) -> None:
        """Write the file, if anything changed.

        Raises:
            OSError: it cannot be written; the counts stay, for the next time.
        """
        if not self._is_changed:
            return
        self._is_changed = False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        hidden = self._path.with_suffix(".tmp")
        try:
            hidden.write_text(json.dumps({name: asdict(spoken) for name, spoken in self.senders.items()}), "utf-8")
            os.replace(hidden, self._path)
        except OSError:
            self._is_changed = True
            raise


def _in_short(line: bytes) -> str | None:
    """What an event is about, in a line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    parts = [found.get(name) for name in ("event_type", "alert_type", "status", "application_id", "host", "timestamp")]
    return one_line(" ".join(part for part in parts if isinstance(part, str)), 200) or None


def read_activity(folder: Path) -> dict[str, Spoken]:
    """Return what all servers have counted, together."""
    found: dict[str, Spoken] = {}
    for path in sorted((folder / "intake").glob(_FILES)):
        for name, spoken in _read(path).items():
            found[name] = _together(found[name], spoken) if name in found else spoken
    return found


def _together(one: Spoken, other: Spoken) -> Spoken:
    earlier, later = sorted((one, other), key=lambda spoken: spoken.last_at or "")
    return Spoken(
        requests=one.requests + other.requests,
        lines=one.lines + other.lines,
        unmapped=one.unmapped + other.unmapped,
        first_at=min(_given(one.first_at, other.first_at), default=None),
        last_at=later.last_at,
        last=later.last or earlier.last,
        gaps=later.gaps,
        silent_since=later.silent_since,
    )


def _given(*values: str | None) -> Iterable[str]:
    return [value for value in values if value]


def _read(path: Path) -> dict[str, Spoken]:
    known = {each.name for each in fields(Spoken)}
    try:
        content: Mapping[str, Mapping[str, object]] = json.loads(path.read_text("utf-8"))
        return {
            name: Spoken(**{key: value for key, value in spoken.items() if key in known})  # type: ignore[arg-type]
            for name, spoken in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # counts, no more: what cannot be read is begun anew
