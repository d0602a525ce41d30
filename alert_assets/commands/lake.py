"""The lake as the commands read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError

from alert_assets.commands.output import line, without_credentials
from alert_assets.lake.lakehouse import Lakehouse, records
from alert_assets.lake.schema import LakehouseError
from alert_assets.settings import Settings

__all__ = ["reading", "records"]


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
