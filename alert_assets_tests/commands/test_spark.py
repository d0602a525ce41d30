"""`alert-assets spark`, on processes that look like Spark's server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from alert_assets.spark import server as spark_server
from alert_assets.spark.server import discovery_file, running_server, stop_server

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets_tests.commands.conftest import Run

CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
PID_FILE = f"spark-local-connect-{CLASS}-1.pid"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server is written down, by PySpark; nothing is yet."""
    path = tmp_path / "spark" / "connect.json"
    monkeypatch.setenv("SPARK_LOCAL_CONNECT_DISCOVERY", str(path))
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def start(name: str = CLASS, code: str = "") -> subprocess.Popen[str]:
        # Whatever ran in this process before may have had SIGTERM ignored or blocked, which a child inherits.
        fresh = "import signal as s; s.signal(s.SIGTERM, s.SIG_DFL); s.pthread_sigmask(s.SIG_UNBLOCK, {s.SIGTERM})"
        wait = f"{fresh}\n{code}\nimport time; print('up', flush=True); time.sleep(600)"
        process = subprocess.Popen([sys.executable, "-c", wait, name], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def write(record: Path, pid: int) -> None:
    record.parent.mkdir(exist_ok=True)
    server = {"host": "localhost", "port": 15002, "token": "hunter2", "pid": pid, "spark_version": "4.3.0"}
    record.write_text(json.dumps(server))


def test_none(record: Path, run: Run) -> None:
    assert "No warm Spark server" in run("spark", "status").out
    assert run("spark", "status", "--json").json["running"] is False
    assert run("spark", "stop").out == "No warm Spark server runs.\n"
    assert run("spark", "stop", "--json").json == {"stopped": False}
    assert not record.parent.exists()


def test_one_that_runs_is_shown_and_stopped(record: Path, run: Run, start: Start) -> None:
    server = start()
    write(record, server.pid)
    (record.parent / PID_FILE).write_text(f"{server.pid}\n")
    shown = run("spark", "status").out

    assert "Spark 4.3.0 runs." in shown
    assert "localhost:15002" in shown
    assert str(server.pid) in shown
    assert run("spark", "status", "--json").json["endpoint"] == "localhost:15002"
    assert "hunter2" not in shown + run("spark", "status", "--json").out
    assert run("spark", "stop").out == "The warm Spark server is stopped.\n"
    assert server.wait(10) == -signal.SIGTERM
    assert sorted(path.name for path in record.parent.iterdir()) == ["connect.json.lock"]
    assert running_server() is None


def test_one_that_was_left_without_a_record(record: Path, run: Run, start: Start) -> None:
    server = start()
    record.parent.mkdir()
    (record.parent / PID_FILE).write_text(f"{server.pid}\n")

    assert "without a record" in run("spark", "status").out
    assert stop_server() is True
    assert server.wait(10) == -signal.SIGTERM


def ask_for_spark(folder: Path, mode: str = "connect") -> None:
    """Ask for a session as a run does, where Spark's scripts are not there to start one."""
    ask = (
        "from alert_assets.settings import load_settings\n"
        "from alert_assets.spark.session import spark_resource\n"
        "spark_resource(load_settings(_env_file=None)).spark_session"
    )
    variables = os.environ | {"SPARK_HOME": str(folder / "no-spark"), "ALERTS_SPARK_MODE": mode}
    asked = subprocess.run([sys.executable, "-c", ask], env=variables, capture_output=True, text=True)
    assert "no-spark" in asked.stderr


def test_a_run_ends_the_one_whose_starter_was_killed(record: Path, start: Start, tmp_path: Path) -> None:
    """PySpark starts none beside it and cannot connect to it: every run would fail until somebody stops it."""
    server = start()
    record.parent.mkdir()
    (record.parent / PID_FILE).write_text(f"{server.pid}\n")
    ask_for_spark(tmp_path)
    assert server.wait(10) == -signal.SIGTERM
    assert running_server() is None


def test_a_run_with_a_spark_of_its_own_ends_none(record: Path, start: Start, tmp_path: Path) -> None:
    server = start()
    record.parent.mkdir()
    (record.parent / PID_FILE).write_text(f"{server.pid}\n")
    ask_for_spark(tmp_path, "classic")
    assert server.poll() is None


def test_a_stale_record_is_removed_and_nobody_else_is_stopped(record: Path, run: Run, start: Start) -> None:
    gone = start()
    gone.kill()
    gone.wait()
    bystander = start("somebody-else")
    for pid in (gone.pid, bystander.pid, 0, -1):
        write(record, pid)
        assert run("spark", "status", "--json").json["running"] is False
        assert stop_server() is False
        assert not record.exists()
    assert bystander.poll() is None


@pytest.mark.parametrize("content", ["", "{broken", "[]", '{"pid": "x"}', "\xff"])
def test_a_broken_record(record: Path, content: str) -> None:
    record.parent.mkdir()
    record.write_text(content, encoding="latin-1")
    (record.parent / PID_FILE).write_text("none")

    assert running_server() is None
    assert stop_server() is False
    assert not record.exists()


def test_one_that_does_not_stop(record: Path, run: Run, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_server, "_STOP_SECONDS", 0.3)
    server = start(code="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    write(record, server.pid)
    result = run("spark", "stop")

    assert (result.code, result.out) == (2, "")
    assert f"kill -9 {server.pid}" in result.err
    assert record.exists()


def test_a_remote_server_is_named_without_its_token(record: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_REMOTE", "sc://spark.example:15002/;token=hunter2")

    assert "runs use spark.example:15002," in run("spark", "status").out
    assert run("spark", "status", "--json").json["spark_remote"] == "spark.example:15002"


def test_each_interpreter_has_its_own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARK_LOCAL_CONNECT_DISCOVERY")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = discovery_file()
    monkeypatch.setattr(sys, "executable", "/elsewhere/bin/python")

    assert discovery_file() != first
    assert first.parent.parent == discovery_file().parent.parent
    assert os.stat(first.parent.parent).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("command", ["status", "stop"])
def test_a_folder_that_others_could_write_to_is_refused_in_a_sentence(record: Path, run: Run, command: str) -> None:
    record.parent.mkdir()
    record.parent.chmod(0o777)
    write(record, 1)
    result = run("spark", command)

    assert (result.code, result.out) == (2, "")
    assert f"{record.parent} can be written by others (mode 0777)" in " ".join(result.err.split())
    assert "Traceback" not in result.err
