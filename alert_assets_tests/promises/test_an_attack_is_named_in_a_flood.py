"""A day of security alerts, floods by host and type in which an attack hides: each phase of it is named to somebody.

Through the tables and the outbox to a web server, a quarter of an hour at a time by a clock of its own. What the phases
look like is modelled on published testbeds of intrusion detection; the alerts are made here.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.analysis.refresh import refresh_platinum, refresh_platinum_problems
from alert_assets.notify import round as notification
from alert_assets.notify.stack import NotificationStack
from alert_assets_tests.notify.channels.service import running

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets_tests.conftest import NewPipeline

DAY = datetime(2026, 2, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STEP = 15
HOSTS = ("webserver", "mailserver", "vpn", "fileshare", "intranet", "firewall")
#: What goes on all day: how often an hour on each host that has it.
NOISE = {
    "session opened": 40,
    "failed login": 6,
    "new event type": 24,
    "high entropy dns": 12,
    "tls certificate expired": 4,
    "web server 404": 60,
    "file integrity changed": 2,
    "cron session": 4,
}
#: (minute, host, alert type, alerts, minutes): a new kind on its host, or far more of one that is known.
ATTACK = (
    (11 * 60 + 3, "firewall", "port scan", 30, 8),
    (11 * 60 + 40, "webserver", "vulnerability scan of web server", 120, 20),
    (12 * 60 + 10, "webserver", "directory enumeration", 200, 12),
    (13 * 60 + 5, "webserver", "php file written by web server", 1, 1),
    (13 * 60 + 31, "webserver", "web shell command", 14, 10),
    (14 * 60 + 2, "intranet", "failed login", 90, 6),
    (14 * 60 + 44, "intranet", "reverse shell", 2, 2),
    (15 * 60 + 20, "intranet", "privilege escalation", 1, 1),
    (16 * 60 + 9, "fileshare", "dns exfiltration", 25, 30),
)


def events() -> list[dict[str, Any]]:
    """The day's alerts in order of time, the same each time."""
    draw = random.Random(14)
    found: list[dict[str, Any]] = []

    def alert(minute: float, host: str, kind: str) -> None:
        at = DAY + minute * MINUTE
        known = {"event_id": f"e{len(found)}", "event_type": "alert", "application_id": host, "host": host}
        found.append({**known, "alert_type": kind, "severity": "MEDIUM", "timestamp": at.isoformat(), "source": "ids"})

    for host in HOSTS:
        for kind in draw.sample(sorted(NOISE), 5) + ["failed login"] * (host == "intranet"):
            for minute in range(24 * 60):
                # By day there is more of it than by night.
                hourly = NOISE[kind] * (1.5 if 7 <= minute // 60 < 19 else 0.5)
                for _ in range(int(draw.random() < hourly / 60)):
                    alert(minute + draw.random(), host, kind)
    for begin, host, kind, number, minutes in ATTACK:
        for _ in range(number):
            alert(begin + draw.random() * minutes, host, kind)
    return sorted(found, key=lambda event: str(event["timestamp"]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_phase_of_an_attack_is_named(
    new_pipeline: NewPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [DAY]
    monkeypatch.setattr(notification, "utc_now", lambda: clock[0])
    landing = events()
    assert len(landing) > 10_000
    with running() as service:
        monkeypatch.setenv("ALERTS_WEBHOOK_URL", f"{service.url}/hook")
        monkeypatch.setenv("ALERTS_WEBHOOK_SECRET", "a-secret-of-the-tests")
        pipeline = new_pipeline(tmp_path / "data", allowed_hosts="127.0.0.1")
        stack = NotificationStack(pipeline.settings)
        for begin in range(0, 24 * 60, STEP):
            until = (DAY + (begin + STEP) * MINUTE).isoformat()
            now = [event for event in landing if event["timestamp"] < until]
            landing = landing[len(now) :]
            pipeline.land(f"{begin:04}.jsonl", *(json.dumps(event).encode() for event in now))
            pipeline.run()
            refresh_platinum(pipeline.lakehouse, pipeline.settings)
            refresh_platinum_problems(pipeline.lakehouse, pipeline.settings)
            for minute in (0, 2, 5, 10):
                clock[0] = DAY + (begin + STEP + minute) * MINUTE
                notification.notify(stack, pipeline.settings, budget_seconds=60, incidents=not minute)
        sent = [request.json for request in service.requests]
    messages = [message for message in sent if message["alert"]["kind"] == "incident"]
    told = [json.dumps(message) for message in messages if message["action"] in ("open", "update")]
    unheard = [
        f"{kind} on {host}" for _, host, kind, _, _ in ATTACK if not any(f"{kind} on {host}" in text for text in told)
    ]
    print(Counter((message["alert"]["kind"], message["action"]) for message in sent), len(sent))
    assert unheard == []
    assert len(sent) <= 250
