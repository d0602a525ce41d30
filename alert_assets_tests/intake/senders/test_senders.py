"""Each sender's example gives the events beside it; what is none of its payloads is kept whole."""

from __future__ import annotations

import base64
import hmac
import json
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any

import pytest

from alert_assets.contracts import EVENT
from alert_assets.contracts.vocabulary import EVENT_TYPES, SEVERITIES, STATUSES
from alert_assets.ingest.contract_judge import contract_judge
from alert_assets.ingest.judge import Limits
from alert_assets.intake.auth import RefusedError
from alert_assets.intake.json_lines import dump
from alert_assets.intake.payload import mapped
from alert_assets.intake.senders import fields
from alert_assets.intake.senders.registry import SENDERS
from alert_assets.intake.senders.sender import Delivery, Unmapped
from alert_assets.settings import load_settings

SETTINGS = load_settings(_env_file=None)
NOW = datetime(2026, 2, 14, 10, 7, 12, tzinfo=UTC)

FIELDS = set(EVENT.columns)


def cases():
    return [pytest.param(name, case, id=f"{name}: {case['case']}") for name in SENDERS for case in examples(name)]


@cache
def examples(name):
    return json.loads((resources.files("alert_assets.intake.senders") / f"{name}.json").read_text("utf-8"))


def events_of(name, case, received_at=None) -> Any:
    when = received_at or datetime.fromisoformat(case["received_at"])
    return list(SENDERS[name].to_events(Delivery(case["payload"], case["headers"], when, timedelta(minutes=5))))


@pytest.mark.parametrize(("name", "case"), cases())
def test_an_example_gives_its_events(name, case):
    assert events_of(name, case) == case["events"]


@pytest.mark.parametrize(("name", "case"), cases())
def test_events_keep_the_contract(name, case):
    for event in events_of(name, case):
        assert set(event) <= FIELDS
        assert event["event_type"] in EVENT_TYPES
        required = [
            field
            for field, column in EVENT.columns.items()
            if {"*", event["event_type"]} & set(column.metadata.get("required_for", ()))
        ]
        assert all(isinstance(event[field], str) and event[field].strip() for field in required)
        assert event.get("severity", "INFO") in SEVERITIES
        assert event.get("status", "firing") in STATUSES
        assert datetime.fromisoformat(event["timestamp"]) <= datetime.fromisoformat(case["received_at"]) + timedelta(
            minutes=5
        )
        assert all(isinstance(value, str) for value in event.get("labels", {}).values())
        assert dump(event).count(b"\n") == 1


@pytest.mark.parametrize(("name", "case"), cases())
def test_the_judge_takes_them_as_they_are(name, case):
    judge = contract_judge(Limits.of(SETTINGS))
    at = int(datetime.fromisoformat(case["received_at"]).timestamp() * 1e6)
    for event in events_of(name, case):
        verdict = judge.verdict(dump(event).rstrip(b"\n"), at)
        assert (verdict.reasons, verdict.adapted, verdict.rescued) == ([], None, None)


@pytest.mark.parametrize(("name", "case"), cases())
def test_the_same_delivery_twice_is_the_same_event(name, case):
    again = datetime.fromisoformat(case["received_at"]) + timedelta(seconds=20)
    assert [(event["event_id"], event["timestamp"]) for event in events_of(name, case, again)] == [
        (event["event_id"], event["timestamp"]) for event in events_of(name, case)
    ]


@pytest.mark.parametrize("name", SENDERS)
def test_ids_are_of_one_event_each(name):
    found = [event for case in examples(name) for event in case["events"]]
    assert len({(event["event_id"], event["timestamp"]) for event in found}) == len(found)


def test_a_later_repeat_is_a_new_sign_of_life_and_never_before_a_resolution():
    firing, repeated, resolved = (case["events"][0] for case in examples("alertmanager"))
    assert firing["timestamp"] < resolved["timestamp"] < repeated["timestamp"]
    assert len({firing["event_id"], repeated["event_id"], resolved["event_id"]}) == 3
    # Sent again just after the window began, and resolved by a clock that is behind: it is over.
    alert = examples("alertmanager")[0]["payload"]["alerts"][0]
    late = {"alerts": [alert]}
    over = {"alerts": [{**alert, "status": "resolved", "endsAt": "2026-02-14T10:09:58Z"}]}
    at = datetime(2026, 2, 14, 10, 10, 2, tzinfo=UTC)
    still: Any
    ended: Any
    [still], [ended] = (list(SENDERS["alertmanager"].to_events(Delivery(each, {}, at))) for each in (late, over))
    assert still["timestamp"] <= ended["timestamp"]


def test_one_alert_that_cannot_be_mapped_takes_no_other_with_it():
    good: Any
    payload = examples("alertmanager")[0]["payload"]
    broken = {**payload, "alerts": [{"labels": {}}, payload["alerts"][0], "?"]}
    first, good, last = SENDERS["alertmanager"].to_events(Delivery(broken, {}, NOW))
    assert isinstance(first, Unmapped)
    assert isinstance(last, Unmapped)
    assert good["alert_type"] == "HighErrorRate"


