"""What the lookbacks of one application's incidents hold: the events in time order, the lookbacks as ranges of them.

An application's incidents meet its events here, and never as pairs of rows: 2,000 alerts and 5,000 events are two
sorted columns. What a range holds is told by sums up to its two ends or, for the most frequent texts, by counts that
slide along with it. So the memory taken grows with events plus incidents, and so does the time, times the number of
different texts at most.

This module is sent along to Spark's workers, who need numpy and pyarrow for it, but not this package.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alert_assets.kernel.arrow import MOMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The most error codes, error messages and deployments that an incident lists.
MOST_CODES, MOST_MESSAGES, MOST_DEPLOYMENTS = 50, 5, 50

#: So many incidents' texts are put into one array, which holds 2 GB at most.
_AT_ONCE = 10_000

#: Doubles are whole numbers of 2^-1074.
_FINEST_BIT = 1074

_DEPLOYMENT = pa.struct(
    [("deployment_id", pa.string()), ("version", pa.string()), ("change_type", pa.string()), ("timestamp", MOMENT)]
)

#: A row of :func:`evidence`.
EVIDENCE = pa.schema(
    [
        ("evidence_count", pa.int64()),
        ("coded_count", pa.int64()),
        ("prior_alert_count", pa.int64()),
        ("other_alert_count", pa.int64()),
        ("cpu_max", pa.float64()),
        ("cpu_avg", pa.float64()),
        ("memory_max", pa.float64()),
        ("error_rate_max", pa.float64()),
        ("codes", pa.list_(pa.struct([("code", pa.string()), ("count", pa.int64())]))),
        ("messages", pa.list_(pa.struct([("message", pa.string()), ("count", pa.int64())]))),
        ("deployments", pa.list_(_DEPLOYMENT)),
    ]
)


def evidence(incidents: pa.Table, events: pa.Table) -> pa.Table:
    """Gather what is in the incidents' lookbacks.

    Args:
        incidents: of one application: `fingerprint, own_alert_id`, and `from` and `to`, the ends of the
            lookback, both included, in microseconds.
        events: the application's, each once, in any order: `at` in microseconds, `is_firing`, `alert_id`, `alert` (the
            fingerprint of one that fires), `code` and `listed_code`, `message`, `cpu_percent`, `memory_percent`,
            `error_rate` and `deployment_id, version, change_type`; null where it is no business of the event.

    Returns:
        A row of :data:`EVIDENCE` for each incident, in their order.
    """
    events = events.sort_by("at")
    parts = (incidents.slice(start, _AT_ONCE) for start in range(0, max(len(incidents), 1), _AT_ONCE))
    return pa.concat_tables([_evidence(part, events) for part in parts])


def _evidence(incidents: pa.Table, events: pa.Table) -> pa.Table:
    at = _numbers(events["at"])
    spans = Spans(at, _numbers(incidents["from"]), _numbers(incidents["to"]))
    firing = events["is_firing"].to_numpy().astype(bool)
    fired = spans.count(firing)
    cpu = _numbers(events["cpu_percent"])
    columns = [
        spans.last - spans.first,
        spans.count(_is_given(events["code"])),
        fired - spans.count_same(firing, events["alert_id"], incidents["own_alert_id"]),
        fired - spans.count_same(firing, events["alert"], incidents["fingerprint"]),
        spans.maximum(cpu),
        pa.array(spans.means(cpu), pa.float64()),
        spans.maximum(_numbers(events["memory_percent"])),
        spans.maximum(_numbers(events["error_rate"])),
        spans.most_frequent(events["listed_code"], "code", MOST_CODES),
        spans.most_frequent(events["message"], "message", MOST_MESSAGES),
        spans.newest(events.select(["deployment_id", "version", "change_type", "at"]), MOST_DEPLOYMENTS),
    ]
    return pa.table(columns, schema=EVIDENCE)


class Spans:
    """Lookbacks as ranges [first, last) of events in time order. What is returned has an item a lookback."""

    def __init__(self, at: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
        """Take the events' sorted times and the lookbacks' ends, both included."""
        self.first = np.searchsorted(at, begin, "left")
        self.last = np.searchsorted(at, end, "right")

    def count(self, holds: np.ndarray) -> np.ndarray:
        """How many events something holds for."""
        up_to = np.concatenate([[0], np.cumsum(holds)])
        counted: np.ndarray = up_to[self.last] - up_to[self.first]
        return counted

    def count_same(self, holds: np.ndarray, texts: pa.ChunkedArray, own: pa.ChunkedArray) -> np.ndarray:
        """How many of these events have the lookback's own text; null is a text like any other."""
        known = pc.unique(own)
        of_event = pc.fill_null(pc.index_in(texts, value_set=known), -1).to_numpy().astype(np.int64)
        of_span = pc.index_in(own, value_set=known).to_numpy().astype(np.int64)
        # By text, then place: the events of one text in a range are neighbours.
        places = np.flatnonzero(holds & (of_event >= 0))
        size = len(holds) + 1
        in_order = np.sort(of_event[places] * size + places)
        begin, end = (np.searchsorted(in_order, of_span * size + place) for place in (self.first, self.last))
        counted: np.ndarray = end - begin
        return counted

    def maximum(self, values: np.ndarray) -> pa.Array:
        """The highest of the values, NaN for none; null where there is none.

        Two stretches whose length is a power of two, the longest that fit, cover a range.
        """
        length = self.last - self.first
        found = np.full(len(length), -np.inf)
        highest, size = np.where(np.isnan(values), -np.inf, values), 1
        while size <= len(values):
            fits = (length >= size) & (length < 2 * size)
            found[fits] = np.maximum(highest[self.first[fits]], highest[self.last[fits] - size])
            highest, size = np.maximum(highest[:-size], highest[size:]), 2 * size
        return pa.array(found, mask=np.isneginf(found))

    def means(self, values: np.ndarray) -> list[float | None]:
        """The mean of the values, NaN for none: added exactly and rounded once, the same in any order."""
        places = np.flatnonzero(~np.isnan(values))
        sums = list(accumulate(map(_whole, values[places].tolist()), initial=0))
        return [
            (sums[end] - sums[begin]) / (end - begin << _FINEST_BIT) if end > begin else None
            for begin, end in zip(*(ends.tolist() for ends in self._inside(places)), strict=True)
        ]

    def most_frequent(self, texts: pa.ChunkedArray, name: str, most: int) -> pa.Array:
        """The most frequent texts with their counts, the most frequent first, on equal counts the first by text."""
        known = pc.unique(pc.drop_null(texts))
        known = known.take(pc.sort_indices(known))
        places = np.flatnonzero(_is_given(texts))
        numbers = pc.index_in(pc.drop_null(texts), value_set=known).to_numpy().astype(np.int64)
        # In a storm many look back on the same events.
        ranges, of_span = np.unique(np.stack(self._inside(places), axis=1), axis=0, return_inverse=True)
        found = [*_counted(numbers, ranges, len(known), most), (numbers[:0], numbers[:0])]
        ends = np.cumsum([len(kept) for kept, _ in found])
        begin = np.concatenate([[0], ends[:-1]])
        kept, counts = (np.concatenate(part) for part in zip(*found, strict=True))
        offsets, items = _lists(begin[of_span.reshape(-1)], ends[of_span.reshape(-1)])
        pairs = pa.StructArray.from_arrays(
            [known.take(pa.array(kept[items])), pa.array(counts[items])], [name, "count"]
        )
        return pa.ListArray.from_arrays(offsets, pairs)

    def newest(self, deployments: pa.Table, most: int) -> pa.Array:
        """The last deployments, in time order, then by id, version and type of change, none first."""
        places = np.flatnonzero(_is_given(deployments["deployment_id"]))
        found = deployments.take(pa.array(places))
        found = found.append_column("has_change_type", pc.is_valid(found["change_type"]).cast(pa.int8()))
        order = ("at", "deployment_id", "version", "has_change_type", "change_type")
        found = found.sort_by([(name, "ascending") for name in order])
        begin, end = self._inside(places)
        offsets, items = _lists(np.maximum(begin, end - most), end)
        listed = found.append_column("timestamp", found["at"].cast(MOMENT)).select([part.name for part in _DEPLOYMENT])
        listed = listed.take(pa.array(items))
        return pa.ListArray.from_arrays(offsets, listed.to_struct_array().combine_chunks())

    def _inside(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lookbacks as ranges of the events at these places."""
        return np.searchsorted(places, self.first), np.searchsorted(places, self.last)


def _counted(numbers: np.ndarray, ranges: np.ndarray, size: int, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each of the ranges, which go up, the numbers below `size` that are most frequent in it, and their counts."""
    counts = np.zeros(size, np.int64)
    first = last = 0
    for begin, end in ranges.tolist():
        np.add.at(counts, numbers[last:end], 1)
        np.subtract.at(counts, numbers[first:begin], 1)
        first, last = begin, end
        there = np.flatnonzero(counts)
        order = size * counts[there] - there
        if len(there) > most:
            kept = np.argpartition(order, -most)[-most:]
            there, order = there[kept], order[kept]
        there = there[np.argsort(-order)]
        yield there, counts[there]


def _lists(begin: np.ndarray, end: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """The offsets of lists one after another, and the places of their items, where list n is [begin[n], end[n])."""
    offsets = np.concatenate([[0], np.cumsum(end - begin)])
    items = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], end - begin)
    return pa.array(offsets, pa.int32()), items


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers; of doubles, null as NaN."""
    return np.asarray(column.to_numpy())


def _is_given(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.is_valid(column).to_numpy())


def _whole(value: float) -> int:
    """The double in units of 2^-1074."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << _FINEST_BIT + 1 - denominator.bit_length()
