"""Predicates over texts, asked of DataFusion."""

from __future__ import annotations

import pytest

from alert_assets.kernel.sql import one_of
from alert_assets.lake.rows import query

TEXTS = ("plain", "it's", "100 %")


@pytest.mark.parametrize("named", [(), ("plain",), ("it's", "100 %"), TEXTS])
def test_a_column_is_one_of_those_that_are_named(named: tuple[str, ...]) -> None:
    rows = "VALUES ('plain'), ('it''s'), ('100 %')"
    found = query(f"SELECT text FROM ({rows}) AS t (text) WHERE {one_of('text', named)}")
    assert {row["text"] for row in found} == set(named)


def test_of_too_many_none_is_named() -> None:
    assert one_of("text", TEXTS, most=3) != "true"
    assert one_of("text", TEXTS, most=2) == "true"
