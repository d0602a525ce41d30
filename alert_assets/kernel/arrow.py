"""Arrow tables compared and put in order, as the transforms need it; Spark's workers get this module sent along."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: A time as tables store it.
MOMENT = pa.timestamp("us", "UTC")


def micros(times: pa.ChunkedArray) -> np.ndarray:
    """Times, none null, as microseconds since the epoch."""
    return np.asarray(times.cast(MOMENT).cast(pa.int64()).to_numpy())


def moments(at: np.ndarray, where: np.ndarray | None = None) -> pa.Array:
    """Microseconds since the epoch as times; null where `where` does not hold."""
    return pa.array(at, mask=None if where is None else ~where).cast(MOMENT)


def is_in(column: pa.ChunkedArray, *values: str) -> np.ndarray:
    """Whether a text is one of these; no null is."""
    return np.asarray(pc.is_in(column, value_set=pa.array(values)).to_numpy())


def where(holds: np.ndarray, column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """The values where something holds, null elsewhere."""
    return pc.if_else(pa.array(holds), column, pa.scalar(None, column.type))


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each text, the same for the same; null has one too."""
    return np.asarray(column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy())


def by_key(maps: pa.ChunkedArray) -> pa.MapArray:
    """Maps, which have no order, with their entries in that of their keys."""
    together = maps.combine_chunks()
    ends, is_null = together.offsets.to_numpy(), together.is_null().to_numpy(False)
    keys, items = (part.slice(ends[0], ends[-1] - ends[0]) for part in (together.keys, together.items))
    row = np.repeat(np.arange(len(together)), np.diff(ends))
    order = pc.sort_indices(pa.table([row, keys], ["row", "key"]), [("row", "ascending"), ("key", "ascending")])
    # What lies behind a null is no row's.
    order = order.filter(pa.array(~is_null[row[order]]))
    ends = np.append(0, np.cumsum(np.where(is_null, 0, np.diff(ends))))
    offsets = pa.array(ends, pa.int32(), mask=np.append(is_null, False))
    return pa.MapArray.from_arrays(offsets, keys.take(order), items.take(order), together.type)


def starts(*columns: np.ndarray) -> np.ndarray:
    """The places at which a new combination of values begins, where the same ones are neighbours."""
    begins = np.zeros(len(columns[0]), bool)
    begins[:1] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(begins)


def numbered(begins: np.ndarray, length: int) -> np.ndarray:
    """Of each of so many places the number of the stretch that it is in, from where the stretches begin."""
    return np.repeat(np.arange(len(begins)), np.diff(np.append(begins, length)))


def differs(left: pa.Table, right: pa.Table) -> np.ndarray:
    """Whether rows at the same place have different values in a column; null and null are the same, maps have an order.

    Columns that Arrow cannot compare are looked at one by one, where no other differs.
    """
    found = np.zeros(left.num_rows, bool)
    nested = []
    for name in left.column_names:
        one, other = left[name], right[name]
        if pa.types.is_nested(one.type):
            nested.append((one, other))
            continue
        same = pc.or_(pc.fill_null(pc.equal(one, other), False), pc.and_(pc.is_null(one), pc.is_null(other)))
        found |= ~same.to_numpy()
    for one, other in nested:
        open_ = np.flatnonzero(~found)
        places = pa.array(open_)
        pairs = zip(one.take(places).to_pylist(), other.take(places).to_pylist(), strict=True)
        found[open_] = [a != b for a, b in pairs]
    return found


def smallest(rows: pa.Table, number: np.ndarray) -> np.ndarray:
    """Of the rows of a number the smallest by its columns in their order, null first; numbers go up.

    Returns:
        The place of one row for each number, in order.
    """
    begins = starts(number)
    chosen = begins.copy()
    sizes = np.diff(np.append(begins, len(number)))
    several = np.flatnonzero(sizes > 1)
    if len(several):
        inside = np.setdiff1d(np.arange(len(number)), begins)
        unlike = differs(rows.take(pa.array(inside)), rows.take(pa.array(inside - 1)))
        several = np.unique(np.searchsorted(begins, inside[unlike], "right") - 1)
    for which in several.tolist():
        begin, size = int(begins[which]), int(sizes[which])
        found = [_order(row) for row in rows.slice(begin, size).to_pylist()]
        chosen[which] = begin + found.index(min(found))
    return chosen


def _order(value: object) -> tuple[object, ...]:
    """A value as something that any other of its column can be compared with."""
    if isinstance(value, dict):
        return (True, tuple(map(_order, value.values())))
    if isinstance(value, list | tuple):
        return (True, tuple(map(_order, value)))
    return (value is not None, value)
