"""Maps in the order of their keys, however Arrow lays them out."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.kernel.arrow import by_key

_MAP = pa.map_(pa.string(), pa.string())
_TEXTS = st.text("abc", max_size=2)
_ROWS = st.lists(st.none() | st.dictionaries(_TEXTS, st.none() | _TEXTS, max_size=3), max_size=6)


@given(_ROWS, st.integers(0, 3), st.integers(0, 6), st.integers(0, 3))
def test_slices_and_chunks(rows: list[dict[str, str] | None], first: int, length: int, again: int) -> None:
    whole = pa.array([None if row is None else list(row.items()) for row in rows], _MAP)
    chunks = [whole.slice(first, length), whole.slice(again)]
    expected = [row and sorted(row.items()) for row in [*rows[first : first + length], *rows[again:]]]
    assert by_key(pa.chunked_array(chunks, _MAP)).to_pylist() == [row if row is None else [*row] for row in expected]


def test_entries_behind_a_null_belong_to_no_row() -> None:
    """Arrow allows them: what sets a row to null may leave its entries where they are."""
    entries = pa.StructArray.from_arrays(
        [pa.array(list("wxyz")), pa.array(list("1234"))], fields=[_MAP.key_field, _MAP.item_field]
    )
    validity, offsets = pa.py_buffer(bytes([0b101])), pa.array([0, 1, 3, 4], pa.int32()).buffers()[1]
    maps = pa.Array.from_buffers(_MAP, 3, [validity, offsets], children=[entries])
    assert by_key(pa.chunked_array([maps])).to_pylist() == [[("w", "1")], None, [("z", "4")]]


def test_no_chunk_at_all() -> None:
    assert by_key(pa.chunked_array([], _MAP)).to_pylist() == []
