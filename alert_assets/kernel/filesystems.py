"""Paths and URLs of files as delta-rs, pyarrow and Spark spell them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from pyarrow import fs


def local_path(uri: str) -> str:
    """Return a `file://` URL as a path, any other URL as it is, without a slash at the end."""
    return unquote(uri.removeprefix("file://")).rstrip("/") if uri.startswith("file://") else uri.rstrip("/")


def glob_literal(path: str) -> str:
    """Return a path as a pattern that only it matches: Spark takes what it is to read for a pattern."""
    return "".join(f"\\{char}" if char in "\\*?[]{}^," else char for char in path)


def filesystem_of(location: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of a path or URL, and the path there."""
    from pyarrow import fs

    if "://" in location:
        filesystem, path = fs.FileSystem.from_uri(location)
        return filesystem, path
    return fs.LocalFileSystem(), location
