"""Every command on a terminal of 80 columns: no line is longer, no number is cut, no word broken."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from alert_assets import cli
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_HELD,
    BRONZE_QUARANTINE,
    DRIFT_STATUS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    RUN_COST,
    SILVER_DEPENDENCIES,
    SLO_STATUS,
)
from alert_assets.lake.lakehouse import Lakehouse, rows_in
from alert_assets.transforms.problems import refresh_problems
from alert_assets_tests.commands.lake import MINUTE, T0, analysis, event, incident, quarantined, write
from alert_assets_tests.commands.test_cost import run_cost
from alert_assets_tests.commands.test_drift import drift
from alert_assets_tests.commands.test_slo import evaluated
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

WIDTH = 80
APPLICATION = "checkout-recommendation-service-canary"
FILE = "fluent-bit-eu-central-1a-payments-20261126T220000-0001.jsonl"

#: Arguments of commands that do not work without.
ARGUMENTS = {
    ("incidents", "show"): ["0001"],
    ("problems", "show"): ["the id"],
    ("held", "show"): ["12345"],
    ("contracts", "show"): ["bronze_events"],
    ("contracts", "diff"): ["bronze_events"],
    ("breaker", "open"): ["pipeline", "--why", "storage is being moved to another region"],
    ("breaker", "close"): ["pipeline", "--why", "storage is being moved to another region"],
    ("breaker", "reset"): ["pipeline", "--why", "storage was moved to another region"],
    ("lineage", "impact"): ["bronze_events.host"],
    ("lineage", "upstream"): ["gold_problems.causes"],
    ("simulate",): ["--landing-dir", "landing"],
    ("breaker", "run"): ["pipeline", "--", "true"],
    ("cost",): ["--since", "2026-02-01T00:00:00Z"],
    ("drift",): ["--since", "2026-02-01T00:00:00Z", "--all"],
}
#: They start Spark, send messages, need an episode, or print what is pasted elsewhere and must not be broken into
#: lines: their own tests see what they print.
ELSEWHERE = {
    *(
        ("run",),
        ("serve",),
        ("intake", "kafka"),
        ("stream",),
        ("metrics",),
        ("report", "weekly"),
        ("report", "monthly"),
        ("backtest",),
        ("senders", "show"),
        ("senders", "try"),
        ("quarantine", "replay"),
        ("held", "release"),
        ("held", "discard"),
        ("spark", "stop"),
    ),
    *(("contracts", "export"), ("routing", "test"), ("maintenance", "rebuild")),
    *(("alerts", name) for name in ("show", "acknowledge", "resolve", "reopen", "tell", "notify")),
    *(("silence", name) for name in ("add", "expire")),
}


def commands() -> Iterator[tuple[str, ...]]:
    """All there are, from the registry: a new one is tested here unless it is named above."""
    for name in cli.COMMANDS:
        command = typer.main.get_command(import_module(f"alert_assets.commands.{name}").app)
        parts = getattr(command, "commands", {})
        if getattr(command, "invoke_without_command", True):
            yield (name,)
        yield from ((name, part) for part in parts)


@pytest.fixture(scope="module")
def lake_once(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Long names and large numbers in everything that commands show."""
    settings = settings_in(tmp_path_factory.mktemp("lake") / "data")
    (Path(settings.landing_dir) / FILE).write_text("{}\n")
    gold = [
        incident(
            number,
            application_id=APPLICATION,
            host="ip-10-123-45-67.eu-central-1.compute.internal",
            alert_type="http_5xx_ratio_of_upstream_high",
            severity="CRITICAL",
            alert_count=1_234_567,
            suppressed_count=1_234_566,
        )
        for number in (1, 2)
    ]
    write(settings, BRONZE_EVENTS, event(1), event(2))
    reasons = ("invalid:memory_percent", "missing:application_id")
    write(
        settings, BRONZE_QUARANTINE, *(quarantined('{"a": 1} ' * 9, *reasons, _source_file=f"/l/{FILE}") for _ in "ab")
    )
    write(settings, GOLD_INCIDENTS, *gold)
    write(
        settings, PLATINUM_INCIDENTS, *(analysis(row, root_cause="Hypothesis: the rollout of v2.3.1.") for row in gold)
    )
    times = dict.fromkeys(("first_seen", "last_seen"), T0)
    write(
        settings,
        SILVER_DEPENDENCIES,
        {"caller": APPLICATION, "callee": APPLICATION + "-2", "requests": 7654321, **times},
    )
    refresh_problems(Lakehouse(settings), settings)
    write(settings, SLO_STATUS, *evaluated(timedelta(), "FAILURE", 1_234_567 // 1000))
    write(settings, RUN_COST, *(run_cost(number, step=f"a_step_of_a_long_name_{number}") for number in range(18)))
    write(settings, DRIFT_STATUS, drift(), drift(column_name="cpu_percent", state="ok", kinds=[], reason=None))
    held = {"batch": 12345, "raw": "{", "_source_file": f"/l/{FILE}", "_landed_at": T0, "_ingested_at": T0 + MINUTE}
    write(settings, BRONZE_HELD, {**held, "because": ["quarantine_share: 40.0 % of 1234567 lines, at most 30 % may"]})
    breakers = circuit_breakers(settings)
    for number in range(3):
        breakers.record(
            f"run-{number}", "failure", ["pipeline"], reported_by="executor", error="OSError: " + "disk " * 20
        )
    return settings


@pytest.fixture
def lake(lake_once: Settings, settings: Settings) -> Settings:
    """A copy: writing it anew takes longer than a command."""
    shutil.copytree(lake_once.data_dir, settings.data_dir)
    return settings


def words(text: str) -> set[str]:
    """Words and numbers as they are read: without the punctuation around them and the commas of thousands."""
    return {re.sub(r"(?<=\d),(?=\d{3})", "", word.strip(".,;:()`'\"%")) for word in text.split()}


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from leaves(part)
    else:
        yield str(value)


_ELSEWHERE = pytest.mark.skip(reason="its own tests see what it prints")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[_ELSEWHERE] if command in ELSEWHERE else [], id=" ".join(command))
        for command in commands()
    ],
)
def test_no_line_is_longer_and_no_word_broken(
    lake: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    arguments = [*command, *ARGUMENTS.get(command, [])]
    if command == ("problems", "show"):
        arguments[-1] = rows_in(Lakehouse(lake), GOLD_PROBLEMS)[0]["problem_id"]
    wide = run(*arguments)
    assert wide.code in (0, 1, 75), f"{wide.err}: give it arguments above, or name it in ELSEWHERE"
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    narrow = run(*arguments)

    assert narrow.code == wide.code
    longest = max(narrow.out.splitlines(), key=len, default="")
    # A path has no place where it could be broken.
    assert len(longest) <= WIDTH or max(map(len, longest.split())) > WIDTH // 2, longest
    if "--json" in run(*command, "--help").out:
        shown = json.loads(run(*arguments, "--json").out)
        # Headings differ from one layout to the other.
        values = words(" ".join(leaves(shown))) & words(wide.out.partition("\n")[2])
        whole = {word for word in values if len(word) < WIDTH // 2}
        assert whole - words(narrow.out) == set()