@pytest.mark.parametrize(
    ("instance", "host"),
    [
        ("10.0.3.7:9100", "10.0.3.7"),
        ("web-1", "web-1"),
        ("[fe80::1]:9100", "fe80::1"),
        ("fe80::1", "fe80::1"),
        ("https://shop.example/health", "shop.example"),
        ("", None),
    ],
)
def test_hosts_have_no_port(instance, host):
    assert fields.without_port(instance) == host


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2026-02-14T10:05:00.123456789Z", datetime(2026, 2, 14, 10, 5, 0, 123456, UTC)),
        ("2026-02-14T12:05:00+0200", datetime(2026, 2, 14, 10, 5, tzinfo=UTC)),
        ("2026-02-14 10:05:00", datetime(2026, 2, 14, 10, 5, tzinfo=UTC)),
        (1771063500, datetime(2026, 2, 14, 10, 5, tzinfo=UTC)),
        ("1771063500000", datetime(2026, 2, 14, 10, 5, tzinfo=UTC)),
        (1771063500000000000, datetime(2026, 2, 14, 10, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("soon", None),
        (None, None),
        ({}, None),
    ],
)
def test_times_as_they_come(value, found):
    assert fields.moment(value) == found


@pytest.mark.parametrize(
    ("said", "severity"),
    [("warning", "MEDIUM"), ("page", "CRITICAL"), ("P2", "HIGH"), ("weird", "MEDIUM"), (None, "MEDIUM")],
)
def test_severities_that_are_not_known_are_medium(said, severity):
    assert fields.severity(said) == severity


# Signatures

BODY = b'{"alerts": []}'
SECRETS = ("the-old-secret", "the-new-secret")


def _hex(secret, *parts):
    return hmac.new(secret.encode(), b"".join(parts), sha256).hexdigest()


def _stamp(moment):
    return str(int(moment.timestamp()))


SIGNED = {
    "github": lambda secret: {"x-hub-signature-256": f"sha256={_hex(secret, BODY)}"},
    "pagerduty": lambda secret: {"x-pagerduty-signature": f"v1=00ff,v1={_hex(secret, BODY)}"},
    "sentry": lambda secret: {"sentry-hook-signature": _hex(secret, BODY)},
    "flux": lambda secret: {"x-signature": f"sha256={_hex(secret, BODY)}"},
    "grafana": lambda secret: {
        "x-grafana-alerting-signature": _hex(secret, f"{_stamp(NOW)}:".encode(), BODY),
        "x-grafana-alerting-timestamp": _stamp(NOW),
    },
}


def verify(name, *request):
    check = SENDERS[name].verify
    assert check
    check(*request)


def test_everyone_who_signs_is_tested():
    assert {name for name, sender in SENDERS.items() if sender.verify} == set(SIGNED)


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_signature_by_any_of_the_secrets_is_good(name, secret):
    verify(name, BODY, SIGNED[name](secret), SECRETS, NOW)


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("wrong", ["missing", "secret", "body", "garbage"])
def test_a_wrong_signature_is_refused_and_not_repeated(name, wrong):
    headers = SIGNED[name]("another-secret" if wrong == "secret" else SECRETS[0])
    if wrong == "missing":
        headers = {}
    if wrong == "garbage":
        headers = dict.fromkeys(headers, "\udcff")
    body = BODY + b" " if wrong == "body" else BODY
    with pytest.raises(RefusedError) as refusal:
        verify(name, body, headers, SECRETS, NOW)
    assert refusal.value.status == 403
    assert "secret" not in str(refusal.value)


def test_a_signature_that_is_replayed_later_is_refused():
    with pytest.raises(RefusedError, match="five minutes"):
        verify("grafana", BODY, SIGNED["grafana"](SECRETS[0]), SECRETS, NOW + timedelta(minutes=6))


# What is none of its payloads

_ANYTHING: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    float("nan"),
    10**30,
    "",
    " ",
    "\x00\u202e",
    "$HOSTNAME",
    [],
    {},
    [[]],
    {"a": None},
    [1],
)


def _mutated(rng, value):
    """The value with some of its parts replaced by anything, and some left out."""
    if rng.random() < 0.06:
        return rng.choice(_ANYTHING)
    if isinstance(value, dict):
        return {name: _mutated(rng, each) for name, each in value.items() if rng.random() > 0.04}
    if isinstance(value, list):
        return [_mutated(rng, each) for each in value]
    return value


@pytest.mark.parametrize("name", SENDERS)
def test_anything_becomes_events_or_is_kept_whole(name):
    rng = random.Random(13)
    found = set()
    for _ in range(1_000):
        case = rng.choice(examples(name))
        body = json.dumps(_mutated(rng, case["payload"])).encode()
        for line in mapped(SENDERS[name], body, case["headers"], NOW, SETTINGS):
            assert line.endswith(b"\n")
            assert line.count(b"\n") == 1
            event = json.loads(line)
            found.add("_unmapped" in event)
            if "_unmapped" in event:
                assert event["_unmapped"] == name
                assert event["raw"]
            elif event.get("source") == name:  # a CloudEvent may hold an event of ours, which the judge looks at
                assert event["event_type"] in EVENT_TYPES
                assert event["application_id"].strip()
                assert event["timestamp"]
    assert found == {True, False}


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize("body", [b"no json", b"[" * 100_000, b'{"a": \xff}', b"null", b'"x"', b"1" * 10_000])
def test_what_is_no_payload_is_kept_whole(name, body):
    [line] = mapped(SENDERS[name], body, {}, NOW, SETTINGS)
    kept = json.loads(line)
    assert kept["_unmapped"] == name
    assert (base64.b64decode(kept["raw_base64"]) if "raw_base64" in kept else kept["raw"].encode()) == body
