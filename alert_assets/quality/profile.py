"""Profiles of a table's columns by the hour: rows, nulls, distinct values, and how the values are distributed.

Numbers are kept as a KLL sketch (Apache DataSketches), a few kilobytes however many there were, texts as a count for
each value as long as these are few. Both can be added up over hours, so a baseline may be of any length without a
look at the rows behind it. A map of numbers is a column for each of its keys: `metrics.latency_ms`.

Only hours that are over are profiled, each once, so every row is read once. What comes later than the watermark is
accounted for by bronze, and not looked at again here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from datasketches import kll_doubles_sketch

#: Size of a sketch: its ranks are right to some 1.3 %.
SKETCH_K = 200
#: Values of a text column that are counted; one with more in an hour is open, and only its nulls and cardinality count.
MOST_VALUES = 100
#: Keys of a map that are columns, the most frequent first.
MOST_KEYS = 50


@dataclass(frozen=True)
class Profile:
    """One column in one hour, or over several.

    Attributes:
        rows: of the table; of a map's key, of those that have the key.
        nulls: rows without a value.
        distinct: distinct values.
        sketch: of the finite numbers; None for a column of texts.
        values: rows by value; None for numbers, and for texts with more than :data:`MOST_VALUES`.
    """

    rows: int
    nulls: int = 0
    distinct: int = 0
    sketch: kll_doubles_sketch | None = None
    values: Mapping[str, int] | None = field(default=None, hash=False)

    @property
    def filled(self) -> int:
        """Rows with a value."""
        return self.rows - self.nulls

    @property
    def null_share(self) -> float:
        """Nulls of all rows, 0 to 1."""
        return self.nulls / self.rows if self.rows else 0.0


def together(profiles: list[Profile]) -> Profile:
    """Return the profile of several hours as one; `distinct` is the highest of an hour."""
    from datasketches import kll_doubles_sketch

    sketch = None
    if any(profile.sketch is not None for profile in profiles):
        sketch = kll_doubles_sketch(SKETCH_K)
        for profile in profiles:
            if profile.sketch is not None:
                sketch.merge(profile.sketch)
    counted = [profile.values for profile in profiles if profile.filled]
    values: Counter[str] | None = None
    if counted and all(counts is not None for counts in counted):
        values = Counter()
        for counts in counted:
            values.update(counts)
    return Profile(
        rows=sum(profile.rows for profile in profiles),
        nulls=sum(profile.nulls for profile in profiles),
        distinct=max((profile.distinct for profile in profiles), default=0),
        sketch=sketch,
        values=values,
    )


def profiles_of(rows: pa.Table) -> dict[str, Profile]:
    """Return the profile of each column of some rows, by its name; those of arrays and times have nulls alone."""
    found = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        for part, values in _columns(name, column):
            found[part] = _profile(values)
    return found


def _columns(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray | pa.Array]]:
    """A column, and for a map of numbers one for each of its keys, for a struct one for each number in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    yield name, column
    if pa.types.is_struct(column.type):
        for part in column.type:
            if pa.types.is_integer(part.type) or pa.types.is_floating(part.type):
                yield f"{name}.{part.name}", pc.struct_field(column, part.name)
    if not pa.types.is_map(column.type) or not pa.types.is_floating(column.type.item_type):
        return
    whole = column.combine_chunks()
    if not len(whole):
        return
    # Entries of a null row may be there, and are not its values.
    keep = whole.drop_null()
    first, last = keep.offsets[0].as_py(), keep.offsets[len(keep)].as_py()
    keys, items = keep.keys.slice(first, last - first), keep.items.slice(first, last - first)
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(keys).to_pylist()}
    for key in sorted(counts, key=lambda key: (-counts[key], key))[:MOST_KEYS]:
        yield f"{name}.{key}", items.filter(pc.equal(keys, key))


def _profile(column: pa.ChunkedArray | pa.Array) -> Profile:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, nulls, kind = len(column), column.null_count, column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = pc.cast(column.drop_null(), pa.float64())
        numbers = numbers.filter(pc.is_finite(numbers))
        return Profile(rows, nulls, len(pc.unique(numbers)), sketch=_sketch(numbers))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        counts = pc.value_counts(pc.cast(column.drop_null(), pa.string()))
        values = None
        if len(counts) <= MOST_VALUES:
            values = {entry["values"]: entry["counts"] for entry in counts.to_pylist()}
        return Profile(rows, nulls, len(counts), values=values)
    return Profile(rows, nulls)


def _sketch(numbers: pa.ChunkedArray | pa.Array) -> kll_doubles_sketch:
    import numpy as np
    from datasketches import kll_doubles_sketch

    sketch = kll_doubles_sketch(SKETCH_K)
    # A copy: Arrow's own memory may not be written, and the sketch takes no other.
    sketch.update(np.array(numbers.to_numpy(zero_copy_only=False), np.float64))
    return sketch
