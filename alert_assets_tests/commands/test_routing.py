"""`alert-assets routing`: whether a file is right, and where an alert would go and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.notify.routing.file import PACKAGED

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets_tests.commands.conftest import Run

FILE = """\
routes:
  - name: payments
    match: {application: "=~payments-.*", labels: {region: eu}}
    add: {slack: ["#payments"]}
    continue: true
  - name: default
contacts:
  manager: {email: [manager@example.org]}
teams:
  team:pay:
    owns: [{application: "=~payments-.*"}]
    contacts:
      assignment-group: {servicenow: [Payments]}
runbooks:
  - match: {application: "=~payments-.*"}
    url: https://runbooks.example.org/payments
dependencies:
  database: [payments-api]
"""


CHANNELS = {
    "ALERTS_SLACK_TOKEN": "xoxb-1",
    "ALERTS_SLACK_CHANNEL": "#alerts",
    "ALERTS_PAGERDUTY_ROUTING_KEY": "key",
    "ALERTS_SERVICENOW_URL": "https://example.service-now.com",
    "ALERTS_SERVICENOW_USER": "alerts",
    "ALERTS_SERVICENOW_PASSWORD": "secret",
    "ALERTS_SMTP_HOST": "relay.example.org",
    "ALERTS_SMTP_FROM": "alerts@example.org",
    "ALERTS_SMTP_TO": "all@example.org",
}


@pytest.fixture(autouse=True)
def channels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CHANNELS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def nothing_configured(channels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHANNELS:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("nothing_configured")
def test_a_policy_that_reaches_nobody(run: Run) -> None:
    checked = run("routing", "check")
    assert checked.code == 1
    assert "Problem: policy P1 reaches nobody: none of pagerduty, servicenow, email is configured" in checked.err
    assert "Warning: no channel is configured" in checked.err
    tested = run("routing", "test", "--severity", "LOW", "--json")
    assert (tested.code, tested.json["destinations"]) == (1, [{"channel": "log", "recipients": []}])
    assert tested.json["problems"] == ["it reaches nobody: slack: #alerts-info is named and not configured"]


@pytest.mark.usefixtures("nothing_configured")
def test_the_one_channel_that_is_configured_takes_the_place_of_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x")
    assert run("routing", "check").code == 0
    tested = run("routing", "test", "--severity", "CRITICAL")
    assert tested.code == 0
    assert "slack: takes the place of pagerduty, servicenow (policy P1)" in tested.out
    assert "Not configured" in tested.out


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "routing.yaml"
    path.write_text(FILE, "utf-8")
    return str(path)


def test_what_ships_is_right(run: Run) -> None:
    result = run("routing", "check")
    shown = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}

    assert (result.code, result.err) == (0, "")
    assert f"{PACKAGED}: nothing wrong." in result.out
    assert "5m: on-call again; 30m: manager; 2h: vice president" in shown["P1"]
    assert shown["P2"].split()[1:4] == ["slack", "#alerts-urgent,", "email"]
    assert "next business day: team again" in shown["P3"]
    assert shown["P4"].split()[3:] == ["-"] * 4
    assert "mon, tue, wed, thu, fri 09:00-17:00 UTC" in shown["Business"]
    assert "10 in 1m and 100 in 1h; log without limit; pagerduty 5 in 1m and 50 in 1h" in shown["Limits"]


def test_roles_that_nobody_has_are_named(run: Run, file: str) -> None:
    assert "role:manager in email" in run("routing", "check").out
    out = run("routing", "check", file).out
    assert "payments, default" in out
    assert "role:team-lead in email" in out
    assert "role:manager in email" not in out


def test_what_is_in_force_as_json(run: Run, file: str) -> None:
    found = run("routing", "check", file, "--json").json
    assert (found["file"], found["routes"]) == (file, ["payments", "default"])
    assert found["dependencies"]["database"] == ["payments-api"]
    assert found["policies"]["P1"]["acknowledge_within"] == "5m"
    assert found["policies"]["P1"]["escalation"][1]["destinations"][0] == {"channel": "pagerduty", "recipients": []}
    assert found["policies"]["P4"]["reminders"] is None
    assert {"role": "team-lead", "channel": "email"} in found["unfilled_roles"]


def test_what_is_wrong_is_named_with_exit_code_1(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_text(FILE.replace("[Payments]", "['']").replace("match: {app", "match: {host: x, app", 1), "utf-8")
    result = run("routing", "check", str(path))
    assert (result.code, result.out) == (1, "")
    assert f"{path}:3: routes[0].match.host is 'x': there is no such field here" in result.err


def test_a_file_that_cannot_be_used_is_wrong_use_of_test(run: Run, tmp_path: Path) -> None:
    result = run("routing", "test", "--file", str(tmp_path / "nowhere.yaml"))
    assert (result.code, result.out) == (2, "")
    assert "There is no routing file" in result.err
    assert "ALERTS_ROUTING_FILE" in result.err


def test_where_an_alert_goes_when_it_escalates_and_why(run: Run, file: str) -> None:
    result = run(
        *("routing", "test", "--file", file, "--severity", "critical", "--application", "payments-api"),
        *("--label", "region=eu", "--at", "2026-02-14T10:00:00Z"),
    )
    lines = [line.split("  ") for line in result.out.splitlines()]
    times = {line[0]: " ".join(line[1:]).split(maxsplit=1) for line in lines if line[0].startswith("2026-")}

    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("CRITICAL incident, opened 2026-02-14 10:00:00Z: P1\n")
    assert "team:pay" in result.out
    assert "https://runbooks.example.org/payments" in result.out
    assert list(times) == [
        "2026-02-14 10:00:00Z",
        "2026-02-14 10:05:00Z",
        "2026-02-14 10:30:00Z",
        "2026-02-14 11:00:00Z",
        "2026-02-14 12:00:00Z",
        "2026-02-14 13:00:00Z",
        "2026-02-14 17:00:00Z",
        "2026-02-15 01:00:00Z",
    ]
    assert "pagerduty, servicenow Payments, slack #payments, log" in " ".join(times["2026-02-14 10:00:00Z"])
    assert "email manager@example.org" in " ".join(times["2026-02-14 10:30:00Z"])
    assert result.out.splitlines()[-7:] == [
        "  priority P1: severity is CRITICAL",
        "  route payments: application =~ payments-.* and labels.region is eu",
        "  route default: any alert",
        "  pagerduty: policy P1; the channel's default recipients",
        "  servicenow: policy P1; role:assignment-group is Payments (team:pay)",
        "  slack: added by route payments",
        "  log: always",
    ]


def test_json(run: Run, file: str) -> None:
    answer = run(
        *("routing", "test", "--file", file, "--severity", "MEDIUM", "--application", "payments-api"),
        *("--at", "2026-02-13T20:00:00Z", "--json"),
    ).json
    assert answer == {
        "opened_at": "2026-02-13T20:00:00.000000Z",
        "severity": "MEDIUM",
        "kind": "incident",
        "priority": "P3",
        "owner": "team:pay",
        "runbook_url": "https://runbooks.example.org/payments",
        "suggested_action": None,
        "destinations": [
            {"channel": "slack", "recipients": ["#alerts"]},
            {"channel": "email", "recipients": ["all@example.org"]},
            {"channel": "log", "recipients": []},
        ],
        "acknowledge_by": "2026-02-16T13:00:00.000000Z",
        "resolve_by": "2026-02-17T09:00:00.000000Z",
        "escalation": [
            {
                "step": "team again",
                "after": "next business day",
                "at": "2026-02-16T09:00:00.000000Z",
                "destinations": [
                    {"channel": "slack", "recipients": ["#alerts"]},
                    {"channel": "email", "recipients": ["all@example.org"]},
                    {"channel": "log", "recipients": []},
                ],
            }
        ],
        "reminders_at": [f"2026-02-{day}T09:00:00.000000Z" for day in (17, 18, 19, 20)],
        "group_key": "P3 application=payments-api",
        "parents": ["database"],
        "reasons": [
            "priority P3: severity is MEDIUM",
            "route default: any alert",
            "slack: policy P3",
            "email: policy P3; role:team has no contact in email; the channel's default recipients",
            "log: always",
        ],
        "unreachable": [],
        "problems": [],
    }


def test_options_reach_the_alert(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    conditions = "kind: slo_burn, table: silver_alerts, pipeline: lake, source: prometheus, owner: team:x"
    path.write_text(f"routes:\n  - {{name: all, match: {{{conditions}}}, notify: {{}}}}\n  - name: default\n", "utf-8")
    options = {
        "kind": "slo_burn", "table": "silver_alerts", "pipeline": "lake", "source": "prometheus", "owner": "team:x"
    }  # fmt: skip
    args = ["routing", "test", "--file", str(path), "--json"]
    given = [arg for name, value in options.items() for arg in (f"--{name}", value)]
    assert [to["channel"] for to in run(*args, *given).json["destinations"]] == ["log"]
    for name in options:
        without = [arg for other, value in options.items() if other != name for arg in (f"--{other}", value)]
        assert len(run(*args, *without).json["destinations"]) > 1, name


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--severity", "urgent", "is not one of CRITICAL, HIGH"),
        ("--kind", "alert", "is not one of incident"),
        ("--label", "region", "write it like region=eu"),
        ("--at", "yesterday", "write it like 2026-02-14T09:30:00Z"),
    ],
)
def test_wrong_use(run: Run, option: str, value: str, message: str) -> None:
    result = run("routing", "test", option, value)
    assert (result.code, result.out) == (2, "")
    assert message in " ".join(result.err.replace("│", " ").split())


def test_text_of_a_file_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_text('routes:\n  - {name: "a\\e[31mb", add: {slack: ["#x"]}}\n', "utf-8")
    for args in (("check", str(path)), ("test", "--file", str(path))):
        result = run("routing", *args)
        assert result.code == 0
        assert "\x1b" not in result.out
        assert "a\\u{001b}[31mb" in result.out
