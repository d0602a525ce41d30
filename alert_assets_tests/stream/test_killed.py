"""What is killed under a running `alert-assets stream`, and what works beside it. Minutes, so CI leaves it out."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.spark.server import DISCOVERY_VARIABLE
from alert_assets_tests.oracle.comparison import assert_same_tables, cut, expected_of, make_lines
from alert_assets_tests.oracle.generate import write_files
from alert_assets_tests.promises.conftest import site_in, tables
from alert_assets_tests.support.stream import Stream

if TYPE_CHECKING:
    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_in(tmp_path)


def kill_server() -> None:
    os.kill(json.loads(Path(os.environ[DISCOVERY_VARIABLE]).read_text())["pid"], signal.SIGKILL)


def test_kills_and_a_run_beside_it_over_many_batches(site: Site) -> None:
    import random

    rng = random.Random(5)
    lines = make_lines(5, 600)
    pieces = cut(lines, rng, 4)
    landing = Path(site.settings.landing_dir)

    def land(number: int) -> None:
        hidden = landing / f".{number}"
        write_files(pieces[number], hidden, rng, max_files=2, gzip_share=0.5)
        hidden.rename(landing / str(number))

    stream = Stream(site)
    try:
        land(0)
        stream.await_line(" alert windows")
        kill_server()
        land(1)
        assert "Spark server" in stream.await_line("Failed, and tried again in 1 s")
        stream.await_line(" alert windows")
        land(2)
        site.materialize("+gold_incidents")
        stream.process.send_signal(signal.SIGKILL)
        stream.process.communicate(timeout=60)
        land(3)
        stream = Stream(site)
        stream.await_line(" alert windows")
        stream.end(signal.SIGTERM)
        assert stream.process.returncode == 0
    finally:
        if stream.process.poll() is None:
            os.killpg(stream.process.pid, signal.SIGKILL)
    assert_same_tables(tables(site), expected_of(lines, site.settings))
