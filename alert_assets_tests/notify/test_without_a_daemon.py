"""No daemon, no difference: runs from a terminal, `alert-assets alerts notify`, and a receiver on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import SILVER_ALERTS
from alert_assets_tests.commands.lake import window
from alert_assets_tests.notify.channels.service import answer, running
from alert_assets_tests.notify.test_round import fire, merge
from alert_assets_tests.support.dagster_site import Site, materialize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_assets_tests.notify.channels.service import Service


@pytest.fixture
def service() -> Iterator[Service]:
    with running(lambda _: answer(200)) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, service: Service) -> Site:
    (tmp_path / "routing.yaml").write_text("routes:\n  - {name: everything, add: {webhook: []}}\n")
    (tmp_path / "slos").mkdir()
    return Site(
        tmp_path,
        **service.variables,
        ALERTS_ROUTING_FILE=str(tmp_path / "routing.yaml"),
    )


def titles(service: Service) -> list[str]:
    return [request.json["alert"]["title"] for request in service.requests]


def run(site: Site, *, dagster_home: bool, **variables: str) -> int:
    """`dagster asset materialize` of what needs no Spark."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *materialize("slo_status")],
        cwd=site.folder,
        env={**site.environment(dagster_home=dagster_home), **variables},
        capture_output=True,
        check=False,
    )
    return done.returncode


def notify(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.command("alerts", "notify", "--json"))
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dagster_home", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_from_a_terminal_notifies_of_its_own_failure(site: Site, service: Service, dagster_home: bool) -> None:
    (site.folder / "slos" / "broken.yaml").write_text("kind: [")
    assert run(site, dagster_home=dagster_home, ALERTS_SLO_DIR=str(site.folder / "slos")) == 1
    assert titles(service) == ["Run of __ASSET_JOB failed"]
    found = notify(site)
    assert (found["raised"], found["taken_up"], found["sent"]) == (0, 0, 0), "once"
    assert run(site, dagster_home=dagster_home) == 0
    assert [request.json["action"] for request in service.requests] == ["open", "resolve"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_the_sensors_would_take_up_is_taken_up_by_the_command(site: Site, service: Service) -> None:
    """The receiver was away when the run ended; an alert came into the lake; the runs of the instance are looked at."""
    (site.folder / "slos" / "broken.yaml").write_text("kind: [")
    away = {"ALERTS_SLO_DIR": str(site.folder / "slos"), "ALERTS_STATE_URL": f"sqlite:///{site.folder}/elsewhere.db"}
    assert run(site, dagster_home=True, **away, ALERTS_WEBHOOK_URL="http://127.0.0.1:9/hook") == 1
    assert titles(service) == []
    fire(site.settings, 1)
    found = notify(site)
    assert (found["raised"], found["taken_up"]) == (2, 2)
    assert titles(service) == ["Run of __ASSET_JOB failed", "cpu_high: payments-api on host-a"]
    assert notify(site)["sent"] == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_who_is_told_in_place_of_another_is_told_of_the_end_too(tmp_path: Path) -> None:
    """Slack has trouble while the alert fires, and refuses for good when it is over."""
    with running(lambda got: answer(500 if got.path == "/slack" else 200)) as service:
        site = Site(
            tmp_path,
            ALERTS_SLACK_WEBHOOK_URL=f"{service.url}/slack",
            **service.variables,
        )
        gold = fire(site.settings, 1)
        site.command("alerts", "notify")
        over = gold["last_seen_timestamp"] + timedelta(seconds=30)
        merge(site.settings, SILVER_ALERTS, window(gold, resolved_at=over))
        service.answers = lambda got: answer(404 if got.path == "/slack" else 200)
        for minutes in (10, 11, 12):
            # Exit code 1: a channel does not deliver.
            with suppress(AssertionError):
                site.command("alerts", "notify", ahead=timedelta(minutes=minutes))
        hook = [request.json for request in service.requests if request.path == "/hook"]
        about = [one["action"] for one in hook if one["alert"]["kind"] == "incident"]
        assert about == ["open", "resolve"]
