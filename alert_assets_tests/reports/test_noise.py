"""Which alert rules to tune or delete: by what was sent, acknowledged and over, through the whole control plane."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.notify.episode import Rules
from alert_assets.reports.noise import RuleNoise, noise_by_rule, to_tune_or_delete
from alert_assets.state.database import State
from alert_assets_tests.notify.desk import HOUR, MINUTE, T0, Desk, alert

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def desk(settings: Settings) -> Desk:
    return Desk(State(settings.state_url), rules=Rules(quiet_after={}, reopen_within=30 * MINUTE))


def fire(desk: Desk, name: str, rule: str, *, status: str = "firing") -> None:
    desk.raise_(alert(name, desk.now, status=status, alert_type=rule, source="prometheus"))
    desk.tick()


def send(desk: Desk) -> None:
    desk.deliverer.tick(desk.now)


def test_rules_that_nobody_takes_come_first_with_their_figures(desk: Desk) -> None:
    # Nobody ever looks at disk_full: six hosts, each over by itself.
    for host in range(6):
        fire(desk, f"disk-{host}", "disk_full")
        desk.now += MINUTE
        fire(desk, f"disk-{host}", "disk_full", status="resolved")
        send(desk)
    # cpu_high flaps, and was acknowledged the last time, after four minutes.
    for _ in range(3):
        fire(desk, "cpu", "cpu_high")
        send(desk)
        desk.now += MINUTE
        fire(desk, "cpu", "cpu_high", status="resolved")
        send(desk)
        desk.now += MINUTE
    fire(desk, "cpu", "cpu_high")
    desk.now += 4 * MINUTE
    desk.people.acknowledge(desk.people.episodes()[0].id, "ana", "mine")
    send(desk)
    # Each latency_high is taken.
    for host in range(4):
        fire(desk, f"latency-{host}", "latency_high")
        (episode,) = [e for e in desk.people.episodes() if e.fingerprint == f"latency-{host}"]
        desk.now += 2 * MINUTE
        desk.people.acknowledge(episode.id, "ana", "mine")
        send(desk)

    rules = {noise.rule: noise for noise in noise_by_rule(desk.state, T0 - HOUR)}

    disk = rules["disk_full"]
    sent = len([text for text in desk.channels["slack"].messages if "disk" in text.alert.episode])
    assert disk == RuleNoise("prometheus", "disk_full", 6, sent, 0, 6, 0, None)
    assert disk.advice == "delete"
    assert disk.reason == f"{sent} notifications of 6 episodes, 0 acknowledged, 6 over without anybody"
    cpu = rules["cpu_high"]
    assert (cpu.episodes, cpu.flaps, cpu.acknowledged, cpu.median_acknowledge_seconds) == (1, 3, 1, 240.0)
    assert cpu.advice == "tune"
    assert "3 flaps" in cpu.reason
    assert rules["latency_high"].advice == "keep"
    assert rules["latency_high"].median_acknowledge_seconds == 120.0
    assert [noise.rule for noise in to_tune_or_delete(noise_by_rule(desk.state, T0 - HOUR))] == [
        "disk_full",
        "cpu_high",
    ]
    assert noise_by_rule(desk.state, desk.now + HOUR) == []


def test_of_many_rules_five_are_named(desk: Desk) -> None:
    for rule in range(6):
        for host in range(2 + rule):
            fire(desk, f"{rule}-{host}", f"rule-{rule}")
    desk.now += timedelta(seconds=1)
    send(desk)
    named = to_tune_or_delete(noise_by_rule(desk.state, T0 - HOUR))
    assert [noise.rule for noise in named] == ["rule-5", "rule-4", "rule-3", "rule-2", "rule-1"]
