"""`alert-assets breaker run` as cron, a terminal and systemd start it: processes of their own, a real dbt project."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets_tests.commands.conftest import settings
from alert_assets_tests.intake.site import serving
from alert_assets_tests.notify.channels.service import Service, running
from alert_assets_tests.support.faketime import later, needs_faketime

if TYPE_CHECKING:
    from alert_assets.settings import Settings

__all__ = ["settings"]

#: The entry point of the package, without its start script.
ALERT_ASSETS = (sys.executable, "-m", "alert_assets.cli")


def start(*args: str, **options) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*ALERT_ASSETS, *args], text=True, stdout=pipe, stderr=pipe, **options)


def state(settings: Settings, name: str) -> str:
    return {breaker.name: breaker.state for breaker in circuit_breakers(settings).all()}.get(name, "CLOSED")


def waits_for_a_signal(folder: Path) -> str:
    """A command that says when it listens, and ends with 9 once it has cleaned up."""
    return textwrap.dedent(f"""
        import pathlib, signal, sys, time
        def clean_up(number, frame):
            print("cleaned up", number, flush=True)
            sys.exit(9)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, clean_up)
        pathlib.Path({str(folder / "listens")!r}).touch()
        time.sleep(60)
    """)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_its_end_says_nothing(
    settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    # A session of its own: no terminal sends the signal a second time.
    command = ("breaker", "run", "job", "--failure-threshold", "1", "--", sys.executable, "-c")
    running = start(*command, waits_for_a_signal(tmp_path), start_new_session=True)
    wait_for(tmp_path / "listens")
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (9, f"cleaned up {number.value}\n", "")
    assert state(settings, "job") == "CLOSED", "told to end, it proves nothing"


def test_input_and_output_are_the_commands_own(settings: Settings) -> None:
    code = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('err'); sys.exit(3)"
    running = start("breaker", "run", "job", "--", sys.executable, "-c", code, stdin=subprocess.PIPE)
    out, err = running.communicate("abc", timeout=30)
    assert (running.returncode, out, err) == (3, "ABC", "err")


@pytest.mark.slow
def test_one_of_several_processes_probes(settings: Settings, tmp_path: Path) -> None:
    fails = ("breaker", "run", "job", "--failure-threshold", "1", "--recovery-timeout", "1s", "--", "false")
    assert start(*fails).wait(30) == 1
    assert state(settings, "job") == "OPEN"
    time.sleep(1.1)
    # The probe lasts until the others have been refused, however long a busy machine takes to start them.
    runs = f"touch {tmp_path}/ran-$$; for _ in $(seq 1200); do [ -e {tmp_path}/end ] && exit; sleep 0.05; done; exit 9"
    together = [start("breaker", "run", "job", "--", "sh", "-c", runs) for _ in range(4)]
    deadline = time.monotonic() + 60
    while sum(process.poll() is None for process in together) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (tmp_path / "end").touch()
    codes = sorted(process.wait(60) for process in together)
    assert codes == [0, 1, 1, 1]
    assert len(list(tmp_path.glob("ran-*"))) == 1
    assert all("Circuit breaker job" in process.communicate()[1] for process in together if process.returncode == 1)
    assert state(settings, "job") == "CLOSED"


@pytest.mark.slow
def test_a_probe_that_is_killed_leaves_the_way_to_the_next(settings: Settings, tmp_path: Path) -> None:
    fails = ("breaker", "run", "job", "--failure-threshold", "1", "--recovery-timeout", "1s", "--", "false")
    assert start(*fails).wait(30) == 1
    time.sleep(1.1)
    probe = start("breaker", "run", "job", "--", sys.executable, "-c", waits_for_a_signal(tmp_path))
    wait_for(tmp_path / "listens")
    assert state(settings, "job") == "HALF_OPEN"
    probe.kill()
    probe.wait(30)
    assert state(settings, "job") == "OPEN", "a dead probe is a failed one"


@pytest.mark.slow
@needs_faketime
def test_three_failures_are_announced_with_a_runbook_that_is_there_and_so_is_their_end(settings: Settings) -> None:
    """As cron runs a command, with minutes between; nothing else sends messages."""
    settings.data_dir.mkdir()
    with running() as service, serving(settings.data_dir) as site:

        def attempt(code: int, minutes: int = 0) -> tuple[int, str, str]:
            environment = {**os.environ, **service.variables, "ALERTS_WEB_URL": site.url}
            clock = later(timedelta(minutes=minutes)) if minutes else {}
            command = ("breaker", "run", "nightly", "--", "sh", "-c", f"echo ran; exit {code}")
            process = start(*command, env={**environment, **clock})
            out, err = process.communicate(timeout=60)
            return process.returncode, out, err

        for _ in range(2):
            assert attempt(3) == (3, "ran\n", "")
        assert service.requests == []
        code, out, err = attempt(3)
        assert (code, out) == (3, "ran\n")
        assert "Circuit breaker nightly is OPEN" in err
        assert [action for action, _ in service.told] == ["open"]
        runbook = httpx.get(service.last.json["alert"]["runbook_url"])
        assert (runbook.status_code, "circuit breaker" in runbook.text) == (200, True)
        code, out, err = attempt(0)
        assert (code, out, "refuses this run" in err) == (1, "", True)
        code, out, err = attempt(0, minutes=6)
        assert (code, out) == (0, "ran\n")
        assert [action for action, _ in service.told] == ["open", "resolve"]
        assert attempt(0, minutes=7) == (0, "ran\n", "")
        assert len(service.requests) == 2
        assert {request.json["episode"] for request in service.requests} == {service.last.json["episode"]}


#: Of `make dbt`: its own pins keep it out of this interpreter's environment.
DBT = shutil.which("dbt", path=f"{Path(__file__).parents[2] / '.venv-dbt' / 'bin'}{os.pathsep}{os.environ['PATH']}")


DBT_PROJECT = {
    "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: shop\nmodel-paths: [models]\n",
    "profiles.yml": "shop:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: shop.duckdb, threads: 1}\n",
    "models/orders.sql": "select * from (values {{ var('rows') }}) as t(order_id, amount)\n",
    "models/schema.yml": textwrap.dedent("""
        models:
          - name: orders
            columns:
              - name: order_id
                data_tests: [unique, not_null]
    """),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in DBT_PROJECT.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "shop"


@pytest.mark.slow
@pytest.mark.skipif(DBT is None, reason="there is no dbt: `make dbt`")
def test_a_dbt_project_whose_tests_fail_three_times_is_refused_told_of_probed_and_taken_up_again(
    settings: Settings, project: Path
) -> None:
    good, bad = "(1, 10), (2, 20)", "(1, 10), (1, 20), (null, 5)"

    def build(service: Service, rows: str) -> tuple[int, str, str]:
        environment = {
            **os.environ,
            **service.variables,
            "ALERTS_BREAKER_RECOVERY_TIMEOUT_SECONDS": "20",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        command = (str(DBT), "build", "--profiles-dir", ".", "--vars", json.dumps({"rows": rows}))
        running = start("breaker", "run", "warehouse", "--", *command, cwd=project, env=environment)
        out, err = running.communicate(timeout=120)
        return running.returncode, out, err

    with running() as service:
        assert build(service, good)[0] == 0
        for _ in range(3):
            code, out, err = build(service, bad)
            assert code == 1
            assert "Got 1 result, configured to fail if != 0" in out, "dbt's own output"
        opened_at = time.monotonic()
        assert "Circuit breaker warehouse is OPEN" in err
        assert state(settings, "warehouse") == "OPEN"
        (opened,) = service.requests
        assert "warehouse" in opened.body.decode()
        (project / "shop.duckdb").unlink()
        code, out, err = build(service, good)
        assert (code, out) == (1, "")
        assert "Circuit breaker warehouse is OPEN and refuses this run" in err
        assert not (project / "shop.duckdb").exists(), "refused work has not begun"
        time.sleep(max(0.0, 20.5 - (time.monotonic() - opened_at)))
        code, out, err = build(service, good)
        assert code == 0, out
        assert state(settings, "warehouse") == "CLOSED"
        assert len(service.requests) == 2, "that it is over is said too"
