"""A small landing zone: three files with storms, their evidence, late events, and lines that must not reach bronze."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_START = datetime(2024, 3, 1, 10, tzinfo=UTC)

#: Beyond the usual future skew, within that of a replay that allows a day.
_SOON = (datetime.now(UTC) + timedelta(hours=3)).isoformat()

FILES = 3


def landing_lines(number: int) -> list[bytes]:
    """The lines of file 0, 1, or 2; what happens in one is 20 minutes after what happens in the one before."""
    start = _START + timedelta(minutes=20 * number)
    lines = [
        _event(f"d{number}", start, "deployment", deployment_id=f"D-{number}", version=f"v{number}"),
        *[
            _event(
                f"l{number}-{i}", start + timedelta(seconds=30 * i), "log", log_level="ERROR", error_code=f"E{i % 3}"
            )
            for i in range(6)
        ],
        *[_event(f"m{number}-{i}", start + timedelta(seconds=45 * i), "metric", cpu_percent=70 + i) for i in range(3)],
        *[_alert(f"a{number}-{i}", start + timedelta(minutes=2, seconds=5 * i)) for i in range(5)],
        _event(f"soon{number}", _SOON, "log", log_level="INFO"),
        _event(f"bad{number}", start, "log", log_level="LOUD"),
        b'{"event_id": "cut',
        b"",
    ]
    if number:
        # An earlier firing of the first file's storm moves its incident's key; a late error is new evidence for it.
        lines.append(_alert(f"early{number}", _START + timedelta(minutes=2) - timedelta(seconds=number)))
        lines.append(_event(f"late{number}", _START, "log", log_level="FATAL", error_code="LATE"))
    return lines


def land(folder: Path, *numbers: int, prefix: str = "part") -> None:
    """Put files into a landing zone; each is a minute older than the next, which decides the batches."""
    for number in numbers:
        path = folder / f"{prefix}-{number}.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in landing_lines(number)))
        modified = (_START + timedelta(days=1, minutes=number)).timestamp()
        os.utime(path, (modified, modified))


def _event(event_id: str, at: datetime | str, event_type: str, **fields: Any) -> bytes:
    timestamp = at if isinstance(at, str) else at.isoformat()
    known = {"event_id": event_id, "timestamp": timestamp, "event_type": event_type, "application_id": "payments"}
    return json.dumps({**known, **fields}).encode()


def _alert(event_id: str, at: datetime) -> bytes:
    return _event(event_id, at, "alert", alert_type="cpu_high", severity="HIGH", current_value=91.5, threshold=80)
