"""`alert-assets topology`: what is shown in each format, and which files are refused."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import SILVER_DEPENDENCIES
from alert_assets_tests.commands.lake import MINUTE, T0, write

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run


def call(caller: str, callee: str, **fields: Any) -> dict[str, Any]:
    times = {"first_seen": T0, "last_seen": T0 + MINUTE}
    return {"caller": caller, "callee": callee, "requests": 1200, **times, **fields}


@pytest.fixture
def file(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    long_ago = T0 - timedelta(days=8)
    write(
        settings,
        SILVER_DEPENDENCIES,
        call("web", "cart"),
        call('a "b"', "c"),
        call("old", "gone", first_seen=long_ago, last_seen=long_ago),
    )
    path = tmp_path / "topology.yaml"
    path.write_text("calls:\n  web: [cart]\n  cart: [ledger]\n")
    monkeypatch.setenv("ALERTS_TOPOLOGY_FILE", str(path))
    return path


def test_what_was_seen_and_what_is_written_down(file: Path, run: Run) -> None:
    calls = json.loads(run("topology", "show", "--json").out)["calls"]
    known = {(one["caller"], one["callee"]): (one["requests"], one["written_down"]) for one in calls}
    assert known == {('a "b"', "c"): (1200, False), ("web", "cart"): (1200, True), ("cart", "ledger"): (None, True)}
    out = run("topology", "show").out
    assert "1,200" in out
    assert "written down" in out


def test_graphviz_and_mermaid(file: Path, run: Run) -> None:
    dot = run("topology", "show", "--format", "dot").out
    assert dot.startswith("digraph calls {")
    assert '  "web" -> "cart";' in dot
    assert '  "cart" -> "ledger" [style=dashed];' in dot
    assert '  "a \\"b\\"" -> "c";' in dot
    mermaid = run("topology", "show", "--format", "mermaid").out
    assert mermaid.splitlines() == [
        "flowchart LR",
        '  n0["a #34;b#34;"] --> n1["c"]',
        '  n2["cart"] -.-> n3["ledger"]',
        '  n4["web"] --> n2',
    ]


def test_one_application(file: Path, run: Run) -> None:
    calls = json.loads(run("topology", "show", "--application", "ledger", "--json").out)["calls"]
    assert {one["caller"] for one in calls} == {"web", "cart"}
    answer = run("topology", "show", "--application", "nobody")
    assert answer.code == 2
    assert "No call of application 'nobody' is known" in answer.err


def test_nothing_is_known(settings: Settings, run: Run) -> None:
    assert "No calls are known" in run("topology", "show").out
    assert "ALERTS_TOPOLOGY_FILE names no file" in run("topology", "check").out


def test_a_file_is_checked_against_what_was_seen(file: Path, run: Run) -> None:
    answer = run("topology", "check")
    assert answer.code == 1
    assert "2 calls, all valid" in answer.out
    assert "Never seen: cart calls ledger" in answer.out
    file.write_text("calls:\n  web: [cart]\n")
    assert run("topology", "check", str(file)).code == 0
    file.write_text("calls:\n  web: [web]\n")
    answer = run("topology", "check")
    assert answer.code == 2
    assert "an application does not call itself" in answer.err
