"""`alert-assets backtest` on a lake of its own, against the routing in force."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.round import notify
from alert_assets.notify.stack import NotificationStack
from alert_assets.settings import load_settings
from alert_assets.state.database import State
from alert_assets.state.tables import outbox
from alert_assets_tests.checks.lake import line
from alert_assets_tests.commands.lake import event, sha, write
from alert_assets_tests.ingest.test_without_spark import no_spark
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run
    from alert_assets_tests.notify.channels.service import Service

QUIET = "policies: {P1: {notify: {log: []}, escalation: [], reminders: null}}\n"


@pytest.fixture
def heard(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """One alert that people were notified of, and that a person acknowledged."""
    monkeypatch.setenv("ALERTS_ALLOWED_HOSTS", "127.0.0.1")
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", "http://127.0.0.1:9/hook")
    monkeypatch.setenv("ALERTS_WEBHOOK_SECRET", "s")
    fired = utc_now() - timedelta(minutes=10)
    start = fired.replace(minute=fired.minute // 5 * 5, second=0, microsecond=0)
    row = {
        "fingerprint": sha("disk"),
        "window_start": start,
        "window_end": start + timedelta(minutes=5),
        "application_id": "payments-api",
        "host": "host-a",
        "alert_type": "disk|full",
        "severity": "CRITICAL",
        "alert_id": "a-1",
        "first_seen_timestamp": fired,
        "last_seen_timestamp": fired,
        "alert_count": 1,
        "suppressed_count": 0,
        "duplicate_count": 0,
    }
    write(settings, SILVER_ALERTS, row)
    assert Lakehouse(settings).table(SILVER_ALERTS) is not None
    notify(NotificationStack(settings), settings, budget_seconds=20)
    (episode,) = run("alerts", "--json").json["episodes"]
    assert run("alerts", "acknowledge", episode["id"], "--who", "ana", "--why", "mine").code == 0
    return settings


def test_a_routing_that_loses_what_a_person_acknowledged_fails_and_names_it(heard: Settings, run: Run) -> None:
    Path("quiet.yaml").write_text(QUIET)
    result = run("backtest", "--routing", "quiet.yaml", "--since", "1h", "--tick", "1m")
    assert result.code == 1, result.err
    first, lost = result.out.index("## Acknowledged, and nobody would have heard"), result.out.index("## Lost")
    assert first < lost
    assert "disk\\|full: payments-api on host-a, by ana" in result.out
    assert "1 dedup windows" in result.out
    found = run("backtest", "--routing", "quiet.yaml", "--since", "1h", "--tick", "1m", "--json").json
    assert [act["who"] for act in found["unheard"]] == ["ana"]
    assert found["heard"] == {"in_force": 1, "other": 0}


def test_the_rules_in_force_differ_from_themselves_in_nothing(heard: Settings, run: Run) -> None:
    result = run("backtest", "--since", "1h", "--tick", "1m")
    assert (result.code, result.out.rstrip().splitlines()[-1]) == (0, "Nothing differs.")


def test_a_row_of_the_outbox_that_is_no_alert_is_replayed_as_it_was_dispatched(heard: Settings, run: Run) -> None:
    row = {"created_at": utc_now() - timedelta(minutes=5), "kind": "run_failure", "idempotency_key": "broken"}
    with State(heard.state_url).writing() as connection:
        connection.execute(outbox.insert().values(**row, severity="HIGH", subject="run 7", payload={"kind": "x"}))
    result = run("backtest", "--since", "1h", "--tick", "1m")
    assert (result.code, result.out.rstrip().splitlines()[-1]) == (0, "Nothing differs."), result.err
    assert "2 alerts of the pipeline's own" in result.out, "the other: the webhook does not deliver"


def test_what_has_no_history_says_so(heard: Settings, run: Run) -> None:
    long_ago = ("--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z")
    assert "Nothing was replayed" in run("backtest", *long_ago).out
    assert run("backtest", "--since", "2020-01-01T00:00:00Z", "--until", "2019-01-01T00:00:00Z").code == 2


def test_another_dedup_window_makes_other_windows_of_the_same_alerts(heard: Settings, run: Run) -> None:
    at = utc_now() - timedelta(minutes=9)
    firing = [
        event(
            n,
            timestamp=at + timedelta(seconds=150 * n),
            event_type="alert",
            alert_id=f"b-{n}",
            alert_type="disk_full",
            severity="CRITICAL",
            status="firing",
        )
        for n in range(3)
    ]
    write(heard, BRONZE_EVENTS, *firing)
    found = run("backtest", "--since", "1h", "--tick", "1m", "--dedup-window", "30m", "--json")
    assert found.code == 1, found.err
    assert found.json["heard"] == {"in_force": 1, "other": 1}, "silver has the one, bronze the other"
    assert {sent["title"] for sent in found.json["new"]} == {"disk_full: payments-api"}
    assert run("backtest", "--dedup-window", "90s").code == 2


@pytest.fixture
def landing(settings: Settings) -> Pipeline:
    """What lands is taken to platinum without Spark."""
    settings = settings.model_copy(update={"landing_engine": "arrow", "refresh_engine": "arrow"})
    Path(settings.landing_dir).mkdir(parents=True)
    return Pipeline(settings, no_spark)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Who is notified."""
    with running() as service:
        for name, value in service.variables.items():
            monkeypatch.setenv(name, value)
        yield service


