"""An HTTP service on loopback that answers as a test tells it to, and checks what it is sent like the real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jsonschema

if TYPE_CHECKING:
    import ssl

_HERE = Path(__file__).parent


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The part of a service's published schema that is checked; `$comment` says where it is published."""
    schema = json.loads((_HERE / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def golden(name: str) -> Any:
    """An example of a payload, read and approved by a person."""
    return json.loads((_HERE / "golden" / f"{name}.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        target = urlsplit(self.path)
        received = Received(self.command, target.path, parse_qs(target.query), dict(self.headers), body)
        self.service.requests.append(received)
        try:
            self.service.reply(received)(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_PATCH = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


Reply = Callable[[Handler], None]


def answer(status: int, body: object = b"", **headers: str) -> Reply:
    """A whole answer; header names are written with underscores."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.respond(status, content, named)


def cut_short(status: int = 200) -> Reply:
    """An answer whose connection ends before its body does."""

    def reply(handler: Handler) -> None:
        handler.respond(status, b'{"ok": tr', {"Content-Length": "1000"})
        handler.wfile.flush()
        handler.close_connection = True

    return reply


def nonsense(handler: Handler) -> None:
    """Something that speaks another protocol."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    handler.close_connection = True


def stall(handler: Handler) -> None:
    """No answer until the test is over."""
    handler.service.over.wait(20)
    handler.close_connection = True


def flood(handler: Handler) -> None:
    """An answer as fast as it goes, for ever."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while not handler.service.over.is_set():
        handler.wfile.write(b"x" * 65_536)


def drip(handler: Handler) -> None:
    """An answer of which a byte comes every 50 ms, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.service.over.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def drip_headers(handler: Handler) -> None:
    """Headers without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.service.over.wait(0.05):
        handler.wfile.write(b"a")
        handler.wfile.flush()


@dataclass
class Service:
    """Counts what it sees. `failure` is the answer to everything while it is set; `answers` is the real service."""

    answers: Callable[[Received], Reply]
    failure: Reply | None = None
    requests: list[Received] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def reply(self, received: Received) -> Reply:
        return self.failure or self.answers(received)

    @property
    def last(self) -> Received:
        return self.requests[-1]

    @property
    def variables(self) -> dict[str, str]:
        """Variables of a process whose webhook this is."""
        return {
            "ALERTS_WEBHOOK_URL": f"{self.url}/hook",
            "ALERTS_WEBHOOK_SECRET": "a-secret-of-the-tests",
            "ALERTS_ALLOWED_HOSTS": "127.0.0.1",
        }

    @property
    def told(self) -> list[tuple[str, str]]:
        """What became of each alert (`open`, `resolve`, ...) and its title, of the messages of a webhook."""
        return [(request.json["action"], request.json["alert"]["title"]) for request in self.requests]


@contextmanager
def running(
    answers: Callable[[Received], Reply] = lambda received: answer(200, {}), tls: ssl.SSLContext | None = None
) -> Iterator[Service]:
    """A service on a port of its own, for as long as the block runs."""
    service = Service(answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"service": service}))
    server.daemon_threads = True
    # A client that does not trust the certificate hangs up; that is not news.
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    service.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield service
    finally:
        service.over.set()
        server.shutdown()
        server.server_close()


def checked(schema: str, good: Callable[[Received], Reply]) -> Callable[[Received], Reply]:
    """What a service does that refuses requests its schema does not allow."""

    def answers(received: Received) -> Reply:
        errors = [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(received.json)]
        return answer(400, {"message": "invalid", "errors": errors}) if errors else good(received)

    return answers


def slack_api() -> Callable[[Received], Reply]:
    """`chat.postMessage` and `chat.update`; each post has a later timestamp, and names become ids."""
    counter = iter(range(1, 1_000))

    def good(received: Received) -> Reply:
        channel = received.json["channel"]
        place = channel if channel.startswith("C0") else f"C0{channel.strip('#').upper()}"
        return answer(200, {"ok": True, "channel": place, "ts": f"1739527560.{next(counter):06}"})

    post, update = (
        checked("slack_post_message", good),
        checked("slack_update", lambda received: answer(200, {"ok": True})),
    )
    return lambda received: (update if received.path.endswith("/chat.update") else post)(received)


def slack_webhook() -> Callable[[Received], Reply]:
    return checked("slack_webhook", lambda received: answer(200, b"ok", Content_Type="text/html"))


def pagerduty() -> Callable[[Received], Reply]:
    def good(received: Received) -> Reply:
        key = received.json["dedup_key"]
        return answer(202, {"status": "success", "message": "Event processed", "dedup_key": key})

    return checked("pagerduty_event", good)


def teams() -> Callable[[Received], Reply]:
    return checked("teams_message", lambda received: answer(202))


@dataclass
class ServiceNowInstance:
    """The incident table: queries, inserts and updates."""

    rows: list[dict[str, str]] = field(default_factory=list)
    #: Requests with this method get this answer instead.
    broken: dict[str, Reply] = field(default_factory=dict)
    #: Inserts are made, but the answer to the first is lost.
    loses_an_answer: bool = False

    def __call__(self, received: Received) -> Reply:
        if received.method in self.broken:
            return self.broken[received.method]
        if received.method == "GET":
            return answer(200, {"result": self._select(received.query["sysparm_query"][0])})
        schema = "servicenow_insert" if received.method == "POST" else "servicenow_update"
        change = self._insert if received.method == "POST" else self._update
        return checked(schema, change)(received)

    def _select(self, query: str) -> list[dict[str, str]]:
        rows = list(reversed(self.rows))
        for condition in query.split("^"):
            if not condition.startswith("ORDERBY"):
                column, value = condition.split("=", 1)
                rows = [row for row in rows if row.get(column) == value]
        return rows

    def _insert(self, received: Received) -> Reply:
        number = len(self.rows) + 1
        row = {"sys_id": f"{number:032x}", "number": f"INC{number:07}", "state": "1", **received.json}
        self.rows.append(row)
        if self.loses_an_answer:
            self.loses_an_answer = False
            return cut_short(201)
        return answer(201, {"result": row})

    def _update(self, received: Received) -> Reply:
        row = next((row for row in self.rows if received.path.endswith(row["sys_id"])), None)
        if row is None:
            return answer(404, {"error": {"message": "No Record found", "detail": "Record doesn't exist"}})
        row.update(received.json)
        return answer(200, {"result": row})
