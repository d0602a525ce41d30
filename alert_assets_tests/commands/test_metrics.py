"""`alert-assets metrics`: what `serve` has for Prometheus, without it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets_tests.commands.lake import event, write
from alert_assets_tests.observe.test_statsd import listening

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="promtool is needed")
def test_a_textfile_is_whole_and_valid(settings: Settings, run: Run, tmp_path: Path) -> None:
    write(settings, BRONZE_EVENTS, event(1), event(2))
    printed = run("metrics")
    assert printed.code == 0
    assert 'alert_assets_table_rows{table="bronze_events"} 2.0' in printed.out
    folder = tmp_path / "textfiles"
    folder.mkdir()
    assert run("metrics", "--to", str(folder / "alert_assets.prom")).code == 0
    assert [path.name for path in folder.iterdir()] == ["alert_assets.prom"]
    text = (folder / "alert_assets.prom").read_text("utf-8")
    assert 'alert_assets_table_rows{table="bronze_events"} 2.0' in text
    checked = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_a_folder_that_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    result = run("metrics", "--to", str(tmp_path / "none" / "x.prom"))
    assert result.code != 0
    assert "cannot be written: No such file or directory" in result.err


def test_cron_can_send_to_statsd(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("metrics", "--statsd")
    assert result.code != 0
    assert "ALERTS_STATSD_URL is not set. Set it, e.g. to statsd://localhost:8125, and try again." in result.err
    write(settings, BRONZE_EVENTS, event(1), event(2))
    with listening() as server:
        monkeypatch.setenv("ALERTS_STATSD_URL", f"statsd://127.0.0.1:{server.port}")
        result = run("metrics", "--statsd")
        assert (result.code, result.out) == (0, "")
        assert "table.row_count.bronze_events:2|g" in server.lines()
    monkeypatch.setenv("ALERTS_STATSD_URL", "statsd://no-such-host.invalid")
    result = run("metrics", "--statsd")
    assert result.code != 0
    assert "ALERTS_STATSD_URL=statsd://no-such-host.invalid gets nothing: " in result.err
