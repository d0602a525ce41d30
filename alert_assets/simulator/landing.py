"""The landing zone: whole files only.

A file is written under a name that starts with a dot, which readers skip, made durable, and then
renamed. A reader that remembers which names it has read must never meet an old name with new content,
so names are not reused: not even those of files that are gone.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Compression(StrEnum):
    """`mixed` compresses every second file."""

    NONE = "none"
    GZIP = "gzip"
    MIXED = "mixed"


class LandingWriter:
    """Writes JSON lines into `folder`, which is made if need be.

    Args:
        name: the files are called NAME-0001.jsonl and so on, and none of them may exist; without it, a
            name that no other writer has.
    """

    def __init__(self, folder: Path, *, name: str | None = None, compression: Compression = Compression.NONE) -> None:
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise UserError(
                f"{name!r} cannot begin a file name in the landing zone: "
                "use letters, digits, '.', '_' and '-', and begin with a letter or a digit."
            )
        self.folder = folder
        self.names: list[str] = []
        self._name = name or _unused_name()
        self._compression = compression

    def write(self, lines: Iterable[str]) -> Path:
        """Publish the lines as the next file, and return it.

        Raises:
            UserError: a file of that name exists.
        """
        number = len(self.names) + 1
        compressed = self._compression is Compression.GZIP or (
            self._compression is Compression.MIXED and number % 2 == 0
        )
        target = self.folder / f"{self._name}-{number:04d}.jsonl{'.gz' if compressed else ''}"
        data = "".join(f"{line}\n" for line in lines).encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        _publish(target, _gzip(data) if compressed else data)
        self.names.append(target.name)
        return target


def _publish(target: Path, data: bytes) -> None:
    hidden = target.with_name(f".{target.name}.tmp")
    try:
        # Exclusive: until the target is there, the hidden file is the claim on its name.
        file = hidden.open("xb")
    except FileExistsError:
        raise UserError(
            f"{hidden} exists: another simulation is writing it, or one was killed. "
            "Choose another --name, or remove the file if nothing else is running."
        ) from None
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            raise UserError(f"{target} exists already. Choose another --name or remove the file.")
        hidden.rename(target)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    _fsync_folder(target.parent)


def _fsync_folder(folder: Path) -> None:
    """Make the new name durable. Windows cannot, and does not need to."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _gzip(data: bytes) -> bytes:
    """Reproducible: no file name and no time in the header."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def _unused_name() -> str:
    now = datetime.now(UTC)
    return f"events-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
