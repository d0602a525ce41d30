"""`alert-assets simulate` as people and scripts use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alert_assets import cli
from alert_assets.commands import simulate
from alert_assets.errors import UserError

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "alert_assets.cli"]


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The landing zone of settings that know nothing of the developer's own."""
    for name in [name for name in os.environ if name.startswith("ALERTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALERTS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "landing"


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(args)
    return int(left.value.code or 0)


def test_the_default_fills_the_landing_zone(landing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate") == 0
    out = capsys.readouterr().out

    assert len(list(landing.glob("*.jsonl"))) == 4
    assert "500" in out
    assert "memory-leak" in out


def test_json_is_all_there_is_on_stdout(landing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", "--json", "--start", "2026-02-14T09:30:00+01:00", "--malformed", "2%", "--late", "3") == 0
    summary = json.loads(capsys.readouterr().out)

    assert summary["faults"] == {"malformed": 10, "missing": 0, "invalid": 0, "duplicate": 0, "late": 3, "future": 0}
    assert (summary["events"], summary["lines"], summary["landing_dir"]) == (500, 513, str(landing))
    assert summary["first_timestamp"].startswith("2026-02-14T08:30:")
    assert sorted(summary["files"]) == sorted(path.name for path in landing.iterdir())


def test_twice_is_two_runs(landing: Path) -> None:
    start = ("--start", "2026-02-14T09:30:00Z")
    assert run("simulate", *start) == run("simulate", *start) == 0

    assert len(list(landing.iterdir())) == 8


def test_only_the_chosen_scenarios(landing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", "--json", "--scenario", "infra-restart", "--scenario", "deployment", "--events", "100") == 0

    assert set(json.loads(capsys.readouterr().out)["origins"]) == {"infra-restart", "deployment", "background"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--speed", "2"], "--speed needs --stream"),
        (["--stream", "--hours", "2"], "--hours cannot be used with --stream"),
        (["--stream", "--speed", "2", "--rate", "2"], "exclude each other"),
        (["--scenario", "flood"], "'flood'; choose from deployment"),
        (["--events", "10"], "at least"),
        (["--late", "many"], "--late: 'many' is neither a count"),
        (["--name", "../x"], "'../x' cannot begin a file name"),
        (["--landing-dir", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_wrong_use_is_one_line(
    landing: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    assert run("simulate", *args) == 2
    captured = capsys.readouterr()

    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("Error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not landing.exists() or not list(landing.iterdir())


@pytest.mark.parametrize(
    "args", [["--start", "yesterday"], ["--start", "2026-02-14T09:30:00"], ["--hours", "0"], ["--x"]]
)
def test_what_the_parser_refuses(landing: Path, args: list[str]) -> None:
    assert run("simulate", *args) == 2


def test_debug_shows_where_an_error_came_from(landing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", "--events", "10", "--debug") == run("--debug", "simulate", "--events", "10") == 2

    assert capsys.readouterr().err.count("Traceback") == 2


def test_bad_settings_are_one_message(
    landing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALERTS_WATERMARK_DELAY_MINUTES", "soon")
    assert run("simulate") == 2
    error = capsys.readouterr().err

    assert "ALERTS_WATERMARK_DELAY_MINUTES='soon'" in error
    assert "Traceback" not in error


def test_a_landing_zone_that_is_no_folder(
    landing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALERTS_LANDING_DIR", "s3://bucket/landing")
    assert run("simulate") == 2
    assert "--landing-dir" in capsys.readouterr().err
    assert run("simulate", "--landing-dir", str(landing)) == 0


def test_a_history_that_is_not_over_is_warned_about(landing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", "--start", "2090-01-01T00:00:00Z") == 0

    assert "Warning: this history ends at 2090-01-01T01:00:00Z" in capsys.readouterr().err


def test_a_bug_is_not_taken_for_wrong_use(landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(simulate, "write_history", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["simulate"])


def test_user_errors_can_come_from_anywhere(
    landing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise UserError("the disk is made of cheese; choose another")

    monkeypatch.setattr(simulate, "write_history", refused)
    assert run("simulate") == 2
    assert capsys.readouterr().err == "Error: the disk is made of cheese; choose another\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_stream_with_whole_files_and_a_summary(landing: Path, number: signal.Signals) -> None:
    options = ["--stream", "--rate", "200", "--flush-seconds", "0.1", "--json", "--landing-dir", str(landing)]
    process = subprocess.Popen(
        [*COMMAND, "simulate", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (landing.is_dir() and len(list(landing.glob("*.jsonl"))) >= 2):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    summary = json.loads(out)
    lines = [line for path in landing.iterdir() for line in path.read_text(encoding="utf-8").splitlines(keepends=True)]

    assert process.returncode == 0, err
    assert summary["stopped_by"] == "signal"
    assert len(lines) == summary["lines"]
    assert all(line.endswith("}\n") for line in lines)
    assert sorted(path.name for path in landing.iterdir()) == sorted(summary["files"])


def test_start_up_is_light() -> None:
    heavy = {"pyspark", "dagster", "pandas", "deltalake", "pandera", "sqlalchemy"}
    code = f"import alert_assets.cli, sys; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
