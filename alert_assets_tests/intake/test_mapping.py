"""Mapping files: a sender in YAML; a wrong one is named by file, line, field and rule."""

from __future__ import annotations

import hmac
import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from alert_assets.intake.envelope import unmapped
from alert_assets.intake.json_lines import dump
from alert_assets.intake.mapping import MappingError, load_mappings
from alert_assets.intake.payload import mapped
from alert_assets.intake.remap import remap
from alert_assets.intake.senders.sender import Delivery, Unmapped
from alert_assets.settings import load_settings
from alert_assets_tests.intake.site import serving

UPTIME = """\
name: uptime
title: Uptime checks
events: checks
when: "state != 'paused'"
fields:
  event_type: {value: alert}
  application_id: service.name
  host: probe.host
  alert_type: {value: uptime}
  severity: {path: priority, values: {1: CRITICAL, 2: HIGH}, default: MEDIUM}
  status: {path: up, values: {true: resolved, false: firing}}
  timestamp: changed_at
  url: link
labels:
  region: probe.region
  team: {path: team, default: nobody}
identity: [id, changed_at]
example:
  checks:
    - {id: 7, service: {name: shop}, up: false, priority: 1, changed_at: 1771063500, link: "https://up.internal/7",
       probe: {host: web-1, region: eu}}
    - {id: 8, state: paused}
gives:
  - {event_type: alert, application_id: shop, host: web-1, alert_type: uptime, severity: CRITICAL, status: firing,
     timestamp: "2026-02-14T10:05:00Z", url: "https://up.internal/7", labels: {region: eu, team: nobody}}
"""
SETTINGS = load_settings(_env_file=None)
NOW = datetime(2026, 2, 14, 10, 7, 12, tzinfo=UTC)


def mapping_in(folder, text=UPTIME, name="uptime"):
    (folder / f"{name}.yaml").write_text(text)
    return load_mappings(str(folder))[name]


def remapped(line, senders, settings):
    lines = remap(line, senders, settings)
    assert lines is not None
    return lines


def test_the_example_gives_its_events(tmp_path):
    assert mapping_in(tmp_path).wrong_events() is None


def test_an_example_that_gives_something_else_is_said(tmp_path):
    mapping = mapping_in(tmp_path, UPTIME.replace("status: firing,", "status: resolved,"))
    assert '"status": "firing"' in mapping.wrong_events()


def test_identity_is_what_it_says(tmp_path):
    mapping = mapping_in(tmp_path)
    [first] = mapping.to_events(Delivery(mapping.example, {}, NOW))
    check = mapping.example["checks"][0]
    [again] = mapping.to_events(Delivery({"checks": [{**check, "priority": 2}]}, {}, NOW))
    [later] = mapping.to_events(Delivery({"checks": [{**check, "changed_at": 1771063600}]}, {}, NOW))
    assert first["event_id"] == again["event_id"] != later["event_id"]


def test_an_item_without_what_every_event_has_is_kept_beside_the_others(tmp_path):
    mapping = mapping_in(tmp_path)
    check = mapping.example["checks"][0]
    good, bad = mapping.to_events(Delivery({"checks": [check, {"id": 9, "changed_at": 1771063600}]}, {}, NOW))
    assert good["application_id"] == "shop"
    assert isinstance(bad, Unmapped)
    assert "application_id is missing" in bad.because


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("events: checks", "events: 'checks['", "uptime.yaml:3: events is 'checks[': a JMESPath expression"),
        ("  host: probe.host", "  hostname: probe.host", "uptime.yaml:8: fields.hostname is 'probe.host': a field of"),
        ("  application_id: service.name\n", "", "application_id is missing"),
        ("name: uptime", "name: grafana", "uptime.yaml:1: name is 'grafana': another name"),
        ("name: uptime", "name: ../x", "uptime.yaml:1: name is '../x'"),
        ("title: Uptime checks", "tile: Uptime checks", "uptime.yaml:2: tile"),
        ("  region: probe.region", "  region: {paht: region}", "uptime.yaml:15: labels.region.paht"),
        ("title: Uptime checks", "name: again", "name is there twice"),
        (
            "  host: probe.host",
            "  host: probe..host",
            "uptime.yaml:8: fields.host is 'probe..host': a JMESPath expression",
        ),
        (
            "  host: probe.host",
            "  host: 7",
            "uptime.yaml:8: fields.host is 7: a JMESPath expression, or an object with",
        ),
        (
            "  host: probe.host",
            "  host: {paht: a}",
            "uptime.yaml:8: fields.host.paht is 'a': there is no such field here",
        ),
        ("name: uptime", "name: [", "this is no YAML"),
    ],
)
def test_a_wrong_file_is_named_by_line_and_rule(tmp_path, old, new, said):
    assert old in UPTIME
    with pytest.raises(MappingError) as refusal:
        mapping_in(tmp_path, UPTIME.replace(old, new, 1))
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n", "uptime.yaml:1: the document: names with values, as an object"),
        ("name: up\nfields: []\n", "uptime.yaml:2: fields is []: names with values, as an object"),
        ("name: Up!\nfields: {}\n", "uptime.yaml:1: name is 'Up!': begins with a letter; a-z, 0-9, - and _"),
        ("title: x\n", "uptime.yaml:1: name: has to be given"),
    ],
)
def test_what_is_no_mapping_is_said_in_our_words(tmp_path, text, said):
    with pytest.raises(MappingError) as refusal:
        mapping_in(tmp_path, text)
    assert said in str(refusal.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MappingError, match="is no folder"):
        load_mappings(str(tmp_path / "none"))


