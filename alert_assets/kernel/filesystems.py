"""Paths and URLs of files as delta-rs, pyarrow and Spark spell them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyarrow import fs

#: What delta-rs makes of a path is a URL, and then a path again: an escape becomes its character, `#` and `?` end it,
#: and of the others it is no URL at all.
_NOT_IN_A_TABLE_PATH = re.compile(r"%[0-9A-Fa-f]{2}|[#?\[\]\\^|]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def local_path(uri: str) -> str:
    """Return a `file://` URL as a path, any other URL as it is, without a slash at the end."""
    return unquote(uri.removeprefix("file://")).rstrip("/") if uri.startswith("file://") else uri.rstrip("/")


def glob_literal(path: str) -> str:
    """Return a path as a pattern that only it matches: Spark takes what it is to read for a pattern."""
    return "".join(f"\\{char}" if char in "\\*?[]{}^," else char for char in path)


def only_these(root: str, paths: Iterable[str]) -> str:
    """Return a pattern for Spark that matches these files below a folder, and no other.

    Spark asks for each of them by its path and lists no folder.

    Args:
        paths: relative to `root`; without a colon, which Hadoop's patterns take for the end of a URL's scheme.
    """
    # Hadoop takes alternatives with a slash apart first, and one level of escapes with them.
    return f"{glob_literal(root)}{{{','.join(glob_literal(glob_literal(f'/{path}')) for path in paths)}}}"


def unusable_in_path(path: str) -> str | None:
    """Return what of a local path no program here can be trusted with, as it is printed; None when it is fine."""
    if found := _CONTROL.search(path):
        return f"the control character {found[0]!r}"
    return None if is_utf8(path) else "bytes that are not UTF-8"


def unusable_in_table_path(path: str) -> str | None:
    """Return what of a local path delta-rs cannot keep a table below; None when it is fine."""
    found = _NOT_IN_A_TABLE_PATH.search(path)
    return unusable_in_path(path) or (found and repr(found[0]))


def is_utf8(name: str) -> bool:
    """Whether a file's name is UTF-8, and not bytes that Python keeps as surrogates."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_private(location: str) -> None:
    """Make a local folder that this user alone can look into; one that is there, or an object store, stays as it is."""
    if "://" not in location:
        Path(location).mkdir(mode=0o700, parents=True, exist_ok=True)


def filesystem_of(location: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of a path or URL, and the path there."""
    from pyarrow import fs

    if location.startswith("file://"):
        return fs.LocalFileSystem(), local_path(location)
    scheme, is_url, path = location.partition("://")
    if not is_url:
        return fs.LocalFileSystem(), location
    host, _, key = path.partition("/")
    filesystem, root = _store(f"{scheme}://{host}")
    return filesystem, f"{root}/{key}".rstrip("/")


@cache
def _store(url: str) -> tuple[fs.FileSystem, str]:
    """An object store's client, which keeps its connections, and the path of its bucket.

    Made of the bucket's URL alone: a key may hold characters that no URL has.
    """
    from pyarrow import fs

    filesystem, root = fs.FileSystem.from_uri(url)
    return filesystem, root.rstrip("/")
