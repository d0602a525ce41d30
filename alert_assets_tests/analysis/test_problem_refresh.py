"""platinum_problems: every problem is analysed once a context, by the model where there is one, and nothing else is."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.analysis.refresh import problems_wait, refresh_platinum, refresh_platinum_problems
from alert_assets.contracts import GOLD_PROBLEMS, PLATINUM_INCIDENTS, PLATINUM_PROBLEMS
from alert_assets_tests.analysis.fake_model import FakeModel, good
from alert_assets_tests.checks.lake import Lake, alert, line
from alert_assets_tests.transforms.test_problems import MINUTE, T0, call, fires

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def lake(settings: Settings) -> Lake:
    lake = Lake(settings)
    lake.now = T0 + timedelta(days=30)
    return lake


def land(lake: Lake, *lines: bytes) -> None:
    lake.land(*lines)
    lake.refresh(platinum=False)


def analyses(lake: Lake) -> dict[str, dict[str, Any]]:
    return {row["problem_id"]: row for row in lake.rows(PLATINUM_PROBLEMS)}


def failing(lake: Lake) -> set[str]:
    return {name for name, done in lake.evaluate(PLATINUM_PROBLEMS).items() if not done.finding.passed}


def with_model(lake: Lake, base_url: str) -> Settings:
    return lake.settings.model_copy(
        update={
            "analyst": "llm", "llm_base_url": base_url, "llm_model": "test-model", "llm_max_retries": 0,
            "analysis_max_attempts": 2,
        }
    )  # fmt: skip


def test_each_problem_has_one_analysis_of_what_it_is_now(lake: Lake) -> None:
    land(lake, fires(1, "web", 0), fires(2, "far", 1))
    assert problems_wait(lake.lakehouse, lake.settings)
    done = refresh_platinum_problems(lake.lakehouse, lake.settings)
    assert (done.written, done.analyzed, done.failed) == (2, 2, 0)
    assert not problems_wait(lake.lakehouse, lake.settings)
    assert failing(lake) == set()
    assert {row["model"] for row in analyses(lake).values()} == {"rules"}
    before = analyses(lake)

    land(lake, fires(3, "web", 2, alert_type="slow"))
    assert refresh_platinum_problems(lake.lakehouse, lake.settings).written == 1
    changed = {name for name, row in analyses(lake).items() if row != before[name]}
    gold = {row["problem_id"]: row for row in lake.rows(GOLD_PROBLEMS)}
    assert [gold[name]["applications"] for name in changed] == [["web"]]
    assert refresh_platinum_problems(lake.lakehouse, lake.settings).written == 0


def test_what_became_part_of_another_problem_loses_its_analysis(lake: Lake) -> None:
    land(lake, call(1, "web", "cart"), call(2, "cart", "ledger"), call(3, "ledger", "disk"),
         fires(1, "web", 0), fires(2, "disk", 1), fires(3, "far", 1))  # fmt: skip
    refresh_platinum_problems(lake.lakehouse, lake.settings)
    assert len(analyses(lake)) == 3
    land(lake, fires(4, "cart", 2))
    done = refresh_platinum_problems(lake.lakehouse, lake.settings)
    assert (done.written, done.removed) == (1, 1)
    alone = {row["problem_id"] for row in lake.rows(GOLD_PROBLEMS) if row["merged_into"] is None}
    assert analyses(lake).keys() == alone
    assert failing(lake) == set()


def test_a_problem_that_an_earlier_firing_begins_anew_leaves_no_analysis_behind(lake: Lake) -> None:
    land(lake, fires(1, "web", 3))
    refresh_platinum_problems(lake.lakehouse, lake.settings)
    land(lake, fires(2, "web", 2))
    assert refresh_platinum_problems(lake.lakehouse, lake.settings).removed == 1
    assert len(analyses(lake)) == 1
    assert failing(lake) == set()


def test_a_full_refresh_says_the_same(lake: Lake) -> None:
    land(lake, fires(1, "web", 0), fires(2, "far", 1))
    refresh_platinum_problems(lake.lakehouse, lake.settings)
    said = {name: (row["summary"], row["root_cause"]) for name, row in analyses(lake).items()}
    assert refresh_platinum_problems(lake.lakehouse, lake.settings, full_refresh=True).written == 2
    assert {name: (row["summary"], row["root_cause"]) for name, row in analyses(lake).items()} == said


def test_an_analysis_without_its_problem_fails_and_the_next_run_removes_it(lake: Lake) -> None:
    land(lake, fires(1, "web", 0))
    refresh_platinum_problems(lake.lakehouse, lake.settings)
    (row,) = lake.rows(PLATINUM_PROBLEMS)
    lake.commit(PLATINUM_PROBLEMS, [{**row, "problem_id": "0" * 16, "_batch_id": row["_batch_id"] + 1}])
    assert failing(lake) == {"references"}
    refresh_platinum_problems(lake.lakehouse, lake.settings)
    assert failing(lake) == set()


def test_the_model_is_asked_once_a_problem_and_never_about_an_incident(lake: Lake, model: FakeModel) -> None:
    model.replies = [good(root_cause="Hypothesis: the web [A1].")]
    settings = with_model(lake, model.base_url)
    land(lake, call(1, "web", "cart"), *(fires(n, "web", n, alert_type=f"t{n % 4}") for n in range(8)))
    assert refresh_platinum(lake.lakehouse, settings).failed == 0
    assert {row["model"] for row in lake.rows(PLATINUM_INCIDENTS)} == {"rules"}
    assert len(lake.rows(PLATINUM_INCIDENTS)) > 4
    assert refresh_platinum_problems(lake.lakehouse, settings).written == 1
    assert refresh_platinum_problems(lake.lakehouse, settings).written == 0
    assert len(model.requests) == 1
    assert "[G1] web -> cart" in model.requests[0].prompt
    (row,) = analyses(lake).values()
    assert (row["model"], row["root_cause"]) == ("test-model", "Hypothesis: the web [A1].")


def test_a_broken_model_fails_no_run_and_is_asked_again_up_to_the_limit(lake: Lake) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = with_model(lake, f"http://127.0.0.1:{free.getsockname()[1]}/v1")
    land(lake, fires(1, "web", 0), fires(2, "far", 1))
    for attempt in (1, 2):
        done = refresh_platinum_problems(lake.lakehouse, settings)
        assert (done.analyzed, done.failed, done.written) == (2, 2, 2)
        for row in analyses(lake).values():
            assert row["attempts"] == attempt
            assert "reach the endpoint" in row["error"]
            assert (row["model"], row["root_cause"][:8]) == ("rules", "Unknown:")
    assert refresh_platinum_problems(lake.lakehouse, settings).analyzed == 0, "the limit is reached"
    assert failing(lake) == {"failed_analyses"}
    more = lake.settings.model_copy(update={"analysis_max_attempts": 3})
    assert refresh_platinum_problems(lake.lakehouse, more).failed == 0
    assert {(row["attempts"], row["error"]) for row in analyses(lake).values()} == {(3, None)}


def test_what_is_over_fired_once_and_stayed_low_may_be_noise(lake: Lake) -> None:
    over = alert("o", T0 + MINUTE, current_value=93.0, threshold=90.0, status="resolved")
    land(lake, alert("a", T0, current_value=93.0, threshold=90.0), over)
    refresh_platinum_problems(lake.lakehouse, lake.settings)
    (row,) = analyses(lake).values()
    assert row["root_cause"].endswith("it may be noise.")


# What is benign, from landed lines on

BENIGN: dict[str, list[bytes]] = {
    "a watchdog that repeats by the hour": [
        alert(f"w{hour}", T0 + hour * 60 * MINUTE, alert_type="Watchdog", severity="INFO", current_value=None)
        for hour in range(6)
    ],
    "a planned restart": [
        line("r", T0 - 2 * MINUTE, "deployment", deployment_id="r", version="v1", change_type="maintenance_restart"),
        alert("a", T0),
    ],
    "a certificate in 20 days": [alert("c", T0, alert_type="cert_expiry", current_value=20.0, threshold=30.0)],
    "a disk at 93 % of 90": [alert("d", T0, alert_type="disk_full", current_value=93.0, threshold=90.0)],
    "no evidence at all": [alert("n", T0, current_value=None, threshold=None)],
    "a documentation change": [
        line("d", T0 - 5 * MINUTE, "deployment", deployment_id="d", version="v2", change_type="documentation"),
        alert("a", T0),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", BENIGN)
def test_of_what_is_benign_no_cause_is_claimed_in_either_table(lake: Lake, name: str) -> None:
    land(lake, *BENIGN[name])
    refresh_platinum(lake.lakehouse, lake.settings)
    refresh_platinum_problems(lake.lakehouse, lake.settings)
    rows = [*lake.rows(PLATINUM_INCIDENTS), *lake.rows(PLATINUM_PROBLEMS)]
    assert len(rows) >= 2
    for row in rows:
        assert row["root_cause"].startswith("Unknown: ")
        assert row["confidence_score"] < 0.4
        assert "noise" not in row["root_cause"]
