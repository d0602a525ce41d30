"""What the simulator's tests share."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = datetime(2026, 2, 14, 9, 30, tzinfo=UTC)


@pytest.fixture
def start() -> datetime:
    return START


@pytest.fixture
def read_landed() -> Callable[[Path], list[str]]:
    """The lines of a landing folder, as a reader that knows the naming rules sees them."""

    def read(folder: Path) -> list[str]:
        lines: list[str] = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith((".", "_")):
                continue
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
            assert text.endswith("\n"), f"{path.name} ends in the middle of a line"
            lines += text.splitlines()
        return lines

    return read
