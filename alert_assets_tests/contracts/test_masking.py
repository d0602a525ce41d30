"""What leaves the lake: no secret, no whole address, and everything that on-call needs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from alert_assets.contracts import ALL_CONTRACTS, BRONZE_QUARANTINE, EVENT, SILVER_ALERTS
from alert_assets.contracts.diff import diff
from alert_assets.contracts.masking import SECRET, mask, masked, masked_labels, without_secrets
from alert_assets.contracts.odcs import to_odcs
from alert_assets.contracts.odcs_file import Document, of_contract
from alert_assets.contracts.vocabulary import FREE_TEXT, MASKINGS

# Put together here, so that no scanner takes this file for a leak.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
SLACK = "xoxb-" + "123456789012-abcdefABCDEF"
OPENAI = "sk-" + "proj-abcdefghijklmnop1234"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMIIEow+/IBAAKCAQ==\n-----END RSA PRIVATE KEY-----"
SECRETS = (AWS, GITHUB, JWT, SLACK, OPENAI)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("login of ana.b+x@mail.example.com failed", "login of a***@mail.example.com failed"),
        ("<ana@example.com>, b@x.org.", "<a***@example.com>, b***@x.org."),
        ("/u?mail=ana%40example.com&x=1", "/u?mail=a***%40example.com&x=1"),
        ("Zoë@exämple.com", "Z***@exämple.com"),
        ("from 10.1.2.3:8080, 192.168.0.7/24 and 8.8.8.8.", "from 10.1.x.x:8080, 192.168.x.x/24 and 8.8.x.x."),
        ("[2001:db8:1:2::7]:443 fe80::1%eth0", "[2001:db8::x]:443 fe80::x%eth0"),
        ("addr:2001:DB8:0:1:2:3:4:5: refused", "addr:2001:db8::x: refused"),
        ("::ffff:10.1.2.3", "::ffff:10.1.x.x"),
    ],
)
def test_addresses_keep_what_says_whose_they_are(text: str, left: str) -> None:
    assert masked(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET /x Authorization: Basic dXNlcjpwYXNz from web", f"GET /x Authorization: {SECRET} from web"),
        ('curl -H "authorization: Bearer abc.def" https://x', f'curl -H "authorization: {SECRET}" https://x'),
        ('{"Authorization": "Token 12345", "a": 1}', f'{{"Authorization": "{SECRET}", "a": 1}}'),
        ('Authorization: Digest username="ann", response="6629" end', f"Authorization: {SECRET} end"),
        ("sent bearer s3cr3t-t0ken again", f"sent bearer {SECRET} again"),
        ("password=hunter2 user=ann", f"password={SECRET} user=ann"),
        ("DB_PASSWORD: 'two words' next", f"DB_PASSWORD: '{SECRET}' next"),
        ('{"api_key": "k\\"1", "user": "ann"}', f'{{"api_key": "{SECRET}", "user": "ann"}}'),
        (
            r'{"raw": "{\"client_secret\": \"abc def\", \"n\": 1}"}',
            rf'{{"raw": "{{\"client_secret\": \"{SECRET}\", \"n\": 1}}"}}',
        ),
        ("https://x/cb?token=abc&user=1", f"https://x/cb?token={SECRET}&user=1"),
        ("AccountKey=a/b+c==;EndpointSuffix=x", f"AccountKey={SECRET};EndpointSuffix=x"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7", f"aws_secret_access_key = {SECRET}"),
        ("X-Api-Key: 0123", f"X-Api-Key: {SECRET}"),
        ("https://b/x?sv=1&sig=a%2Fb%3D", f"https://b/x?sv=1&sig={SECRET}"),
        ("https://hooks.slack.com/services/T0/B0/xyz", f"https://hooks.slack.com/services/{SECRET}"),
        ("https://ann:pa@ss@db.example.com:5432/x", "https://ann:***@db.example.com:5432/x"),
        ("postgresql://ann:p/w#1@db/x", "postgresql://ann:***@db/x"),
        ("redis://:p@cache:6379", "redis://:***@cache:6379"),
        (f"key:\n{PEM}\nend", f"key:\n{SECRET}\nend"),
    ],
)
def test_secrets_go_and_the_rest_stays(text: str, left: str) -> None:
    assert masked(text) == without_secrets(text) == left


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "key {} used", "'{}',", "a/{}/b", "({})."])
def test_keys_go_by_their_shape(secret: str, around: str) -> None:
    assert masked(around.format(secret)) == around.format(SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cpu_high on payments-api: 92.30 where 80.00 is allowed, v2.3.1, 10:05:00, 2026-02-14T10:05:00Z",
        "std::bad_alloc in Foo::Bar, MAC 00:1b:44:11:3a:b7, listening on [::]:80 and ::1",
        "react@18.2.0, @channel, user@host, OID 1.3.6.1.4.1.311, 300.1.2.3",
        "http://grafana:3000/d/abc@1 and https://x.example/a:b@c",
        "12 TimeoutException; prompt_tokens=5; token expired; secret not found; bearer token missing",
        "web-1.eu.example.com ip-10-1-2-3.ec2.internal risk-assessment-of-the-year-2026",
    ],
)
def test_what_on_call_needs_is_as_it_was(text: str) -> None:
    assert masked(text) == text


def test_a_url_without_its_password_is_still_one() -> None:
    url = urlsplit(without_secrets("https://ann:secret@grafana.example.com:3000/d/1?token=abc"))
    assert (url.hostname, url.port, url.username, url.password) == ("grafana.example.com", 3000, "ann", "***")


#: Whatever the patterns look for, whole and in halves, and what separates it.
PIECES = st.sampled_from(
    [
        *("password", "=", ":", "://", "@", "%40", ".", "::", "/", "\\", '"', "'", "&", ";", ",", "-", "*", "x"),
        *(" ", "\n", "authorization", "bearer ", "token", "Basic ", "eyJ", "sk-", "AKIA", "10.1.2.3", "10.1", "1"),
        *("2001:db8::1", "fe80", "ann@example.com", "https://u:p@h", SECRET, "***", "-----BEGIN PRIVATE KEY-----"),
        *("sig=", "?", "ann", *SECRETS, PEM),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=14).map("".join), st.text())


@given(TEXTS)
@example("password='a'b'")
@example("https://u:[secret]@h")
@example("://:a/u:p@h@")
@example("https://u:p@htoken://-'sig=ann@")
def test_masking_twice_is_masking_once(text: str) -> None:
    once = masked(text)
    assert masked(once) == once
    assert without_secrets(once) == once


@given(TEXTS, st.sampled_from(SECRETS), TEXTS)
def test_no_key_survives_whatever_stands_around_it(before: str, secret: str, after: str) -> None:
    # One that is glued to a word has not its shape.
    assume(secret not in before + after)
    assert secret not in masked(f"{before} {secret} {after}")


@given(TEXTS, TEXTS)
def test_no_password_survives_whatever_stands_around_it(before: str, after: str) -> None:
    text = masked(f"{before} password=hunter2 https://ann:hunter3@db.example.com {after}")
    assert "hunter2" not in text
    assert "hunter3" not in text


@given(TEXTS, st.ip_addresses(v=4), TEXTS)
def test_no_address_survives_between_blanks(before: str, address: object, after: str) -> None:
    left = masked(f"{before} {address} zoe@example.org {after}")
    assert f" {address} " not in left
    assert "zoe@" not in left


#: Texts that make a pattern which tries again look at the same characters for each of them.
HOSTILE = [
    *("a", "a.", "a@", "a@a.", "%40", "1", "1.", "1:", ":", "::", "a:", "f", "/", "://", "://a:", "://a:b", "://a:b@"),
    *("eyJ", "eyJa.", "eyJaaaaaaa", "sk-", "xoxb-", "-", "-----BEGIN PRIVATE KEY-----", '"', "'", "\\", '\\"', "\\'"),
    *("password", "password=", "password='", 'password="', 'password=\\"', "password= ", "token:", "authorization:"),
    *("authorization: a ", "authorization: a, ", "authorization", "bearer ", "bearer", "?sig=", " ", "\n", "a,", "x-"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HOSTILE)
def test_no_text_makes_a_pattern_try_again_and_again(piece: str) -> None:
    """Quadratic work on it would be some 10^10 steps, which take minutes."""
    assert AWS not in masked(piece * (250_000 // len(piece)) + f" {AWS}")


@pytest.mark.timeout(120)
def test_a_megabyte_of_everything_at_once() -> None:
    text = "".join(piece * 2_000 for piece in HOSTILE)
    assert AWS not in masked(text * (1_000_000 // len(text) + 1) + f" {AWS}")


def test_labels_that_are_called_like_a_secret_have_no_value() -> None:
    labels = {"db_password": "hunter2", "Api-Key": "x", "team": "core", "instance": "10.1.2.3:9100", "host": "10.1.2.9"}
    assert masked_labels(labels, names={"10.1.2.9"}) == {
        "db_password": SECRET,
        "Api-Key": SECRET,
        "team": "core",
        "instance": "10.1.x.x:9100",
        "host": "10.1.2.9",
    }


def test_a_value_is_masked_as_its_contract_says() -> None:
    value = "ann@example.com from 10.1.2.3 with password=x"
    assert mask({"masking": "email"}, value) == f"a***@example.com from 10.1.2.3 with password={SECRET}"
    assert mask({"masking": ("ip",)}, value) == f"ann@example.com from 10.1.x.x with password={SECRET}"
    assert mask({}, value) == f"ann@example.com from 10.1.2.3 with password={SECRET}"
    assert re.fullmatch(r"sha256:[0-9a-f]{12}", mask({"masking": "hash"}, value))
    assert mask({"masking": "hash"}, b"\xff") == mask({"masking": ("hash",)}, b"\xff") != mask({"masking": "hash"}, b"")
    assert mask({"masking": "email"}, {"token": "x", "who": ["ann@example.com", 1, None]}) == {
        "token": SECRET,
        "who": ["a***@example.com", 1, None],
    }
    assert (mask({"masking": "hash"}, None), mask({"masking": "ip"}, 3)) == (None, 3)


def test_contracts_say_how_columns_with_free_text_leave() -> None:
    for contract, columns in {
        EVENT: ("message", "labels"),
        SILVER_ALERTS: ("message", "labels"),
        BRONZE_QUARANTINE: ("raw",),
    }.items():
        for name in columns:
            assert contract.columns[name].metadata["masking"] == list(FREE_TEXT), (contract.name, name)
    assert SILVER_ALERTS.columns["url"].metadata["masking"] == ["secret"]
    assert "masking" not in SILVER_ALERTS.columns["host"].metadata


def test_an_export_names_it_and_a_change_of_it_breaks_nobody() -> None:
    document = to_odcs(EVENT)
    message = next(column for column in document["schema"][0]["properties"] if column["name"] == "message")
    assert message.pop("customProperties") == [{"property": "masking", "value": list(FREE_TEXT)}]
    without, with_it = Document.model_validate(document), of_contract(EVENT)
    for before, after in ((without, with_it), (with_it, without)):
        (change,) = diff(before, after).changes
        assert (change.column, change.what, change.is_breaking) == ("message", "masking", False)


def test_every_masking_is_one_that_is_known_and_of_a_column_with_personal_data() -> None:
    for contract in ALL_CONTRACTS.values():
        for name, column in contract.columns.items():
            assert set(column.metadata.get("masking", ())) <= set(MASKINGS), (contract.name, name)
            assert column.metadata.get("pii") or "masking" not in column.metadata, (contract.name, name)
