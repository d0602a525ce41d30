"""Each alert that the product raises of itself has a runbook, whose commands are there, and links to it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module

import pytest
import typer

from alert_assets import cli
from alert_assets.intake.heartbeats import ALERT_TYPE
from alert_assets.notify.alert import KINDS, Alert
from alert_assets.notify.links import with_links
from alert_assets.notify.runbooks import FOLDER, LANDED, runbooks
from alert_assets.settings import Settings

NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)
ALERT = Alert("run_failure", "run/medallion", "HIGH", "failed", NOON, NOON)


def test_every_alert_of_our_own_has_a_runbook_and_none_is_left_over() -> None:
    assert ALERT_TYPE in LANDED
    assert set(runbooks()) == {*KINDS, *LANDED} - {"incident"}


@pytest.mark.parametrize("name", runbooks())
def test_a_runbook_says_what_it_means_what_to_do_and_when_it_is_over(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    assert re.findall(r"^#+ (.*)$", text, re.M)[1:] == ["What it means", "What to do", "When it is over"]
    assert re.search(r"^1\. ", text, re.M)


@pytest.mark.parametrize("name", runbooks())
def test_the_commands_and_settings_of_a_runbook_are_there(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    commands = re.findall(r"`alert-assets ([^`]+)`", text)
    assert commands
    for line in commands:
        first, *rest = line.split()
        command = typer.main.get_command(import_module(f"alert_assets.commands.{first}").app)
        parts = getattr(command, "commands", {})
        if rest and rest[0].isalpha() and rest[0].islower() and parts:
            assert rest[0] in parts, line
            command = parts[rest[0]]
        options = {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r" (--[a-z-]+)", line)) <= options, line
        assert first in cli.COMMANDS
    for variable in re.findall(r"ALERTS_(\w+)", text):
        served = {"HEARTBEATS", "WEB_TOKENS"}  # of `serve`
        assert variable in served or any(field.startswith(variable.lower()) for field in Settings.model_fields)


def test_an_alert_links_to_its_runbook_unless_another_is_named() -> None:
    assert with_links(ALERT, "", "https://alerts.example").runbook_url == "https://alerts.example/runbooks/run_failure"
    assert with_links(ALERT, "", "", "https://wiki/rb/").runbook_url == "https://wiki/rb/run_failure"
    assert with_links(ALERT, "").runbook_url is None
    own = replace(ALERT, runbook_url="https://mine")
    assert with_links(own, "", "https://alerts.example").runbook_url == "https://mine"


def test_somebody_elses_incident_has_none_of_ours() -> None:
    incident = replace(ALERT, kind="incident", alert_type="sender_silent", application="shop")
    assert with_links(incident, "", "https://alerts.example").runbook_url is None
    silent = replace(incident, application="alert_assets")
    assert with_links(silent, "", "https://a").runbook_url == "https://a/runbooks/sender_silent"
