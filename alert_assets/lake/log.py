"""The commits of a table, as its log has them.

`DeltaTable.history` of a table to which others have committed since begins with their commits, and numbers all of them
downward from the table's own version.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from alert_assets.kernel.filesystems import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deltalake import DeltaTable

_INFO = b'{"commitInfo":'


def newest_first(table: DeltaTable) -> Iterator[dict[str, Any]]:
    """What the log says of each commit, its `version` too, from the table's version back to the oldest that is kept."""
    for version in range(table.version(), -1, -1):
        if (commit := commit_of(table, version)) is None:
            return
        yield commit


def commit_of(table: DeltaTable, version: int) -> dict[str, Any] | None:
    """What the log says of one commit, its `version` too; None where it is not kept."""
    filesystem, root = filesystem_of(table.table_uri)
    try:
        with filesystem.open_input_stream(f"{root}/_delta_log/{version:020}.json") as stream:
            actions = stream.read().splitlines()
    except FileNotFoundError:
        return None
    infos = (json.loads(action)["commitInfo"] for action in actions if action.startswith(_INFO))
    return {**next(infos, {}), "version": version}
