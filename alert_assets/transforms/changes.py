"""What has to change for a table to hold recomputed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from alert_assets.kernel.arrow import differs

if TYPE_CHECKING:
    from collections.abc import Sequence


def changed_rows(before: pa.Table, after: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows of `after` that are new or differ from the row of `before` with the same key.

    Args:
        before: rows as they are stored.
        after: rows as they should be; they have no `_batch_id` yet.
        key: columns, none a float, that identify a row in both.

    Returns:
        Rows with the columns of `after`. Rows that are the same keep their `_batch_id` by not being
        written, so that nothing downstream is recomputed for them.
    """
    stored = before.select(key).append_column("_stored", pa.array(np.arange(before.num_rows)))
    asked = after.select(key).append_column("_asked", pa.array(np.arange(after.num_rows)))
    found = asked.join(stored, list(key), join_type="inner")
    there, here = found["_asked"], found["_stored"]
    unlike = differs(after.take(there), before.select(after.column_names).take(here))
    changed = np.ones(after.num_rows, bool)
    changed[there.to_numpy()] = unlike
    return after.filter(pa.array(changed))
