"""`alert-assets senders`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from alert_assets.cli import main
from alert_assets.intake.activity import Activity
from alert_assets.intake.senders.registry import SENDERS
from alert_assets_tests.intake.senders.test_senders import examples


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALERTS_DATA_DIR", str(tmp_path / "data"))

    def command(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["senders", *arguments])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return command


def test_who_spoke_comes_first_and_who_is_silent_is_exit_1(run, monkeypatch, tmp_path):
    activity = Activity(tmp_path / "data" / "state", 8080)
    activity.record("github", 3, 1, None, datetime.now(UTC) - timedelta(hours=2))
    activity.save()
    code, out, _ = run("list", "--json")
    first = json.loads(out)["senders"][0]
    assert (code, first["name"], first["requests"], first["lines"], first["unmapped"]) == (0, "github", 1, 3, 1)
    monkeypatch.setenv("ALERTS_HEARTBEATS", "github=1h")
    code, out, _ = run()
    assert code == 1
    assert "(silent)" in out


@pytest.mark.parametrize("name", [*SENDERS, "events", "otlp"])
def test_how_to_configure_the_other_side(run, name):
    code, out, _ = run("show", name)
    assert code == 0
    assert "{url}" not in out
    assert "{token}" not in out
    assert "http://127.0.0.1:8080" in out


@pytest.mark.parametrize("name", ["alertmanager", "grafana", "argocd", "kubernetes"])
def test_yaml_to_paste_is_yaml(run, name):
    assert yaml.safe_load(run("show", name)[1])


def test_a_payload_is_tried_and_lands_nowhere(run, tmp_path):
    [case, *_] = examples("github")
    (tmp_path / "payload.json").write_text(json.dumps(case["payload"]))
    code, out, _ = run("try", "github", "payload.json", "--header", "X-GitHub-Event: deployment_status")
    assert (code, json.loads(out)) == (0, case["events"][0])
    (tmp_path / "payload.json").write_text("{}")
    code, out, _ = run("try", "github", "payload.json")
    assert (code, json.loads(out)["_unmapped"]) == (1, "github")
    assert not (tmp_path / "data" / "landing").exists()


def test_what_landing_will_refuse_is_said(run, tmp_path):
    (tmp_path / "lines.jsonl").write_text(
        '{"event_id": "a", "event_type": "log", "application_id": "a", "timestamp": "2026-02-14T10:05:00Z", '
        '"log_level": "INFO"}\n{"event_id": "b", "event_type": "alrt"}\n{"event_id"\n'
    )
    code, out, err = run("try", "events", "lines.jsonl")
    assert (code, len(out.splitlines())) == (1, 3)
    assert err.splitlines() == [
        "Line 2 goes to quarantine: invalid:event_type, missing:application_id, missing:timestamp",
        "Line 3 goes to quarantine: malformed_json",
    ]


def test_a_sender_that_is_not_there(run, tmp_path):
    code, _, err = run("show", "nagios")
    assert code == 2
    assert "choose from" in err
    (tmp_path / "payload.json").write_text("{}")
    code, _, err = run("try", "otlp", "payload.json")
    assert code == 2
    assert err.rstrip().endswith("cloudevents, events.")


@pytest.mark.parametrize("file", [".", "none.json"])
def test_a_payload_that_is_no_file(run, file):
    code, _, err = run("try", "github", file)
    assert code == 2
    assert "Errno" not in err
    assert file in err


def test_examples_are_checked(run, monkeypatch, tmp_path):
    assert run("check")[0] == 0
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.yaml").write_text(
        "{name: mine, fields: {event_type: {value: log}, application_id: a}, example: {a: x}, gives: []}"
    )
    monkeypatch.setenv("ALERTS_SENDERS_DIR", str(tmp_path / "s"))
    code, out, _ = run("check")
    assert code == 1
    assert "mine: the example gives 1 events, not 0" in out
    (tmp_path / "s" / "a.yaml").write_text(
        "{name: mine, fields: {event_type: {value: alrt}, application_id: a}, example: {a: x}, "
        "gives: [{event_type: alrt, application_id: x}]}"
    )
    code, out, _ = run("check")
    assert code == 1
    assert "mine: event 1 goes to quarantine: invalid:event_type" in out
    (tmp_path / "s" / "a.yaml").write_text("{name: mine")
    code, _, err = run("check")
    assert code == 1
    assert "a.yaml:1" in err
