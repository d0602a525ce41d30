"""Programs that are measured: how they end, what they said, what memory they had. Real processes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from benchmarks.memory import MemoryWatch, memory_mib
from benchmarks.processes import ROOT, BenchError, OutOfTime, environment, python, run

if TYPE_CHECKING:
    from pathlib import Path


def start(script: str, folder: Path, **options):
    return run("a program", python("-c", script), folder=folder, environment=os.environ, with_server=False, **options)


def test_a_program_that_ends_well_has_a_time_and_its_output(tmp_path: Path):
    done = start("import time; time.sleep(0.6); print('done')", tmp_path)
    assert done.output == "done\n"
    assert 0.6 < done.seconds < 30
    assert done.ended_at - done.started_at == pytest.approx(done.seconds, abs=0.5)
    assert done.peak.driver > 0
    assert not done.peak.java_seen


def test_a_program_that_fails_shows_the_end_of_what_it_said(tmp_path: Path):
    with pytest.raises(BenchError) as caught:
        start("[print('line', n, flush=True) for n in range(1000)]; raise SystemExit('no room')", tmp_path)
    message = str(caught.value)
    assert "a program failed with exit code 1" in message
    assert message.endswith("  line 999\n  no room") or "  no room" in message
    assert "line 100\n" not in message


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path):
    script = (
        "import subprocess, sys, pathlib, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "pathlib.Path('pid').write_text(str(child.pid)); time.sleep(300)"
    )
    with pytest.raises(OutOfTime, match="not finished after 3 s"):
        start(script, tmp_path, timeout_seconds=3)
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)


def test_the_memory_of_a_tree_holds_what_a_child_takes(tmp_path: Path):
    hold = "b = bytearray(b'x' * (200 << 20)); import time; time.sleep(1.5)"
    done = start(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}], check=True)", tmp_path)
    assert done.peak.driver > 200
    assert done.peak.total == pytest.approx(done.peak.driver)


def test_a_process_that_is_gone_has_no_memory():
    done = psutil.Popen(python("-c", "pass"))
    done.wait()
    assert memory_mib(done.pid) == 0
    with MemoryWatch(done.pid, lambda: None) as watch:
        time.sleep(0.6)
    assert watch.peak.total == 0


def test_what_the_user_has_set_does_not_reach_a_measured_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("ALERTS_LAKE_DIR", "DAGSTER_HOME", "SPARK_REMOTE", "SPARK_LOCAL_CONNECT_DISCOVERY"):
        monkeypatch.setenv(name, "the user's")
    found = environment(tmp_path, tmp_path / "data", tmp_path / "home", ALERTS_SPARK_MODE="classic")
    assert "the user's" not in found.values()
    assert found["ALERTS_DATA_DIR"] == str(tmp_path / "data")
    assert found["ALERTS_SPARK_MODE"] == "classic"
    assert found["SPARK_LOCAL_CONNECT_DISCOVERY"].startswith(str(tmp_path))


def test_what_is_measured_is_not_charged_for_the_bench() -> None:
    script = "import sys, benchmarks.control_plane; print(*sys.modules)"
    assert {"numpy", "psutil", "alert_assets"} & set(start(script, ROOT).output.split()) == set()
