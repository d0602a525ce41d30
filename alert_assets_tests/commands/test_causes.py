"""`alert-assets causes`: the ranking of any moment, read from bronze_events alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.analysis.causes.bronze import History, Sources
from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.analysis.causes.shop import (
    AT,
    FAULT,
    ask,
    at,
    call,
    cpu,
    deployment,
    graph,
    logs,
    services,
    traces,
)
from alert_assets_tests.commands.lake import T0, write

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

SLOW_LEDGER = services(slower={"ledger": 200.0, "cart": 150.0, "storefront": 80.0})
MOMENT = AT.isoformat()


def lake(settings: Settings, *events: dict[str, Any]) -> None:
    origin = {"_source_file": "/landing/a.jsonl", "_landed_at": T0, "_ingested_at": T0}
    write(settings, BRONZE_EVENTS, *({**event, "metrics": _pairs(event), **origin} for event in events))


def _pairs(event: dict[str, Any]) -> list[tuple[str, float]] | None:
    return list(event["metrics"].items()) if event.get("metrics") else None


def test_the_cause_with_its_candidates(settings: Settings, run: Run) -> None:
    lake(settings, *graph(), *SLOW_LEDGER, deployment("ledger", FAULT - 10))
    found = run("causes", "--at", MOMENT, "--application", "storefront", "--json").json

    assert found["answer"] == "ledger"
    assert found["confidence"] > 0.9
    assert [set(cause) for cause in found["causes"]] == [
        {"application_id", "host", "share", "because", "change"} for _ in found["causes"]
    ]
    best = found["causes"][0]
    assert (best["application_id"], best["change"]) == ("ledger", "rolling_update v2 12 min before")
    assert "requests of ledger took" in best["because"]
    said = run("causes", "--at", MOMENT)
    assert said.code == 0
    assert said.out.startswith(f"Cause at {AT:%Y-%m-%d %H:%M:%S}Z: ledger, confidence ")
    assert "rolling_update v2 12 min before" in said.out


def test_what_is_read_is_what_landed_each_event_once(settings: Settings, run: Run) -> None:
    events = [
        *traces(on_the_way={("cart", "ledger"): 300.0}, errors={("cart", "ledger"): 20.0}),
        *SLOW_LEDGER,
        *cpu("search", 20, 90, host="search-2"),
        *logs("mailer", 9),
        deployment("cart", FAULT - 1),
    ]
    lake(settings, *events, *events[::3])
    expected = ask(events)
    found = run("causes", "--at", MOMENT, "--json").json["causes"]

    assert [(cause["application_id"], cause["host"], cause["because"], cause["change"]) for cause in found] == [
        (cause.application_id, cause.host, cause.because, cause.change) for cause in expected.causes
    ]


def test_the_lookback_is_how_long_a_change_counts(settings: Settings, run: Run) -> None:
    lake(settings, *graph(), *SLOW_LEDGER, deployment("ledger", FAULT - 30))
    changes = [
        run("causes", "--at", MOMENT, "--lookback", lookback, "--json").json["causes"][0]["change"]
        for lookback in ("31m", "1h")
    ]
    assert changes == [None, "rolling_update v2 32 min before"]


def test_calls_of_the_last_week_are_in_the_graph_and_older_ones_are_not(settings: Settings) -> None:
    week = 7 * 24 * 60
    lake(settings, call("new", "db", FAULT - week + 10), call("old", "db", FAULT - week - 10))
    history = History(Sources.of(Lakehouse(settings)), [(at(FAULT), at(FAULT))], lookback=timedelta(hours=1))
    seen = history.seen_from(at(FAULT), at(FAULT))
    assert seen.applications == {"new", "db"}


def test_calls_that_are_written_down_are_in_the_graph(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake(settings, *SLOW_LEDGER)
    alone = run("causes", "--at", MOMENT, "--application", "storefront", "--json").json["causes"]
    file = Path("topology.yaml")
    file.write_text("calls:\n  storefront: [cart]\n  cart: [ledger]\n")
    monkeypatch.setenv("ALERTS_TOPOLOGY_FILE", str(file))
    with_calls = run("causes", "--at", MOMENT, "--application", "storefront", "--json").json["causes"]

    assert [cause["application_id"] for cause in alone] == ["storefront"]
    assert with_calls[0]["application_id"] == "ledger"


def test_no_cause_says_why(settings: Settings, run: Run) -> None:
    empty = run("causes", "--at", MOMENT)
    assert empty.code == 0
    assert "no metrics, logs or calls in the week before" in empty.out
    assert run("causes", "--at", MOMENT, "--json").json["causes"] == []

    lake(settings, *graph(), *services())
    assert "nothing measured is unusual" in run("causes", "--at", MOMENT).out
    found = run("causes", "--at", MOMENT, "--application", "cart", "--json").json
    assert (found["answer"], found["confidence"], found["causes"]) == (None, 0.0, [])


def test_divided_blame_is_unknown(settings: Settings, run: Run) -> None:
    lake(settings, *services(slower={"cart": 50, "search": 31, "ledger": 50, "images": 100}))
    assert "unknown, confidence " in run("causes", "--at", MOMENT).out
    found = run("causes", "--at", MOMENT, "--json").json
    assert (found["answer"], len(found["causes"])) == (None, 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--application", "legder"], "Did you mean ledger?"),
        (["--application", "x\x1b[31m"], "Leave --application out"),
        (["--lookback", "soon"], "no whole number followed by s, m, h, d or w"),
        (["--at", "10:00"], "neither an age like"),
    ],
)
def test_wrong_use_says_what_is_right(settings: Settings, run: Run, options: list[str], says: str) -> None:
    lake(settings, *graph(), *services())
    result = run("causes", *(["--at", MOMENT] if "--at" not in options else []), *options)
    assert result.code == 2
    assert says in " ".join(result.err.replace("│", " ").split())
    assert "\x1b" not in result.err


def test_a_moment_long_after_the_data_knows_nothing(settings: Settings, run: Run) -> None:
    lake(settings, *graph(), *SLOW_LEDGER)
    late = (AT + timedelta(days=3)).isoformat()
    assert run("causes", "--at", late, "--json").json["causes"] == []