def test_a_mapping_serves_and_what_it_cannot_map_comes_back_once_it_is_mended(tmp_path):
    folder = tmp_path / "senders"
    folder.mkdir()
    mapping = mapping_in(folder, UPTIME + "signature: {header: X-Uptime, prefix: 'sha256='}\n")
    variables = {"ALERTS_SENDERS_DIR": str(folder), "ALERTS_INTAKE_SECRETS": "uptime=hush-hush-hush"}
    good = json.dumps(mapping.example).encode()
    # Renamed by its maker: the mapping does not know it yet.
    renamed = json.dumps({"checks": [{**mapping.example["checks"][0], "id": 9, "service": {"title": "shop"}}]}).encode()
    with serving(tmp_path / "data", **variables) as site:
        for body in (good, renamed):
            signature = hmac.new(b"hush-hush-hush", body, sha256).hexdigest()
            answer = httpx.post(f"{site.url}/intake/uptime", content=body, headers={"X-Uptime": f"sha256={signature}"})
            assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
            assert httpx.post(f"{site.url}/intake/uptime", content=body).status_code == 403
    event, kept = site.landed
    assert event["application_id"] == "shop"
    assert (kept["_unmapped"], json.loads(kept["raw"])["checks"][0]["service"]) == ("uptime", {"title": "shop"})
    line = json.dumps(kept)
    assert remap(line, {"uptime": mapping.sender()}, SETTINGS) is None
    mended = mapping_in(folder, UPTIME.replace("service.name", "service.name || service.title"))
    [again] = remapped(line, {"uptime": mended.sender()}, SETTINGS)
    assert json.loads(again) == {**event, "event_id": json.loads(again)["event_id"]} != event


def test_what_landed_beside_it_is_not_mapped_twice(tmp_path):
    check = mapping_in(tmp_path).example["checks"][0]
    body = json.dumps({"checks": [check, {**check, "id": 9, "service": {"title": "shop"}}]}).encode()
    event, kept = mapped(mapping_in(tmp_path).sender(), body, {}, NOW, SETTINGS)
    assert json.loads(kept)["because"].startswith("1 of 2 parts: application_id is missing")
    mended = mapping_in(tmp_path, UPTIME.replace("service.name", "service.name || service.title"))
    [again] = remapped(kept.decode(), {"uptime": mended.sender()}, SETTINGS)
    assert json.loads(again)["event_id"] != json.loads(event)["event_id"]


def test_otlp_is_tried_again_too():
    request = b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]}'
    kept = dump(unmapped("otlp", request, "a bug", NOW, {"x-otlp-signal": "logs"})).decode()
    [line] = remapped(kept, {}, SETTINGS)
    assert (json.loads(line)["message"], json.loads(line)["timestamp"]) == ("x", "2026-02-14T10:07:12Z")


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"_unmapped": "x"}', '{"_unmapped": 7, "headers": {}, "raw": ""}'])
def test_other_lines_are_no_envelope(line):
    assert remap(line, {}, SETTINGS) is None


def test_the_example_of_the_documents_gives_its_events(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "connect.md").read_text("utf-8")
    [example] = re.findall(r"```yaml\n(name: uptime.*?)```", text, re.DOTALL)
    assert mapping_in(tmp_path, example).wrong_events() is None
