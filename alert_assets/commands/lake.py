"""The lake as the commands read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deltalake.exceptions import DeltaError

from alert_assets.commands.output import line, without_credentials
from alert_assets.contracts import Contract
from alert_assets.errors import UserError
from alert_assets.lake.lakehouse import Lakehouse, records
from alert_assets.lake.schema import LakehouseError
from alert_assets.settings import Settings

__all__ = ["ambiguous", "id_prefix", "newest", "reading", "records"]


@contextmanager
def reading(settings: Settings) -> Iterator[Lakehouse]:
    """The lakehouse; what goes wrong while it is read is an error of one line."""
    try:
        yield Lakehouse(settings)
    except (DeltaError, OSError) as error:
        # Messages of object stores are in several lines, with colours.
        cause = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
        raise LakehouseError(
            f"The lake {without_credentials(settings.lake_dir)} cannot be read (ALERTS_LAKE_DIR): {line(cause, 500)}"
        ) from error


def newest(
    lakehouse: Lakehouse, contract: Contract, conditions: Sequence[str], order: str, limit: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many rows of a table meet all conditions, and the first of them in an order; all where `limit` is 0."""
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    counted = records(lakehouse.rows(contract, f"SELECT count(*) AS total FROM t {where}"))
    first = f"ORDER BY {order} {f'LIMIT {limit}' if limit else ''}"
    rows = records(lakehouse.rows(contract, f"SELECT * FROM t {where} {first}"))
    return (counted[0]["total"] if counted else 0), rows


def id_prefix(given: str, what: str) -> str:
    """Return the hex digits that an id begins with, in lower case.

    Args:
        what: whose id, with its article: `an incident`.

    Raises:
        UserError: they are none, or too many.
    """
    prefix = given.lower()
    if not re.fullmatch("[0-9a-f]{1,16}", prefix):
        raise UserError(f"{given!r} is not {what} id: that is 16 hex digits, or the first of them.")
    return prefix


def ambiguous(what: str, prefix: str, total: int, ids: Iterable[str]) -> UserError:
    """What to say when several ids begin with the same; the first five of them are shown."""
    shown = ", ".join(sorted(list(ids)[:5]))
    return UserError(
        f"{total:,} {what} begin with {prefix}: {shown}{', ...' if total > 5 else ''}. Give more of the id."
    )
