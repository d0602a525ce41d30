"""Whatever is sent, the server answers, lives on, keeps its memory, and says no secret."""

from __future__ import annotations

import gzip
import json
import random
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from alert_assets.intake.senders.registry import SENDERS
from alert_assets_tests.intake.senders.test_senders import examples
from alert_assets_tests.intake.site import Site, landed_lines, serving, start

PATHS = [f"/intake/{name}" for name in (*SENDERS, "events", "slack", "nobody", "%2e%2e", "a" * 5_000)] + [
    *("/v1/logs", "/v1/metrics", "/v1/traces", "/", "/readyz", "//", "/intake/", "/intake/events/../../etc/passwd"),
]
TYPES = [
    *("application/json", "application/x-protobuf", "text/plain", "application/x-www-form-urlencoded", ""),
    *("application/json; charset=utf-16", "application/json; charset=zlib", "multipart/form-data; boundary=x", "*/*"),
]
ENCODINGS = ["", "gzip", "deflate", "br", "identity", "gzip, gzip", "x" * 300]
TOKENS = ["Bearer", "Basic ====", "Bearer \xff", "Basic " + "QTpB" * 400, "Digest x"]

SECRETS = {
    "ALERTS_INTAKE_SECRETS": "github=secret-of-github,pagerduty=secret-of-pagerduty",
    "ALERTS_INTAKE_SLACK_SIGNING_SECRET": "secret-of-slack",
}


def body_of(rng: random.Random) -> bytes:
    case = rng.choice(examples(rng.choice(list(SENDERS))))
    good = json.dumps(case["payload"]).encode()
    kind = rng.randrange(10)
    if kind == 0:
        return rng.randbytes(rng.randrange(2_000))
    if kind == 1:
        return b"[" * rng.randrange(20_000) + b"]" * rng.randrange(20_000)
    if kind == 2:
        return b'{"a":' * rng.randrange(5_000)
    if kind == 3:
        return good[: rng.randrange(len(good))]
    if kind == 4:
        return good.replace(b'"', b'"' * rng.randrange(1, 3), rng.randrange(5))
    if kind == 5:
        return b'{"alerts": [' + b"1," * rng.randrange(2_000) + b'{"labels": {"a": 1, "a": 2}}]}'
    if kind == 6:
        return bytes(byte ^ (rng.random() < 0.01) * rng.randrange(256) for byte in good)
    if kind == 7:
        return b'{"timestamp": ' + b"9" * rng.randrange(1, 6_000) + b"}"
    return good


def request_of(rng: random.Random) -> tuple[str, bytes, dict[bytes, bytes]]:
    body, encoding = body_of(rng), rng.choice(ENCODINGS)
    if encoding and rng.random() < 0.5:
        body = gzip.compress(body) if "gzip" in encoding else zlib.compress(body)
    headers = {
        "Content-Type": rng.choice(TYPES),
        "Content-Encoding": encoding,
        "Authorization": rng.choice(TOKENS),
        "X-GitHub-Event": rng.choice(["ping", "deployment_status", "\xff", ""]),
        "X-Hub-Signature-256": rng.choice(["", "sha256=", "\xff" * 64]),
        "ce-type": rng.choice(["", "dev.cdevents.service.deployed.0.2.0", "x"]),
        "Sentry-Hook-Resource": rng.choice(["issue", "event_alert", ""]),
    }
    chosen = {name.encode(): value.encode("latin-1") for name, value in headers.items() if value and rng.random() < 0.5}
    return rng.choice(PATHS), body, chosen


def fuzz(site: Site, seed: int, count: int) -> set[int]:
    rng = random.Random(seed)
    statuses = set()
    with httpx.Client(base_url=site.url, timeout=30) as client:
        for _ in range(count):
            path, body, headers = request_of(rng)
            answer = client.post(path, content=body, headers=headers)
            statuses.add(answer.status_code)
            assert b"secret-of" not in answer.content
    return statuses


@pytest.mark.parametrize("requests", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_fuzzed_requests(tmp_path, requests):
    site = start(tmp_path / "data", 0, **SECRETS)
    process = psutil.Process(site.process.pid)
    fuzz(site, 0, 500)
    before = process.memory_info().rss
    workers = 4
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda seed: fuzz(site, seed, requests // workers), range(1, workers + 1))
        statuses = set().union(*found)
    grown = process.memory_info().rss - before
    said = site.stop()
    assert statuses <= {200, 202, 400, 403, 404, 405, 413, 415}
    assert {202, 400, 403, 404, 415} <= statuses
    assert grown < 64 << 20
    assert "Traceback" not in said
    assert "secret-of" not in said
    for line in landed_lines(site.landing):
        assert b"\r" not in line


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("target") / "data", **SECRETS) as site:
        yield site


RAW = [
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /intake/events\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /intake/github%0d%0aX-Injected:%201 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /intake/events HTTP/1.1\r\nHost: localhost\r\nX-A: b\rX-Injected: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"A" * 200_000,
    b"POST /intake/events HTTP/1.1\r\n" + b"X-Long: " + b"a" * 300_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
def test_what_is_no_http(target, raw):
    host, port = target.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=15) as connection:
        answer = b""
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                answer += part
        except OSError:
            pass  # it hung up
    assert b"X-Injected" not in answer
    assert httpx.get(f"{target.url}/healthz").status_code == 200


def test_bombs_need_no_memory(target):
    process = psutil.Process(target.process.pid)
    bomb = gzip.compress(bytes(1 << 20) * 200, 9)
    nested = gzip.compress(bomb * 20)
    before = process.memory_info().rss
    for body in (bomb, nested, bomb):
        answer = httpx.post(
            f"{target.url}/intake/events", content=body, headers={"Content-Encoding": "gzip"}, timeout=30
        )
        assert answer.status_code in (400, 413)
    big = httpx.post(f"{target.url}/intake/events", content=b" " * (50 << 20), timeout=30)
    assert big.status_code == 413
    assert process.memory_info().rss - before < 150 << 20
