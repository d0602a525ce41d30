"""A landing zone that is a URL: what was answered is in the spool, and then there."""

from __future__ import annotations

import httpx

from alert_assets.intake.shipping import Shipper
from alert_assets_tests.intake.site import landed_lines, serving


def test_files_are_shipped_in_order_once_and_whole(tmp_path):
    spool, landing = tmp_path / "spool", tmp_path / "landing"
    spool.mkdir()
    landing.mkdir()
    for number in range(3):
        (spool / f"intake-2026021{number}.jsonl").write_bytes(b"%d\n" % number * 500_000)
    (spool / ".intake-20260219.jsonl").write_bytes(b"half")
    shipper = Shipper(spool, f"file://{landing}")
    assert shipper.ship() == 3
    assert landed_lines(landing) == [b"0"] * 500_000 + [b"1"] * 500_000 + [b"2"] * 500_000
    assert [path.name for path in spool.iterdir()] == [".intake-20260219.jsonl"]
    assert shipper.ship() == 0


def test_what_cannot_be_shipped_waits_and_is_said(tmp_path):
    spool, landing = tmp_path / "spool", tmp_path / "landing"
    spool.mkdir()
    (spool / "intake-1.jsonl").write_bytes(b"1\n")
    shipper = Shipper(spool, f"file://{landing}")
    assert shipper.ship() == 0
    assert shipper.failure
    assert str(landing) in shipper.failure
    landing.mkdir()
    assert shipper.ship() == 1
    assert shipper.failure is None


def test_a_server_before_a_landing_zone_that_is_a_url(tmp_path):
    (tmp_path / "bucket").mkdir()
    with serving(tmp_path / "data", ALERTS_LANDING_DIR=f"file://{tmp_path}/bucket") as site:
        assert httpx.post(f"{site.url}/intake/events", content=b'{"a": 1}\n').status_code == 202
    assert landed_lines(tmp_path / "bucket") == [b'{"a": 1}']


def test_it_answers_while_the_landing_zone_is_away(tmp_path):
    with serving(tmp_path / "data", ALERTS_LANDING_DIR=f"file://{tmp_path}/bucket") as site:
        assert httpx.post(f"{site.url}/intake/events", content=b'{"a": 1}\n').status_code == 202
    (tmp_path / "bucket").mkdir()
    with serving(tmp_path / "data", ALERTS_LANDING_DIR=f"file://{tmp_path}/bucket"):
        pass
    assert landed_lines(tmp_path / "bucket") == [b'{"a": 1}']
