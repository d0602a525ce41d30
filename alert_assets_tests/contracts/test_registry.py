"""A contract before a registry on loopback that answers as Confluent's API says."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import jsonschema
import pytest

from alert_assets.contracts import ALL_CONTRACTS, EVENT
from alert_assets.contracts.registry import json_schema
from alert_assets_tests.commands.conftest import run, settings
from alert_assets_tests.notify.channels.service import Received, Reply, answer, running

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

__all__ = ["run", "settings"]

#: What the registry holds: a field that the event does not have is required in it.
HELD = json_schema(EVENT) | {"required": ["event_id", "tenant"]}


def registry(received: Received) -> Reply:
    """BACKWARD, as far as required fields go: what is required now has to have been required before."""
    if received.headers.get("Authorization") not in (None, "Basic " + base64.b64encode(b"ana:geheim").decode()):
        return answer(401, {"error_code": 40101, "message": "Unauthorized"})
    if "/event-value/" not in received.path:
        return answer(404, {"error_code": 40401, "message": "Subject not found"})
    if received.method == "GET":
        return answer(200, {"subject": "event-value", "version": 4, "schemaType": "JSON", "schema": json.dumps(HELD)})
    assert received.path == "/compatibility/subjects/event-value/versions/4"
    assert received.headers["Content-Type"] == "application/vnd.schemaregistry.v1+json"
    assert received.json["schemaType"] == "JSON"
    schema = json.loads(received.json["schema"])
    jsonschema.Draft7Validator.check_schema(schema)
    added = sorted(set(schema["required"]) - set(HELD["required"]))
    messages = [f"REQUIRED_ATTRIBUTE_ADDED: {name}" for name in added]
    return answer(200, {"is_compatible": not added, "messages": messages})


@pytest.mark.parametrize("name", ALL_CONTRACTS)
def test_every_contract_has_a_json_schema(name: str) -> None:
    jsonschema.Draft7Validator.check_schema(json_schema(ALL_CONTRACTS[name]))


def test_the_schema_of_the_event_judges_events() -> None:
    event = {"event_id": "1", "event_type": "log", "application_id": "shop", "timestamp": "2026-02-14T10:00:00Z"}
    judge = jsonschema.Draft7Validator(json_schema(EVENT))
    assert judge.is_valid({**event, "labels": {"a": "b"}, "host": None, "other": 1})
    assert not judge.is_valid({**event, "error_rate": "much"})
    assert not judge.is_valid({name: value for name, value in event.items() if name != "event_id"})


def test_a_break_is_what_the_registry_says(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(registry) as service:
        monkeypatch.setenv("ALERTS_SCHEMA_REGISTRY_URL", service.url.replace("://", "://ana:geheim@"))
        result = run("contracts", "diff", "registry:event-value")
        assert result.code == 1
        assert "event is not compatible with version 4 of event-value:" in result.out
        assert "REQUIRED_ATTRIBUTE_ADDED: application_id" in result.out
        found = run("contracts", "diff", "registry:event-value", "event", "--json").json
        assert (found["version"], found["is_compatible"]) == (4, False)
        fresh = run("contracts", "diff", "registry:other-value", "gold_incidents")
        assert (fresh.code, "no schema of other-value yet" in fresh.out) == (0, True)
        monkeypatch.setenv("ALERTS_SCHEMA_REGISTRY_URL", service.url.replace("://", "://ana:wrong@"))
        refused = run("contracts", "diff", "registry:event-value")
        assert refused.code == 2
        assert "refuses with 401" in refused.err
        assert "wrong" not in refused.err


def test_what_is_compatible(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HELD, "required", list(json_schema(EVENT)["required"]))
    with running(registry) as service:
        monkeypatch.setenv("ALERTS_SCHEMA_REGISTRY_URL", service.url)
        result = run("contracts", "diff", "registry:event-value")
        assert (result.code, result.out) == (0, "event is compatible with version 4 of event-value.\n")


def test_a_registry_that_is_none_and_one_that_is_not_set(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "needs ALERTS_SCHEMA_REGISTRY_URL" in run("contracts", "diff", "registry:event-value").err
    with running() as service:
        monkeypatch.setenv("ALERTS_SCHEMA_REGISTRY_URL", service.url)
        assert "answers as no schema registry does" in run("contracts", "diff", "registry:event-value").err
    assert "does not answer" in run("contracts", "diff", "registry:event-value").err