def notify_people() -> None:
    notify(NotificationStack(load_settings()), load_settings(), budget_seconds=20)


def test_from_landed_lines_to_the_page_that_would_be_lost(landing: Pipeline, service: Service, run: Run) -> None:
    """What landed in two batches some windows apart; a page a person took, and one that nobody did."""
    began = utc_now() - timedelta(minutes=40)
    for host, minutes in (("host-a", 0), ("host-b", 20)):
        at = began + timedelta(minutes=minutes)
        fields = {"alert_type": "disk_full", "severity": "CRITICAL", "status": "firing", "host": host}
        landing.land(f"{host}.jsonl", line(host, at, "alert", **fields, alert_id=host, application_id=f"app-{host}"))
        landing.run()
        notify_people()
    assert len(service.requests) == 2
    first = run("alerts", "--json").json["episodes"][-1]
    assert run("alerts", "acknowledge", first["id"], "--who", "ana", "--why", "mine").code == 0
    Path("same.yaml").write_text("{}\n")
    same = run("backtest", "--routing", "same.yaml", "--since", "2h", "--tick", "1m")
    assert (same.code, same.out.rstrip().splitlines()[-1]) == (0, "Nothing differs.")
    Path("quiet.yaml").write_text(QUIET)
    lost = run("backtest", "--routing", "quiet.yaml", "--since", "2h", "--tick", "1m")
    assert lost.code == 1
    unheard, _, others = lost.out.partition("## Lost")
    host = first["alert"]["host"]
    assert f"app-{host}" in unheard
    assert "by ana" in unheard
    assert "app-host-a" in others
    assert "app-host-b" in others
    assert len(service.requests) == 2, "a replay sends nothing"


@pytest.mark.usefixtures("service")
def test_what_people_read_in_a_pull_request_has_no_address_and_no_secret(landing: Pipeline, run: Run) -> None:
    for who in ("ana.smith", "bob.jones"):
        about = {"alert_type": f"mailbox of {who}@example.com full, password=hunter2", "severity": "CRITICAL"}
        at = utc_now() - timedelta(minutes=20)
        landed = line(who, at, "alert", **about, alert_id=who, status="firing", application_id=f"mail-{who[:3]}")
        landing.land(f"{who}.jsonl", landed)
    landing.run()
    notify_people()
    first = run("alerts", "--json").json["episodes"][0]
    assert run("alerts", "acknowledge", first["id"], "--who", "operator", "--why", "mine").code == 0
    Path("quiet.yaml").write_text(QUIET)
    quiet = ("backtest", "--routing", "quiet.yaml", "--since", "2h", "--tick", "1m")
    printed, as_json = run(*quiet), run(*quiet, "--json")
    for out in (printed.out.replace("\\", ""), as_json.out):
        assert {"a***@example.com", "b***@example.com"} == set(re.findall(r"\w\*\*\*@example.com", out))
        assert [hidden for hidden in ("ana.smith", "bob.jones", "hunter2") if hidden in out] == []
