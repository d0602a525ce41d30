"""A sender that falls silent is an alert, and its voice the end of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from alert_assets.intake.activity import Activity, Spoken, read_activity
from alert_assets.intake.heartbeats import check, limit_of
from alert_assets.intake.server import Intake
from alert_assets.intake.settings import IntakeSettings
from alert_assets.intake.standing import standings
from alert_assets_tests.intake.site import landed_lines

START = datetime(2026, 2, 14, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERY_5_MINUTES = {"alertmanager": 5 * MINUTE}


def test_silence_is_an_alert_once_and_ends_when_it_speaks():
    spoken = Spoken(requests=1, last_at=START.isoformat(), last="alert HighErrorRate firing checkout")
    senders = {"alertmanager": spoken}
    assert check(senders, EVERY_5_MINUTES, START, START + 5 * MINUTE) == []
    [silent] = check(senders, EVERY_5_MINUTES, START, START + 6 * MINUTE)
    assert (silent["alert_type"], silent["host"], silent["status"]) == ("sender_silent", "alertmanager", "firing")
    assert "HighErrorRate" in silent["message"]
    assert check(senders, EVERY_5_MINUTES, START, START + 7 * MINUTE) == []
    spoken.last_at = (START + 8 * MINUTE).isoformat()
    [over] = check(senders, EVERY_5_MINUTES, START, START + 9 * MINUTE)
    assert over["status"] == "resolved"
    assert over["timestamp"] > silent["timestamp"]
    assert check(senders, EVERY_5_MINUTES, START, START + 10 * MINUTE) == []


def test_a_sender_that_never_spoke_is_silent_since_the_start():
    senders = {"alertmanager": Spoken()}
    assert check(senders, EVERY_5_MINUTES, START, START + 4 * MINUTE) == []
    [silent] = check(senders, EVERY_5_MINUTES, START, START + 6 * MINUTE)
    assert "never" in silent["message"]


def test_nobody_is_silent_while_nobody_listened():
    senders = {"alertmanager": Spoken(last_at=START.isoformat())}
    again = START + timedelta(days=2)
    assert check(senders, EVERY_5_MINUTES, again, again + 4 * MINUTE) == []
    assert len(check(senders, EVERY_5_MINUTES, again, again + 6 * MINUTE)) == 1


def test_the_cadence_of_a_week_is_learnt():
    spoken = Spoken(requests=500, gaps={f"2026-02-0{day}": 600.0 + day for day in range(1, 8)})
    assert limit_of("github", spoken, {}) == timedelta(seconds=3 * 607)
    assert limit_of("github", spoken, {"github": MINUTE}) == MINUTE
    assert limit_of("github", Spoken(requests=500, gaps={"2026-02-01": 5.0}), {}) is None
    assert limit_of("github", Spoken(requests=9, gaps=spoken.gaps), {}) is None


def test_counts_outlive_the_server_and_are_read_by_others(tmp_path):
    activity = Activity(tmp_path, 8080)
    activity.record("grafana", 3, 1, b'{"event_type": "alert", "alert_type": "x\\u001b[31m"}', START)
    activity.record("grafana", 1, 0, None, START + 3 * MINUTE)
    activity.save()
    Activity(tmp_path, 8081).save()
    again = Activity(tmp_path, 8080)
    again.record("grafana", 1, 0, b"no json", START + 5 * MINUTE)
    again.save()
    other = Activity(tmp_path, 8081)
    other.record("grafana", 10, 0, None, START + 4 * MINUTE)
    other.save()
    spoken = read_activity(tmp_path)["grafana"]
    assert (spoken.requests, spoken.lines, spoken.unmapped) == (4, 15, 1)
    assert spoken.last_at == (START + 5 * MINUTE).isoformat()
    assert spoken.first_at == START.isoformat()


def test_a_file_of_counts_that_is_broken_is_begun_anew(tmp_path):
    (tmp_path / "intake").mkdir()
    (tmp_path / "intake" / "senders-8080.json").write_text('{"grafana": ')
    assert Activity(tmp_path, 8080).senders == {}


async def test_the_watchdog_is_a_sign_of_life_and_its_silence_lands_as_an_alert(settings):
    import httpx

    now = START
    intake = Intake(
        settings, IntakeSettings(_env_file=None, heartbeats=EVERY_5_MINUTES, intake_roll_seconds=0), lambda: now
    )
    watchdog = {
        "alerts": [
            {"labels": {"alertname": "Watchdog"}, "status": "firing", "startsAt": "2026-02-01T00:00:00Z", "endsAt": ""}
        ]
    }
    transport = httpx.ASGITransport(intake.app())
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        intake.lifespan(intake.app()),
    ):
        now = START + 4 * MINUTE
        answer = await client.post("/intake/alertmanager", json=watchdog)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 0})
        now = START + 8 * MINUTE
        await intake.look_for_silence()
        assert list((settings.data_dir / "landing").iterdir()) == []
        now = START + 10 * MINUTE
        await intake.look_for_silence()
        [silent] = map(json.loads, landed_lines(settings.data_dir / "landing"))
        assert (silent["alert_type"], silent["host"]) == ("sender_silent", "alertmanager")


async def test_what_another_server_hears_is_no_silence(settings):
    now = START
    configured = IntakeSettings(_env_file=None, heartbeats=EVERY_5_MINUTES, intake_roll_seconds=0, serve_port=8081)
    intake = Intake(settings, configured, lambda: now)
    other = Activity(settings.state_dir, 8080)
    async with intake.lifespan(intake.app()):
        other.record("alertmanager", 1, 0, None, START + 4 * MINUTE)
        other.save()
        now = START + 8 * MINUTE
        await intake.look_for_silence()
        assert list((settings.data_dir / "landing").iterdir()) == []
        now = START + 10 * MINUTE
        await intake.look_for_silence()
        other.record("alertmanager", 1, 0, None, now)
        other.save()
        await intake.look_for_silence()
    found = map(json.loads, landed_lines(settings.data_dir / "landing"))
    assert [(event["alert_type"], event["status"]) for event in found] == [
        ("sender_silent", "firing"),
        ("sender_silent", "resolved"),
    ]


def test_a_sender_that_never_spoke_is_listed_as_silent_once_its_silence_is_an_alert(tmp_path):
    intake = IntakeSettings(_env_file=None, heartbeats=EVERY_5_MINUTES)
    activity = Activity(tmp_path, 8080)
    for silent_since in (None, START.isoformat()):
        activity.senders["alertmanager"] = Spoken(silent_since=silent_since)
        activity.changed()
        activity.save()
        found = {each["name"]: each["is_silent"] for each in standings(tmp_path, intake, START + 10 * MINUTE)}
        assert found["alertmanager"] == (silent_since is not None)
        assert not found["github"]
