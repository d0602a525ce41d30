"""`alert-assets problems`: the list, one in full, ids by how they begin, and what became part of another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.analysis.refresh import refresh_platinum_problems
from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, SILVER_DEPENDENCIES
from alert_assets.lake.lakehouse import Lakehouse, rows_in
from alert_assets.transforms.problems import refresh_problems
from alert_assets_tests.commands.lake import MINUTE, T0, incident, write

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run


def call(caller: str, callee: str) -> dict[str, Any]:
    return {"caller": caller, "callee": callee, "first_seen": T0, "last_seen": T0 + MINUTE, "requests": 12}


@pytest.fixture
def ids(settings: Settings) -> list[str]:
    """Two problems, the first with one that became part of it; ids in order of opening."""
    write(settings, SILVER_DEPENDENCIES, call("web", "cart"), call("cart", "ledger"), call("ledger", "disk"))
    names = ("web", "disk", "cart", "batch")
    write(settings, GOLD_INCIDENTS, *(incident(n, application_id=name) for n, name in enumerate(names)))
    refresh_problems(Lakehouse(settings), settings)
    rows = sorted(rows_in(Lakehouse(settings), GOLD_PROBLEMS), key=lambda row: row["opened_at"])
    assert [row["merged_into"] for row in rows] == [None, rows[0]["problem_id"], None]
    return [row["problem_id"] for row in rows]


def test_no_table_yet(settings: Settings, run: Run) -> None:
    assert "No problems yet: gold_problems has no rows" in run("problems", "list").out
    assert json.loads(run("problems", "list", "--json").out) == {"total": 0, "problems": []}


def test_a_list_the_newest_first_without_what_became_part_of_another(ids: list[str], run: Run) -> None:
    out = run("problems", "list").out
    assert out.index(ids[2]) < out.index(ids[0])
    assert ids[1] not in out
    assert "cpu_high on web and 2 more applications" in out
    assert "no cause found" in out
    found = json.loads(run("problems", "list", "--json", "--limit", "1").out)
    assert (found["total"], [one["problem_id"] for one in found["problems"]]) == (2, [ids[2]])


def test_filters(ids: list[str], run: Run) -> None:
    assert json.loads(run("problems", "list", "--application", "disk", "--json").out)["total"] == 1
    assert json.loads(run("problems", "list", "--state", "resolved", "--json").out)["total"] == 0
    assert "No problems match" in run("problems", "list", "--since", "1m").out


def test_one_in_full_by_how_its_id_begins(ids: list[str], run: Run) -> None:
    out = run("problems", "show", ids[0][:6]).out
    assert f"Problem {ids[0]}" in out
    for name in ("web", "disk", "cart"):
        assert f"cpu_high on {name}" in out
    found = json.loads(run("problems", "show", ids[0], "--json").out)
    assert [one["application_id"] for one in found["incidents"]] == ["web", "disk", "cart"]
    assert found["state"] == "firing"


def test_what_it_means_and_what_to_do_first_once_it_is_analysed(ids: list[str], settings: Settings, run: Run) -> None:
    assert "Analysis by" not in run("problems", "show", ids[0]).out
    refresh_platinum_problems(Lakehouse(settings), settings)
    out = " ".join(run("problems", "show", ids[0]).out.split())
    assert "Analysis by rules" in out
    assert "alerts since" in out
    assert "Unknown: nothing that was measured is unusual." in out
    assert "First: look at CPU per process on the host." in out
    found = json.loads(run("problems", "show", ids[0], "--json").out)["analysis"]
    assert (found["problem_id"], found["confidence_score"]) == (ids[0], 0.0)


def test_what_became_part_of_another_leads_there(ids: list[str], run: Run) -> None:
    answer = run("problems", "show", ids[1])
    assert f"{ids[1]} is part of {ids[0]} now." in answer.err
    assert f"Problem {ids[0]}" in answer.out


@pytest.mark.parametrize(
    ("given", "said"),
    [("xyz", "'xyz' is not a problem id"), ("", "is not a problem id"), ("0123456789abcdef", "No problem's id begins")],
)
def test_a_wrong_id_says_what_to_do(ids: list[str], run: Run, given: str, said: str) -> None:
    answer = run("problems", "show", given)
    assert answer.code == 2
    assert said in answer.err
