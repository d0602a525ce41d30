"""Hours that pass for one command: Debian's libfaketime, preloaded into its process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from datetime import timedelta

_LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

needs_faketime = pytest.mark.skipif(_LIBRARY is None, reason="needs libfaketime: apt-get install faketime")


def later(ahead: timedelta) -> dict[str, str]:
    """Variables of a process whose clock is so far ahead; what it waits for takes as long as ever."""
    return {
        "LD_PRELOAD": str(_LIBRARY),
        "FAKETIME": f"+{ahead.total_seconds():.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
