"""The same lines at once, and in pieces out of order with redeliveries and a rebuild, give the same rows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets_tests.oracle.comparison import assert_same_rows, assert_same_tables, cut, expected_of, make_lines
from alert_assets_tests.oracle.generate import write_files
from alert_assets_tests.promises.conftest import site_in, tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_any_order_and_any_number_of_runs_gives_the_same_tables(tmp_path: Path) -> None:
    lines, rng = make_lines(11, 1200), random.Random(11)
    again = rng.sample(lines, 200)
    at_once = site_in(tmp_path / "at-once")
    write_files([*lines, *again], Path(at_once.settings.landing_dir), rng, max_files=4, gzip_share=0.5)
    at_once.materialize("+gold_incidents")

    in_pieces = site_in(tmp_path / "in-pieces")
    for number, piece in enumerate(cut([*rng.sample(lines, len(lines)), *again], rng, 2)):
        write_files(piece, Path(in_pieces.settings.landing_dir) / str(number), rng, max_files=3, gzip_share=0.5)
        in_pieces.materialize("+gold_incidents")

    expected = expected_of([*lines, *again], at_once.settings)
    assert len(expected.gold) > 20
    assert_same_tables(tables(at_once), expected)
    for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
        assert_same_rows(tables(in_pieces).by_key(contract), tables(at_once).by_key(contract))
