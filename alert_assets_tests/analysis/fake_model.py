"""A model endpoint on loopback that answers as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import TYPE_CHECKING, Any

from alert_assets_tests.analysis.examples import GOOD_ANSWER

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at_seconds: float

    @property
    def prompt(self) -> str:
        """Everything the model reads."""
        return "\n".join(message["content"] for message in self.body["messages"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: FakeModel

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.path, dict(self.headers), json.loads(raw), monotonic())
        with self.model.entered(request):
            try:
                self.model.next_reply(request)(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


Reply = Callable[[Handler], None]


@dataclass
class FakeModel:
    """Replies in the order of `replies`, the last one for ever; counts what it sees."""

    replies: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    max_in_flight: int = 0
    base_url: str = ""
    #: Set when the test is over: whoever stalls stops.
    over: threading.Event = field(default_factory=threading.Event)
    _in_flight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, tls: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
        handler = type("BoundHandler", (Handler,), {"model": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def next_reply(self, request: Request) -> Reply:
        with self._lock:
            number = self.requests.index(request)
        return self.replies[min(number, len(self.replies) - 1)]

    def entered(self, request: Request) -> _InFlight:
        with self._lock:
            self.requests.append(request)
        return _InFlight(self)


@dataclass
class _InFlight:
    model: FakeModel

    def __enter__(self) -> None:
        with self.model._lock:
            self.model._in_flight += 1
            self.model.max_in_flight = max(self.model.max_in_flight, self.model._in_flight)

    def __exit__(self, *_: object) -> None:
        with self.model._lock:
            self.model._in_flight -= 1


def completion(content: Any, usage: Any = None, **choice: Any) -> Reply:
    """A chat completion; `content` is the answer's text, or what is dumped as JSON to become it."""
    text = content if isinstance(content, str) else json.dumps(content)
    body: dict[str, Any] = {"choices": [{"message": {"content": text}, "finish_reason": "stop", **choice}]}
    if usage is not None:
        body["usage"] = usage
    return status(200, json.dumps(body).encode())


def good(**changes: Any) -> Reply:
    return completion({**GOOD_ANSWER, **changes}, {"prompt_tokens": 100, "completion_tokens": 50})


def status(code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
    return lambda handler: handler.send(code, body, headers or {})


def stall(handler: Handler) -> None:
    """Never answers."""
    handler.model.over.wait(10)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    """One byte at a time for two seconds, each well within a read timeout."""
    handler.send(200, b"", {"Content-Length": "100000"})
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        if handler.model.over.wait(0.02):
            break
    handler.close_connection = True


def cut_short(handler: Handler) -> None:
    """Promises more than it sends, and hangs up."""
    handler.send(200, b'{"choices": [', {"Content-Length": "1000"})
    handler.close_connection = True
