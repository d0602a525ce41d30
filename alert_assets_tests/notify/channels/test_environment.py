"""Which channels there are is read from the environment."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.errors import UserError
from alert_assets.notify.channels.channel import Action, Channel, ChannelError
from alert_assets.notify.channels.log import Log
from alert_assets.notify.channels.registry import CHANNELS, channels
from alert_assets_tests.notify.channels import relay
from alert_assets_tests.notify.channels.examples import HUGE, OPENING
from alert_assets_tests.notify.channels.service import Service, slack_webhook

if TYPE_CHECKING:
    from alert_assets_tests.notify.channels.conftest import Authority, NewService

SECRET = "S3cr3tTok3n0123456789abcdef01234"

WHOLE: dict[str, dict[str, str]] = {
    "slack by webhook": {"SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/T0/B0/{SECRET}"},
    "slack by token": {"SLACK_TOKEN": SECRET, "SLACK_CHANNEL": "#alerts"},
    "pagerduty": {"PAGERDUTY_ROUTING_KEY": SECRET},
    "servicenow": {
        "SERVICENOW_URL": "https://example.service-now.com",
        "SERVICENOW_USER": "alerts",
        "SERVICENOW_PASSWORD": SECRET,
    },
    "email": {
        "SMTP_HOST": "relay.example.test",
        "SMTP_FROM": "alerts@example.test",
        "SMTP_TO": "oncall@example.test",
    },
    "teams": {"TEAMS_WEBHOOK_URL": f"https://example.test/workflows?sig={SECRET}"},
    "webhook": {"WEBHOOK_URL": f"https://example.test/{SECRET}", "WEBHOOK_SECRET": SECRET},
}


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(**variables: str) -> dict[str, Channel]:
    allowed_hosts = variables.pop("ALLOWED_HOSTS", "")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(f"ALERTS_{name}", value)
        return channels(allowed_hosts)


def problem(**variables: str) -> str:
    with pytest.raises(UserError) as caught:
        read(**variables)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_there_is_always_a_log() -> None:
    assert list(read(TEAMS_WEBHOOK_URL=" ")) == ["log"]


def test_a_channel_may_be_configured_by_the_file() -> None:
    Path(".env").write_text(f"ALERTS_WEBHOOK_SECRET={SECRET}\nALERTS_WEBHOOK_URL=https://example.test\n")
    assert list(read(WEBHOOK_URL="")) == ["log", "webhook"]


@pytest.mark.parametrize("name", WHOLE)
def test_a_channel_that_is_whole_is_there(name: str) -> None:
    found = read(**WHOLE[name])
    assert list(found) == ["log", name.split()[0]]
    assert all(channel.name == name for name, channel in found.items())
    assert SECRET not in repr(found)


def test_all_together() -> None:
    variables = {name: value for part, each in WHOLE.items() if "token" not in part for name, value in each.items()}
    assert set(read(**variables)) == set(CHANNELS)


@pytest.mark.parametrize(
    ("part", "missing"), [(part, name) for part, each in WHOLE.items() if len(each) > 1 for name in each]
)
def test_half_a_channel_is_named_by_what_is_missing(part: str, missing: str) -> None:
    rest = {name: value for name, value in WHOLE[part].items() if name != missing}
    assert f"ALERTS_{missing} is not set: {part.split()[0]} needs it" in problem(**rest)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    said = problem(PAGERDUTY_URL="x", SMTP_PORT="99999", SMTP_TO="a@b.test,nobody", TEAMS_WEBHOOK_URL="ftp://x")
    for name in ("PAGERDUTY_ROUTING_KEY", "PAGERDUTY_URL", "SMTP_HOST", "SMTP_FROM", "SMTP_PORT", "SMTP_TO", "TEAMS"):
        assert f"ALERTS_{name}" in said


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({**WHOLE["slack by webhook"], **WHOLE["slack by token"]}, "SLACK_TOKEN"),
        ({"SLACK_TOKEN": f"{SECRET}\u200b", "SLACK_CHANNEL": "#a"}, "SLACK_TOKEN"),
        ({"TEAMS_WEBHOOK_URL": f"https://user:{SECRET}@example.test/"}, "TEAMS_WEBHOOK_URL"),
        ({**WHOLE["email"], "SMTP_USER": "alerts"}, "SMTP_PASSWORD"),
        ({**WHOLE["email"], "SMTP_PASSWORD": SECRET}, "SMTP_USER"),
        (
            {**WHOLE["email"], "SMTP_USER": "a", "SMTP_PASSWORD": SECRET, "SMTP_STARTTLS": "false"},
            "SMTP_STARTTLS",
        ),
        ({**WHOLE["email"], "SMTP_STARTTLS": "maybe"}, "SMTP_STARTTLS"),
        ({**WHOLE["email"], "SMTP_FROM": "Alerts <a@b>"}, "SMTP_FROM"),
        ({**WHOLE["teams"], "ALLOWED_HOSTS": "relay.internal,*"}, "ALLOWED_HOSTS"),
    ],
)
def test_what_cannot_work_is_named(variables: dict[str, str], names: str) -> None:
    assert f"ALERTS_{names}" in problem(**variables)


def test_details_reach_the_channel() -> None:
    details = {
        "SMTP_TO": "a@example.test, b@example.test",
        "SMTP_PORT": "25",
        "SMTP_STARTTLS": "False",
        "SERVICENOW_ASSIGNMENT_GROUP": "Data Engineering",
        "SERVICENOW_CLOSE_CODE": "Solved (Permanently)",
        "PAGERDUTY_URL": "https://events.eu.pagerduty.com/v2/enqueue",
    }
    found: dict[str, Any] = read(**{**WHOLE["email"], **WHOLE["servicenow"], **WHOLE["pagerduty"], **details})
    email, ticket = found["email"], found["servicenow"]
    assert (email.to, email.port, email.starttls) == (("a@example.test", "b@example.test"), 25, False)
    assert (ticket.assignment_group, ticket.close_code) == ("Data Engineering", "Solved (Permanently)")
    assert found["pagerduty"].url == "https://events.eu.pagerduty.com/v2/enqueue"


def test_a_configured_channel_delivers(serve: NewService) -> None:
    service: Service = serve(slack_webhook())
    read(SLACK_WEBHOOK_URL=service.url, ALLOWED_HOSTS="127.0.0.1")["slack"].send(OPENING)
    assert len(service.requests) == 1


def test_a_private_authority_is_trusted_when_it_is_named(
    serve: NewService, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"WEBHOOK_SECRET": SECRET, "ALLOWED_HOSTS": "127.0.0.1", **WHOLE["email"], "SMTP_HOST": "127.0.0.1"}
    service = serve(tls=authority.server)
    with relay.running(authority.server) as mail:
        variables.update(WEBHOOK_URL=service.url, SMTP_PORT=str(mail.port))
        for name in ("webhook", "email"):
            with pytest.raises(ChannelError, match="certificate is not to be trusted"):
                read(**variables)[name].send(OPENING)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        # HTTP first: its library must leave nothing in the TLS of mail.
        for name in ("webhook", "email"):
            read(**variables)[name].send(OPENING)
        assert (len(service.requests), len(mail.deliveries)) == (1, 1)


def test_the_log_has_one_line_for_each_message(capsys: pytest.CaptureFixture[str]) -> None:
    for message in (OPENING, replace(HUGE, action=Action.SUMMARY), replace(OPENING, action=Action.RESOLVE)):
        Log().send(message)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["action"]) for line in lines] == [
        ("error", "open"),
        ("error", "summary"),
        ("info", "resolve"),
    ]
    assert lines[0]["key"] == OPENING.key
    assert lines[0]["event"] == "[CRITICAL] Run of bronze_to_gold failed"
    assert lines[0]["run_id"] == OPENING.alert.run_id


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from alert_assets.notify.channels.registry import channels; assert list(channels()) == ['log']; "
        "print([name for name in ('httpx', 'pandas', 'pyspark', 'dagster') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
