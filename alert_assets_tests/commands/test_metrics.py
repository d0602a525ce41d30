"""`alert-assets metrics`: what `serve` has for Prometheus, without it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets_tests.commands.lake import event, write

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
