"""`alert-assets serve`: what it takes, what it refuses, and that what it took is there."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress

import httpx
import pytest

from alert_assets.cli import main
from alert_assets_tests.intake.site import environment, landed_lines, serving, start


def new_lines(site, send):
    """What `send` landed, as it stands in the files."""
    before = len(landed_lines(site.landing))
    send()
    return landed_lines(site.landing)[before:]


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b'{"event_id": "a"}', [b'{"event_id": "a"}']),
        (b'{"a": 1}\n\n{"a": 2}\r\n', [b'{"a": 1}', b'{"a": 2}']),
        (b'[{"a": 1.10, "a": 2},\n {"b": "x\\ny"}]', [b'{"a": 1.10, "a": 2}', b'{"b": "x\\ny"}']),
        (b'{\n  "a": [1,\n 2]\n}', [b'{   "a": [1,  2] }']),
        (b'{\n"a": 1\n}\n{\n"a": 2\n}\n', [b'{ "a": 1 }', b'{ "a": 2 }']),
        (b"[]", []),
        (b'{"a": 1}\nno json\n', [b'{"a": 1}', b"no json"]),
        (b'[{"a": 1}, no json]', [b'[{"a": 1}, no json]']),
        ("\ufeff" + '{"a": "ä"}', ['{"a": "ä"}'.encode()]),
        ('{"a": "ä"}'.encode("utf-16"), ['{"a": "ä"}'.encode()]),
        ('{"a": "ä"}'.encode("latin-1"), ['{"a": "ä"}'.encode("latin-1")]),
        (b'{"n": 1e999, "m": ' + b"9" * 5_000 + b"}", [b'{"n": 1e999, "m": ' + b"9" * 5_000 + b"}"]),
    ],
)
def test_events_land_as_they_were_written(site, client, body, lines):
    def send():
        answer = client.post("/intake/events", content=body)
        assert answer.status_code == 202
        assert answer.json() == {"accepted": len(lines)}

    assert new_lines(site, send) == lines


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b'{"a": 1}\n', mtime=0) + gzip.compress(b'{"a": 2}\n', mtime=0)),
        ("deflate", zlib.compress(b'{"a": 1}\n{"a": 2}\n')),
        ("GZIP", gzip.compress(b'{"a": 1}\n{"a": 2}\n', mtime=0)),
    ],
)
def test_bodies_may_be_packed(site, client, encoding, packed):
    def send():
        answer = client.post("/intake/events", content=packed, headers={"Content-Encoding": encoding})
        assert answer.status_code == 202, answer.text

    assert new_lines(site, send) == [b'{"a": 1}', b'{"a": 2}']


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"", {}),
        (400, b" \n ", {}),
        (400, b"\x00\x01\x02", {}),
        (400, b"\x89PNG\r\n\x1a\n\xff\xff", {}),
        (400, b"not gzip", {"Content-Encoding": "gzip"}),
        (400, gzip.compress(b'{"a": 1}', mtime=0)[:-9], {"Content-Encoding": "gzip"}),
        (400, b"{}", {"Content-Type": "application/json; charset=klingon"}),
        (415, b"{}", {"Content-Encoding": "br"}),
        (413, b"x" * (17 << 20), {}),
        (413, gzip.compress(b" " * (65 << 20), mtime=0), {"Content-Encoding": "gzip"}),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_of_it_lands(site, client, status, body, headers):
    def send():
        answer = client.post("/intake/events", content=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]

    assert new_lines(site, send) == []


def test_a_body_that_grows_over_the_limit_while_it_is_sent(site, client):
    # The answer may come before the body is sent; who does not look for it sees a closed connection.
    with suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        answer = client.post("/intake/events", content=(b"x" * 65_536 for _ in range(400)))
        assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/intake/events", 405),
        ("POST", "/intake/nobody", 404),
        ("POST", "/intake/..%2f..%2fetc%2fpasswd", 404),
        ("POST", "/intake/%00", 404),
        ("POST", "/", 405),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
    ],
)
def test_what_there_is(client, method, path, status):
    assert client.request(method, path).status_code == status


def test_a_slow_body_is_given_up_and_holds_up_nobody(tmp_path):
    with serving(tmp_path / "data", ALERTS_INTAKE_BODY_SECONDS="0.3") as site:
        host, port = site.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            assert httpx.post(f"{site.url}/intake/events", content=b"{}").status_code == 202
            slow.settimeout(10)
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_too_many_requests_at_once_are_told_when_to_come_back(tmp_path):
    with serving(tmp_path / "data", ALERTS_INTAKE_MAX_REQUESTS="1") as site:
        host, port = site.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            deadline = time.monotonic() + 10
            while (answer := httpx.post(f"{site.url}/intake/events", content=b"{}")).status_code != 503:
                assert time.monotonic() < deadline
        assert answer.headers["Retry-After"] == "1"


def test_a_landing_zone_that_is_gone_is_503_until_it_is_back(tmp_path):
    with serving(tmp_path / "data") as site:
        site.landing.rmdir()
        answer = httpx.post(f"{site.url}/intake/events", content=b'{"a": 1}')
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "takes no data" in answer.json()["error"]
        assert httpx.get(f"{site.url}/readyz").status_code == 503
        assert httpx.get(f"{site.url}/healthz").status_code == 200
        site.landing.mkdir()
        assert httpx.get(f"{site.url}/readyz").status_code == 200
        assert httpx.post(f"{site.url}/intake/events", content=b'{"a": 2}').status_code == 202
        assert site.landed == [{"a": 2}]


@pytest.mark.skipif(os.getuid() != 0, reason="a full disk is a small tmpfs, which only root can mount")
def test_a_disk_that_is_full_or_read_only_is_503_until_it_is_not(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options):
        return subprocess.run(["mount", *options], capture_output=True).returncode == 0

    def post(size):
        answer = httpx.post(f"{site.url}/intake/events", content=b'{"a": "%s"}' % (b"x" * size))
        assert answer.status_code == 202 or int(answer.headers["Retry-After"]) > 0
        return answer.status_code, answer.json().get("error", "")

    if not mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", disk):
        pytest.skip("mounting is not allowed here")
    try:
        with serving(tmp_path / "data", ALERTS_LANDING_DIR=str(disk), ALERTS_INTAKE_ROLL_SECONDS="0") as site:
            taken = 0
            while (found := post(200_000))[0] == 202:
                taken += 1
            assert (found[0], taken) == (503, 5)
            assert "No space left on device" in found[1]
            next(disk.glob("intake-*")).unlink()
            assert post(200_000) == (202, "")
            assert mount("-o", "remount,ro", disk)
            assert post(1)[0] == 503
            assert httpx.get(f"{site.url}/readyz").status_code == 503
            assert mount("-o", "remount,rw", disk)
            assert post(1) == (202, "")
            assert httpx.get(f"{site.url}/readyz").status_code == 200
        assert sorted(len(line) for line in landed_lines(disk)) == [10, *[200_009] * 5]
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


TOKENS = {"ALERTS_INTAKE_TOKENS": "prometheus=first-token,prometheus=second-token,ci=third-token"}


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (202, {"Authorization": "Bearer first-token"}),
        (202, {"Authorization": "bearer  second-token"}),
        (202, _basic("ci", "third-token")),
        (401, {}),
        (401, {"Authorization": "Bearer wrong-token"}),
        (401, {"Authorization": "Bearer"}),
        (401, {"Authorization": "Basic %%%"}),
        (401, _basic("prometheus", "third-token")),
        (401, {"Authorization": "Digest first-token"}),
    ],
)
def test_tokens(guarded, status, headers):
    answer = httpx.post(f"{guarded.url}/intake/events", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert "-token" not in answer.text
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


_HERE = "http://localhost:3000"


@pytest.mark.parametrize("path", ["/intake/events", "/intake/alertmanager", "/v1/logs"])
@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Host": "rebound.example"}),
        (403, {"Host": "["}),
        (403, {"Origin": "https://elsewhere.example"}),
        (403, {"Origin": "null"}),
        (403, {"Host": "rebound.example", "Origin": "http://rebound.example"}),
        (2, {"Host": "localhost:1"}),
        (2, {"Host": "[::1]", "Origin": _HERE}),
    ],
)
def test_a_page_from_elsewhere_may_not_send_to_this_machine(client, path, status, headers):
    headers = {"Content-Type": "application/json", **headers}
    answer = client.post(path, content=b"{}", headers=headers)
    assert (answer.status_code if status > 100 else answer.status_code // 100) == status
    if status == 403:
        assert "ALERTS_INTAKE_TOKENS" in answer.json()["error"]


def test_with_a_token_any_name_will_do(guarded):
    headers = {"Host": "alerts.example.com", "Authorization": "Bearer first-token"}
    assert httpx.post(f"{guarded.url}/intake/events", content=b"{}", headers=headers).status_code == 202


def test_the_name_that_people_reach_it_by_is_no_foreign_one(tmp_path):
    with serving(tmp_path / "data", ALERTS_WEB_URL="https://alerts.example.com") as site:
        for host, status in (("alerts.example.com", 202), ("rebound.example", 403)):
            answer = httpx.post(f"{site.url}/intake/events", content=b"{}", headers={"Host": host})
            assert answer.status_code == status


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("guarded") / "data", **TOKENS) as site:
        yield site


def serve_and_fail(folder, *arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "alert_assets.cli", "serve", *arguments],
        env=environment(folder, **variables),
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_other_machines_are_not_let_in_without_credentials(tmp_path):
    refused = serve_and_fail(tmp_path / "data", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "ALERTS_INTAKE_TOKENS=name=token" in refused.stderr


def test_a_bad_setting_is_named_and_no_secret_shown(tmp_path):
    refused = serve_and_fail(tmp_path / "data", ALERTS_INTAKE_TOKENS="hush-hush", ALERTS_INTAKE_BODY_SECONDS="soon")
    assert refused.returncode == 2
    assert "ALERTS_INTAKE_TOKENS=(hidden)" in refused.stderr
    assert "ALERTS_INTAKE_BODY_SECONDS='soon'" in refused.stderr
    assert "hush" not in refused.stderr


@pytest.fixture
def refusal(monkeypatch, tmp_path, capsys):
    """What `alert-assets serve` says when it does not start, with the variables."""

    def refusal(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ALERTS_DATA_DIR", str(tmp_path / "data"))
        with pytest.raises(SystemExit) as end:
            main(["serve", "--port", "0"])
        assert end.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    return refusal


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALERTS_INTAKE_SECRETS", "githab=a-long-secret", "ALERTS_INTAKE_SECRETS names githab, and senders that sign"),
        ("ALERTS_INTAKE_SECRETS", "alertmanager=a-long-secret", "ALERTS_INTAKE_SECRETS names alertmanager, and "),
        ("ALERTS_HEARTBEATS", "alertmanagr=5m", "ALERTS_HEARTBEATS names alertmanagr, and senders are alertmanager, "),
    ],
)
def test_a_setting_of_a_sender_that_is_none_is_not_ignored(refusal, variable, value, said):
    found = refusal(**{variable: value})
    assert said in found
    assert "a-long-secret" not in found


def test_a_landing_zone_that_can_be_no_folder_is_said_in_a_line(refusal, tmp_path):
    (tmp_path / "file").touch()
    for folder, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "sub", "Not a directory")):
        assert f"ALERTS_LANDING_DIR={folder} cannot be used: {why}." in refusal(ALERTS_LANDING_DIR=str(folder))


def test_a_port_that_is_taken_is_said_in_a_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = serve_and_fail(tmp_path / "data", "--port", str(taken.getsockname()[1]))
    assert refused.returncode == 2
    assert "Stop what uses the port" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_begun(tmp_path, number):
    site = start(tmp_path / "data")
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as begun:
        begun.sendall(b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n{")
        # One more request: when it is answered, the one before is being read.
        httpx.post(f"{site.url}/intake/events", content=b"{}")
        os.kill(site.process.pid, number)
        time.sleep(0.3)
        begun.sendall(b'"a": 1}')
        begun.settimeout(10)
        assert begun.recv(1000).startswith(b"HTTP/1.1 202 ")
    _, said = site.process.communicate(timeout=30)
    assert site.process.returncode == 0
    assert "Traceback" not in said
    assert sorted(landed_lines(site.landing)) == [b'{"a": 1}', b"{}"]
    assert not list(site.landing.glob(".*"))


def kill_under_load(folder, after_answers, and_seconds=0.0):
    """Send numbered events until the server is killed, in the middle of others; returns those that were answered."""
    site = start(folder, ALERTS_INTAKE_ROLL_SECONDS="0.2", ALERTS_INTAKE_ROLL_MB="1")
    answered: list[str] = []
    enough = threading.Event()

    def send(sender):
        with httpx.Client() as client:
            for number in range(1_000_000):
                name = f"{sender}-{number}"
                try:
                    answer = client.post(f"{site.url}/intake/events", content=json.dumps({"event_id": name}))
                except httpx.HTTPError:
                    return
                if answer.status_code == 202:
                    answered.append(name)
                if len(answered) >= after_answers:
                    enough.set()

    senders = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for sender in senders:
        sender.start()
    assert enough.wait(60)
    time.sleep(and_seconds)
    site.kill()
    for sender in senders:
        sender.join()
    return answered


def check_nothing_lost(folder, answered):
    with serving(folder) as site:
        landed = [event["event_id"] for event in site.landed]
    assert len(set(landed)) == len(landed)
    assert set(answered) <= set(landed)


@pytest.mark.parametrize("after_answers", [100, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 500))])
def test_every_answered_request_survives_a_kill_once(tmp_path, after_answers):
    check_nothing_lost(tmp_path / "data", kill_under_load(tmp_path / "data", after_answers))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_answered_request_survives_two_hundred_kills(tmp_path):
    rng = random.Random(13)
    for _ in range(200):
        check_nothing_lost(
            tmp_path / "data", kill_under_load(tmp_path / "data", rng.randrange(1, 400), rng.uniform(0, 0.02))
        )
        for path in (tmp_path / "data" / "landing").iterdir():
            path.unlink()


@pytest.mark.slow
def test_a_stop_while_it_starts_is_heeded(tmp_path):
    for _ in range(5):
        site = start(tmp_path / "data")
        site.stop()
        assert site.process.returncode == 0
