"""What all commands share: light, documented, safe in a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.commands import output
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets_tests.commands.lake import T0, analysis, event, incident, quarantined, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

ROOT = Path(__file__).parents[2]

COMMANDS = [
    ["incidents"],
    ["incidents", "show"],
    ["causes"],
    ["status"],
    ["breaker"],
    ["breaker", "status"],
    ["breaker", "open"],
    ["breaker", "close"],
    ["breaker", "reset"],
    ["breaker", "history"],
    ["held"],
    ["held", "show"],
    ["held", "release"],
    ["held", "discard"],
    ["slo"],
    ["slo", "status"],
    ["slo", "list"],
    ["slo", "check"],
    ["contracts"],
    ["contracts", "list"],
    ["contracts", "show"],
    ["contracts", "export"],
    ["contracts", "diff"],
    ["routing"],
    ["routing", "check"],
    ["routing", "test"],
    ["alerts"],
    ["alerts", "show"],
    ["alerts", "acknowledge"],
    ["alerts", "resolve"],
    ["alerts", "reopen"],
    ["alerts", "ledger"],
    ["alerts", "notify"],
    ["silence"],
    ["silence", "add"],
    ["silence", "expire"],
    ["audit"],
    ["quarantine"],
    ["quarantine", "reasons"],
    ["quarantine", "replay"],
    ["simulate"],
    ["settings"],
    ["spark"],
    ["spark", "status"],
    ["spark", "stop"],
]

HEAVY = ["dagster", "dagster_pyspark", "pandas", "pandera", "pyarrow.dataset", "pyspark"]


@pytest.fixture
def lake(settings: Settings) -> Settings:
    Path(settings.landing_dir).mkdir(parents=True)
    gold = incident(1, host="決 [bold]\x1b[31m")
    write(settings, BRONZE_EVENTS, event(1))
    write(settings, BRONZE_QUARANTINE, quarantined("{", "malformed_json"))
    write(settings, GOLD_INCIDENTS, gold)
    write(settings, PLATINUM_INCIDENTS, analysis(gold))
    return settings


def in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", env=variables, timeout=120
    )


@pytest.mark.parametrize(
    "args",
    [
        ["incidents"],
        ["incidents", "0001", "--json"],
        ["status"],
        ["quarantine"],
        ["quarantine", "reasons"],
        ["settings"],
        ["spark", "status"],
        ["spark", "stop"],
    ],
    ids=" ".join,
)
def test_no_command_waits_for_spark_dagster_or_pandas(lake: Settings, args: list[str]) -> None:
    done = in_a_process(
        f"""
import sys
from alert_assets.cli import main
try:
    main({args})
finally:
    print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)
""",
        SPARK_LOCAL_CONNECT_DISCOVERY=str(lake.data_dir / "spark" / "connect.json"),
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")
    assert done.stdout


def test_help_imports_no_command() -> None:
    done = in_a_process(
        """
import sys
from alert_assets.cli import main
try:
    main(["--help"])
finally:
    unused = ("alert_assets.commands", "alert_assets.settings", "pyarrow")
    print(sorted(name for name in sys.modules if name.startswith(unused)), file=sys.stderr)
"""
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert all(command[0] in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(run: Run, command: list[str]) -> None:
    result = run(*command, "--help")

    assert result.code == 0
    assert f"alert-assets {' '.join(command)}" in result.out
    assert "Example" in result.out or command in (["spark"], ["slo"], ["contracts"])


@pytest.mark.parametrize("args", [["statsu"], ["spark", "start"], ["quarantine", "replya"]])
def test_an_unknown_command(run: Run, args: list[str]) -> None:
    result = run(*args)
    assert (result.code, result.out) == (2, "")
    assert "No such command" in result.err


def test_a_terminal_that_knows_only_some_characters(lake: Settings) -> None:
    code = "from alert_assets.cli import main; main(['incidents'])"
    done = in_a_process(code, PYTHONIOENCODING="latin-1")

    assert done.returncode == 0, done.stderr
    assert "\\u6c7a [bold]" in done.stdout


def test_colours_only_where_asked_for(lake: Settings) -> None:
    code = "from alert_assets.cli import main; main(['incidents'])"
    plain, forced = in_a_process(code), in_a_process(code, FORCE_COLOR="1", COLUMNS="80")

    assert "\x1b" not in plain.stdout
    # The message's own escape is shown as text in both.
    assert "\\u{001b}[31m" in plain.stdout
    assert "\\u{001b}[31m" in forced.stdout


def test_the_object_is_all_there_is_on_stdout(lake: Settings) -> None:
    commands = (["incidents"], ["status"], ["quarantine"], ["quarantine", "reasons"], ["settings"])
    done = in_a_process(
        f"""
from contextlib import suppress
from alert_assets.cli import main
for command in {commands}:
    with suppress(SystemExit):
        main([*command, "--json"])
    print(end="\\0", flush=True)
"""
    )
    shown = done.stdout.split("\0")[:-1]
    assert [type(json.loads(one)) for one in shown] == [dict] * len(commands)
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(seconds=0.4), "0 s ago"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=3, seconds=59), "3 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=400), "400 days ago"),
        (timedelta(minutes=-5), "in 5 min"),
    ],
)
def test_ages(ago: timedelta, said: str) -> None:
    assert output.age(T0 - ago, T0) == said


def test_times_are_utc() -> None:
    east = datetime(2026, 2, 14, 15, 36, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert output.stamp(east) == "2026-02-14 10:06:00Z"
    assert output.plain({"at": east}) == {"at": "2026-02-14T10:06:00.000000Z"}


def test_numbers_that_json_does_not_know() -> None:
    assert output.plain([float("nan"), float("inf"), 1.5]) == [None, None, 1.5]


@pytest.mark.parametrize(("number", "said"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (25 * 10**11, "2.5 TB")])
def test_sizes(number: int, said: str) -> None:
    assert output.size(number) == said


@pytest.mark.parametrize(
    ("text", "limit", "said"),
    [
        (None, 10, "-"),
        ("", 10, "-"),
        (" a\nb ", 10, "a b"),
        ("a\tb", None, "a\\u{0009}b"),
        ("x" * 11, 10, "x" * 9 + "…"),
        ("x" * 10, 10, "x" * 10),
        ("\x1b" * 1_000_000, 10, "\\u{001b}\\…"),
    ],
)
def test_text_on_a_line(text: str | None, limit: int | None, said: str) -> None:
    assert output.line(text, limit) == said
