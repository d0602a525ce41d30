"""The list of problems and the page of one, as HTML that a browser without script gets."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, PLATINUM_PROBLEMS, SILVER_ALERTS
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.database import State
from alert_assets.web.lake import Lake
from alert_assets.web.problems import Wanted, list_problems
from alert_assets_tests.commands.lake import write
from alert_assets_tests.web.lake import MINUTE, measured, notify, problem, put, window

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from alert_assets.settings import Settings

MARKUP = "<script>alert(1)</script><b onmouseover=x>'\"&amp;"


def titles(html: str) -> list[str]:
    return re.findall(r'<h2><a href="/problems/[0-9a-f]{16}">([^<]*)</a></h2>', html)


def token(html: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', html)
    assert found
    return found[1]


def test_a_lake_without_problems_says_what_to_do(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "No problems yet." in answer.text


def test_the_list_has_what_fires_the_worst_first(client: TestClient, settings: Settings) -> None:
    over = problem(50, state="resolved", resolved_at=utc_now() - MINUTE, title="disk is full")
    part = problem(40, merged_into="0" * 16, title="a part")
    put(
        settings,
        problem(5),
        problem(20, severity="CRITICAL", title="checkout fails"),
        problem(3, title="api"),
        over,
        part,
    )
    assert titles(client.get("/").text) == ["checkout fails", "api", "latency_high on shop"]
    assert titles(client.get("/?state=resolved").text) == ["disk is full"]
    assert titles(client.get("/?state=all").text) == ["api", "latency_high on shop", "checkout fails", "disk is full"]


def test_a_page_behind_the_last_says_how_many_there_are(client: TestClient, settings: Settings) -> None:
    over = problem(50, state="resolved", resolved_at=utc_now() - MINUTE)
    put(settings, problem(5), problem(6), over)
    lake, state = Lake(settings), State(settings.state_url)
    for page in (1, 9):
        listed = list_problems(lake, state, Wanted(page=page, text="shop"), utc_now())
        assert listed.counts == {"firing": 2, "resolved": 1, "all": 3}
        assert len(listed.rows) == (2 if page == 1 else 0)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("severity=CRITICAL", ["checkout fails"]),
        ("q=CHECKOUT", ["checkout fails"]),
        ("q=till", ["api"]),
        ("q=0003", ["api"]),
        ("q='; DROP", []),
        ("q=%25", []),
        ("age=1h", ["api"]),
        ("state=all&severity=nonsense&age=x&page=-1", ["api", "checkout fails"]),
        (f"state=all&page={'9' * 5_000}", ["api", "checkout fails"]),
    ],
)
def test_filters(client: TestClient, settings: Settings, query: str, found: list[str]) -> None:
    put(
        settings,
        problem(3, title="api", applications=["till"]),
        problem(90, severity="CRITICAL", title="checkout fails"),
    )
    assert titles(client.get(f"/?{query}").text) == found


def test_pages_of_fifty(client: TestClient, settings: Settings) -> None:
    put(settings, *(problem(n, title=f"number {n}") for n in range(1, 121)))
    first = client.get("/").text
    assert len(titles(first)) == 50
    assert "Page 1 of 3" in first
    assert titles(client.get("/?page=3").text) == [f"number {n}" for n in range(101, 121)]


def test_a_problem_with_its_story(client: TestClient, settings: Settings) -> None:
    cause = {
        "application_id": "ledger",
        "host": "host-b",
        "share": 0.82,
        "because": "CPU is 96 % where 20 % is usual",
        "change": "rollout v2",
    }
    change = {
        "application_id": "ledger",
        "deployment_id": "d1",
        "version": "v2",
        "change_type": "rollout",
        "timestamp": utc_now() - 12 * MINUTE,
    }
    one = problem(10, causes=[cause], confidence=0.8, changes=[change])
    put(settings, one)
    write(settings, SILVER_ALERTS, window(one), window(one, window_start=one["opened_at"] + 5 * MINUTE))
    write(settings, BRONZE_EVENTS, *measured(one, "ledger", 20, 96), *measured(one, "shop", 20, 20))
    notify(settings, one)
    html = client.get(f"/problems/{one['problem_id']}").text
    for said in (
        "Likely cause", "ledger", "on host-b", "82%", "CPU is 96 % where 20 % is usual", "rollout of ledger",
        "latency_high on shop, host-a", "912 (threshold 300) · p95 is slow", 'href="https://grafana.example/d/1"',
        "CPU of ledger: 21% before, 98% at most since", "open to log", "alert-assets problems show", "Acknowledge",
    ):  # fmt: skip
        assert said in html, said
    # The flat one comes after that which moved, and both are drawn.
    assert re.findall(r"<p><b>CPU</b> <span>(\w+)</span>", html) == ["ledger", "shop"]


def test_what_to_do_first_stands_there_once_it_is_analysed(client: TestClient, settings: Settings) -> None:
    one = problem(10)
    put(settings, one)
    assert "What to do first" not in client.get(f"/problems/{one['problem_id']}").text
    said = {"summary": "The ledger is slow.", "root_cause": MARKUP, "recommended_action": "Roll v2 back."}
    unsaid = ("patterns", "prompt_version", "prompt_tokens", "completion_tokens", "error")
    row = {**dict.fromkeys(unsaid), **said, "confidence_score": 0.74, "model": "rules", "analyzed_at": utc_now()}
    key = {"problem_id": one["problem_id"], "opened_at": one["opened_at"], "context_hash": "0" * 64, "attempts": 1}
    write(settings, PLATINUM_PROBLEMS, {**row, **key})
    html = client.get(f"/problems/{one['problem_id']}").text
    for text in ("What to do first", "Roll v2 back.", "Confidence 74%, by rules; the problem has changed since"):
        assert text in html
    assert MARKUP not in html


def test_one_that_became_part_of_another_leads_there(client: TestClient, settings: Settings) -> None:
    whole = problem(9)
    part = problem(8, merged_into=whole["problem_id"])
    put(settings, whole, part)
    answer = client.get(f"/problems/{part['problem_id']}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"/problems/{whole['problem_id']}?")


def test_the_link_of_a_message_leads_to_the_incidents_problem(client: TestClient, settings: Settings) -> None:
    whole = problem(9, incident_ids=["a" * 16, "b" * 16])
    put(settings, whole, problem(8, incident_ids=["b" * 16], merged_into=whole["problem_id"]))
    answer = client.get(f"/incidents/{'b' * 16}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/problems/{whole['problem_id']}")
    assert client.get("/incidents/none").status_code == 404


@pytest.mark.parametrize("given", ["0123456789abcdef", "x", "'; DROP TABLE t", "0123"])
def test_an_unknown_id(client: TestClient, given: str) -> None:
    answer = client.get(f"/problems/{given}")
    assert answer.status_code == 404
    assert "There is no such problem" in answer.text


def test_what_comes_from_outside_is_text(client: TestClient, settings: Settings) -> None:
    secret = "password=hunter2hunter2"
    cause = {"application_id": MARKUP, "host": MARKUP, "share": 0.9, "because": MARKUP, "change": MARKUP}
    one = problem(
        1,
        title=MARKUP + "\u202e",
        applications=[MARKUP],
        causes=[cause],
        confidence=0.9,
        context_text=f"{MARKUP} {secret}",
    )
    put(settings, one)
    write(settings, SILVER_ALERTS, window(one, message=MARKUP + "x" * 10_000, host=MARKUP, url="javascript:alert(1)"))
    for page in ("/", f"/problems/{one['problem_id']}"):
        html = client.get(page).text
        assert "<script>alert" not in html
        assert "onmouseover=x>" not in html
        assert "hunter2" not in html
        assert "javascript:" not in html
        assert "\u202e" not in html
        assert "&lt;script&gt;alert(1)" in html


# Acts


def episodes(settings: Settings) -> list[str]:
    return [episode.state for episode in Notifications(State(settings.state_url)).episodes(limit=0)]


def test_acknowledge_then_resolve(client: TestClient, settings: Settings) -> None:
    one = problem(2, fingerprints=["a" * 64, "b" * 64])
    other = problem(3)
    put(settings, one, other)
    notify(settings, one, other, {**one, "fingerprints": ["b" * 64]})
    page = f"/problems/{one['problem_id']}"
    form = {"token": token(client.get(page).text), "why": "mine"}
    answer = client.post(f"{page}/acknowledge", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{page}?done=acknowledge")
    assert sorted(episodes(settings)) == ["acknowledged", "acknowledged", "open"]
    html = client.get(f"{page}?done=acknowledge").text
    assert "ann has it" in html
    assert "ann acknowledged it" in html
    assert "Acknowledged. It escalates no further" in html
    assert ">ann</span>" in client.get("/").text
    again = client.post(f"{page}/acknowledge", data=form)
    assert again.status_code == 409
    assert "nothing to acknowledge" in again.text
    assert client.post(f"{page}/resolve", data=form).status_code == 303
    assert sorted(episodes(settings)) == ["open", "resolved", "resolved"]
    audit = Notifications(State(settings.state_url)).audit()
    assert [(entry.who, entry.action, entry.why) for entry in audit] == [
        *[("ann", "episode_resolve", "mine")] * 2,
        *[("ann", "episode_acknowledge", "mine")] * 2,
    ]


def test_silence_for_an_hour(client: TestClient, settings: Settings) -> None:
    one = problem(2)
    put(settings, one)
    notify(settings, one)
    page = f"/problems/{one['problem_id']}"
    form = {"token": token(client.get(page).text), "why": ""}
    assert client.post(f"{page}/silence", data=form).status_code == 303
    (silence,) = Notifications(State(settings.state_url)).silences()
    assert timedelta(minutes=59) < silence.until - utc_now() <= timedelta(hours=1)
    assert silence.match.conditions == {"episode": (f"incident/{one['fingerprints'][0]}",)}
    html = client.get(page).text
    assert "silenced until" in html
    assert "ann silenced it" in html


def test_a_problem_nobody_is_notified_of_has_no_buttons(client: TestClient, settings: Settings) -> None:
    one = problem(2)
    put(settings, one)
    assert "there is nothing to acknowledge" in client.get(f"/problems/{one['problem_id']}").text
