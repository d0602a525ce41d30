"""Who sees the pages and may act: this machine, who has a token, whom a proxy names; and forms that are not ours."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from alert_assets.settings import SettingsError
from alert_assets.web.access import COOKIE
from alert_assets.web.settings import load_web_settings
from alert_assets_tests.web.lake import notify, problem, put
from alert_assets_tests.web.test_problems import episodes, token

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from alert_assets.settings import Settings
    from alert_assets_tests.web.conftest import Open

TOKENS = "maria=correct-horse,maria=battery-staple,jo=a-third-token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PATHS = ["/", "/problems/0123456789abcdef", "/tables", "/quality", "/slos", "/breakers", "/quarantine", "/senders",
         "/deliveries"]  # fmt: skip


def sign_in(client: TestClient, presented: str = "correct-horse", to: str = "/") -> int:
    return client.post("/sign-in", data={"token": presented, "next": to}).status_code


@pytest.mark.parametrize("path", [*PATHS, "/sign-in", "/static/app.js", "/static/none"])
def test_every_answer_has_the_policy(client: TestClient, path: str) -> None:
    assert client.get(path).headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "evil.example:8080", "", "10.0.0.1"])
def test_on_loopback_a_foreign_name_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 400
    assert "localhost or 127.0.0.1" in answer.text
    assert client.get("/live", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:9", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3"])
def test_on_loopback_this_machine_needs_no_sign_in(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_from_elsewhere_nobody_sees_anything_unless_a_setting_says_who(open_pages: Open, path: str) -> None:
    answer = open_pages(host="0.0.0.0").get(path)
    assert answer.status_code == 403
    assert "ALERTS_WEB_TOKENS" in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_without_a_session_there_is_a_form(open_pages: Open, path: str) -> None:
    client = open_pages(host="0.0.0.0", web_tokens=TOKENS)
    answer = client.get(path)
    assert answer.status_code == 401
    assert f'name="next" value="{path}"' in answer.text


def test_a_token_signs_in_and_names_who_acts(open_pages: Open, settings: Settings) -> None:
    one = problem(2)
    put(settings, one)
    notify(settings, one)
    client, page = open_pages(host="0.0.0.0", web_tokens=TOKENS), f"/problems/{one['problem_id']}"
    answer = client.post("/sign-in", data={"token": "battery-staple", "next": page})
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert re.search(r"HttpOnly.*SameSite=strict", answer.headers["set-cookie"])
    form = {"token": token(client.get(page).text)}
    assert client.post(f"{page}/acknowledge", data=form).status_code == 303
    assert "maria has it" in client.get(page).text
    assert client.post("/sign-out", data=form).status_code == 303
    assert client.get(page).status_code == 401


@pytest.mark.parametrize("presented", ["", "correct-hors", "\udcff"])
def test_a_wrong_token_is_401_with_a_sentence(open_pages: Open, presented: str) -> None:
    client = open_pages(host="0.0.0.0", web_tokens=TOKENS)
    body = b"token=" + presented.encode("utf-8", "surrogateescape")
    answer = client.post("/sign-in", content=body)
    assert answer.status_code == 401
    assert "Nobody has this token." in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", ""])
def test_a_sign_in_leads_nowhere_else(open_pages: Open, to: str) -> None:
    client = open_pages(host="0.0.0.0", web_tokens=TOKENS)
    assert client.post("/sign-in", data={"token": "a-third-token", "next": to}).headers["location"] == "/"


def test_a_session_ends_with_its_token_and_cannot_be_made_up(open_pages: Open) -> None:
    client = open_pages(host="0.0.0.0", web_tokens=TOKENS)
    assert sign_in(client) == 303
    cookie = client.cookies[COOKIE]
    assert client.get("/").status_code == 200
    for forged in (
        cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
        cookie.replace("maria", "jo"),
        f"maria.{'9' * 5_000}.x.y",
        "",
        "a.b.c.d",
        "é",
    ):
        other = open_pages(host="0.0.0.0", web_tokens=TOKENS)
        assert other.get("/", headers={b"Cookie": f"{COOKIE}={forged}".encode()}).status_code == 401
    restarted = open_pages(host="0.0.0.0", web_tokens=TOKENS)
    assert restarted.get("/", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 200
    without = open_pages(host="0.0.0.0", web_tokens="maria=battery-staple")
    assert without.get("/", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_a_session_runs_out(open_pages: Open) -> None:
    client = open_pages(host="0.0.0.0", web_tokens=TOKENS, web_session_hours=1e-9)
    assert sign_in(client) == 303
    assert client.get("/").status_code == 401


def test_a_link_in_a_message_finds_the_session(open_pages: Open) -> None:
    """The browser keeps a strict cookie from it, and sends it when the page asks for itself again."""
    client = open_pages(host="0.0.0.0", web_tokens=TOKENS)
    answer = client.get("/tables", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text


@pytest.mark.parametrize(
    ("peer", "header", "status"),
    [
        ("10.1.2.3", {"X-User": "jo"}, 200),
        ("10.1.2.3", {"X-User": " "}, 401),
        ("10.1.2.3", {}, 401),
        ("10.2.0.1", {"X-User": "jo"}, 401),
        ("10.2.0.1", {"X-User": "jo", "X-Forwarded-For": "10.1.2.3"}, 401),
    ],
)
def test_only_a_known_proxy_names_people(open_pages: Open, peer: str, header: dict[str, str], status: int) -> None:
    client = open_pages(host="0.0.0.0", peer=peer, web_proxy_header="X-User", web_proxies="10.1.0.0/16")
    answer = client.get("/", headers=header)
    assert answer.status_code == status
    if status == 200:
        assert "<span>jo</span>" in answer.text


@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": "0" * 64}])
@pytest.mark.parametrize("act", ["acknowledge", "resolve", "silence"])
def test_a_form_that_is_not_ours_does_nothing(
    client: TestClient, settings: Settings, act: str, form: dict[str, str]
) -> None:
    one = problem(2)
    put(settings, one)
    notify(settings, one)
    answer = client.post(f"/problems/{one['problem_id']}/{act}", data=form)
    assert answer.status_code == 403
    assert "Load the page again" in answer.text
    assert episodes(settings) == ["open"]


def test_the_form_of_one_person_is_no_others(open_pages: Open, settings: Settings) -> None:
    put(settings, problem(2))
    pages = {}
    for presented in ("correct-horse", "a-third-token"):
        client = open_pages(host="0.0.0.0", web_tokens=TOKENS)
        assert sign_in(client, presented) == 303
        pages[presented] = (client, token(client.get("/breakers").text))
    mine, theirs = pages.values()
    assert mine[0].post("/sign-out", data={"token": theirs[1]}).status_code == 403
    assert mine[0].post("/sign-out", data={"token": mine[1]}).status_code == 303


def test_a_large_form_is_not_read(client: TestClient) -> None:
    assert client.post("/breakers/pipeline/reset", content=b"x" * 20_000).status_code == 403


def test_the_key_is_its_owners_alone(client: TestClient, settings: Settings) -> None:
    path = settings.state_dir / "web.key"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert len(path.read_bytes()) == 32


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("web_tokens", "short", "name=secret pairs"),
        ("web_proxy_header", "X Y", "the name of a header"),
        ("web_proxies", "10.0.0.300", "addresses and networks"),
        ("web_session_hours", "0", "greater than 0"),
    ],
)
def test_a_bad_setting_says_what_is_allowed(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        load_web_settings(_env_file=None, **{name: value})
    assert f"ALERTS_{name.upper()}=" in str(error.value)
    assert "short" not in str(error.value)
