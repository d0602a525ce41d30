"""Alerts to silver rows: one per fingerprint and tumbling window, whatever the order they came in.

The rules are in docs/rules.md, silver_alerts. A window is recomputed from all of its alerts whenever one more
arrives; nothing is ever added to an older result. That is why late events, redeliveries and retries
all end in the same rows, and why no watermark is needed here: `availableNow` does not close windows
that the watermark has not passed, so a stateful streaming aggregation would hold back the last ones.

Few alerts are collapsed in this process, many by Spark's workers, who get this module sent along
(:mod:`alert_assets.transforms.distributed`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alert_assets.contracts.vocabulary import SEVERITIES
from alert_assets.kernel.arrow import by_key, codes, is_in, micros, moments, numbered, smallest, starts, where

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIT_SEPARATOR = "\x1f"

#: Columns of an alert that silver looks at. When one event arrives with two contents, the smaller one
#: in this order stands for it: any fixed order would do, as long as it is one.
CONTENT = (
    "status",
    "severity",
    "alert_id",
    "application_id",
    "host",
    "alert_type",
    "current_value",
    "threshold",
    "source",
    "message",
    "url",
    "labels",
)

#: Columns of alerts that are needed, whatever tells them apart.
COLUMNS = ("event_id", "timestamp", "error_code", *CONTENT)

#: What a window shows of its last firing: the news, where a text or a label changes while it fires.
_OF_THE_LAST = ("source", "labels", "message", "url")

#: Of resolutions that say no severity, in a window without firings: what the event contract takes for a firing.
_UNKNOWN_SEVERITY = "MEDIUM"


def names(events: pa.Table, fields: Sequence[str]) -> pa.ChunkedArray:
    """The fields' values joined by U+001F, null as empty; `labels.NAME` is a label."""
    return pc.binary_join_element_wise(*[pc.fill_null(_field(events, name), "") for name in fields], UNIT_SEPARATOR)


def fingerprints(named: pa.ChunkedArray) -> pa.Array:
    """Hex SHA-256 of :func:`names`."""
    told_apart = named.combine_chunks().dictionary_encode()
    hashed = [sha256(name.encode()).hexdigest() for name in told_apart.dictionary.to_pylist()]
    return pa.array(hashed, pa.string()).take(told_apart.indices)


def deduplicate(alerts: pa.Table, *, dedup_fields: Sequence[str], window_minutes: int) -> pa.Table:
    """Collapse alert events.

    Args:
        alerts: events of type alert, their :data:`COLUMNS`; all of them, for every window among them.

    Returns:
        silver_alerts' columns but `_batch_id`.
    """
    width = window_minutes * 60_000_000
    labels = alerts.column_names.index("labels")
    named = alerts.set_column(labels, "labels", by_key(alerts["labels"]))
    named = named.append_column("name", names(alerts, dedup_fields))
    ordered = named.sort_by([(column, "ascending") for column in ("name", "timestamp", "event_id")])
    name, at = codes(ordered["name"]), micros(ordered["timestamp"])
    # A redelivery has the same event_id and timestamp.
    begins = starts(name, at, codes(ordered["event_id"]))
    number = numbered(begins, len(at))
    events = ordered.take(smallest(ordered.select(CONTENT), number))

    # Each event once, those of a window side by side in order of time and id.
    name, at = name[begins], at[begins]
    first_of_window = starts(name, at // width)
    window, count = numbered(first_of_window, len(at)), len(first_of_window)

    def last_of(places: np.ndarray) -> np.ndarray:
        """Of each window the last of some places of events, -1 where there is none."""
        found = np.full(count, -1)
        found[window[places]] = places
        return found

    firing = is_in(events["status"], "firing")
    firings = np.flatnonzero(firing)
    first_firing, last_firing, last_resolution = map(last_of, (firings[::-1], firings, np.flatnonzero(~firing)))
    fired = last_firing >= 0
    # A firing before any resolution, in each of these: resolutions count where nothing fired.
    shown_first = events.take(np.where(fired, first_firing, first_of_window))
    shown_last = events.take(np.where(fired, last_firing, last_resolution))
    ranked = pc.fill_null(pc.index_in(events["severity"], pa.array(SEVERITIES)), -1).to_numpy()
    counted = firing == fired[window]
    severest = np.full(count, -1)
    np.maximum.at(severest, window[counted], ranked[counted])
    value = pc.fill_null(events["current_value"], -np.inf).to_numpy()
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, window[firing], value[firing])
    alert_count = np.bincount(window[firing], minlength=count)
    deliveries, distinct = np.bincount(window[number], minlength=count), np.bincount(window, minlength=count)
    is_over = (last_resolution >= 0) & (~fired | (at[last_resolution] >= at[last_firing]))
    start = at[first_of_window] // width * width
    columns = {
        "fingerprint": fingerprints(shown_first["name"]),
        "window_start": moments(start),
        "window_end": moments(start + width),
        **{column: shown_first[column] for column in ("application_id", "host", "alert_type")},
        "severity": pa.array([_UNKNOWN_SEVERITY, *SEVERITIES]).take(pa.array(severest + 1)),
        **{column: where(fired, shown_first[column]) for column in ("alert_id", "current_value", "threshold")},
        "max_value": pa.array(highest, mask=np.isneginf(highest)),
        "first_seen_timestamp": moments(at[first_firing], fired),
        "last_seen_timestamp": moments(at[last_firing], fired),
        "alert_count": alert_count,
        "suppressed_count": np.maximum(alert_count - 1, 0),
        "duplicate_count": deliveries - distinct,
        "resolved_at": moments(at[last_resolution], is_over),
        **{column: shown_last[column] for column in _OF_THE_LAST},
    }
    return pa.table(columns)


def _field(events: pa.Table, name: str) -> pa.ChunkedArray:
    if name.startswith("labels."):
        return pc.map_lookup(events["labels"], name.removeprefix("labels."), "first")
    return events[name]
