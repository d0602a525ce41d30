"""An SMTP relay on loopback: RFC 5321 with STARTTLS and AUTH PLAIN, and ways to break off at every step."""

from __future__ import annotations

import base64
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

CREDENTIALS = ("alerts", "correct horse battery staple")

#: Instead of a reply: bytes to send, or what to do with the connection.
Failure = bytes | Callable[["Session"], None]


class HungUp(Exception):
    """The relay ends the session."""


@dataclass(frozen=True)
class Delivery:
    """A mail the relay has taken."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    was_encrypted: bool
    user: str | None

    @property
    def mail(self) -> EmailMessage:
        parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class Relay:
    """Takes mail. `failures` has, by step, what happens instead; steps are commands, CONNECT and END (of DATA)."""

    tls: ssl.SSLContext | None = None
    begins_with_tls: bool = False
    failures: dict[str, Failure] = field(default_factory=dict)
    #: By recipient, what RCPT is answered.
    refuses: dict[str, bytes] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    #: Every line that came before TLS.
    in_the_clear: list[bytes] = field(default_factory=list)
    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def variables(self, to: str) -> dict[str, str]:
        """Variables of a process that mails to somebody through it, in the clear."""
        return {
            "ALERTS_SMTP_HOST": "127.0.0.1",
            "ALERTS_SMTP_PORT": str(self.port),
            "ALERTS_SMTP_STARTTLS": "false",
            "ALERTS_SMTP_FROM": "alerts@example.test",
            "ALERTS_SMTP_TO": to,
        }


class Session(socketserver.StreamRequestHandler):
    relay: Relay

    def handle(self) -> None:
        self.encrypted = False
        if self.relay.begins_with_tls:
            self.encrypt()
        self.user: str | None = None
        self.sender, self.recipients = "", list[str]()
        with suppress(HungUp, OSError):
            self.step("CONNECT", b"220 relay.example.test ESMTP")
            while line := self.rfile.readline(10_000):
                if not self.encrypted:
                    self.relay.in_the_clear.append(line)
                self.command(line.strip())

    def command(self, line: bytes) -> None:
        verb = line.split(b" ")[0].upper().decode()
        getattr(self, f"on_{verb.lower()}", self.on_unknown)(line)

    def step(self, name: str, reply: bytes) -> bool:
        """Reply, or do what the test has for this step; whether the reply was the good one."""
        failure = self.relay.failures.get(name)
        if callable(failure):
            failure(self)
            return False
        self.wfile.write((failure or reply) + b"\r\n")
        return failure is None

    def on_ehlo(self, line: bytes) -> None:
        offers = b"250-STARTTLS\r\n" if self.relay.tls and not self.encrypted else b""
        login = b"250-AUTH PLAIN\r\n" if self.encrypted or not self.relay.tls else b""
        self.step("EHLO", b"250-relay.example.test\r\n" + offers + login + b"250 8BITMIME")

    def on_helo(self, line: bytes) -> None:
        self.step("EHLO", b"250 relay.example.test")

    def on_starttls(self, line: bytes) -> None:
        if self.step("STARTTLS", b"220 go ahead"):
            self.encrypt()

    def encrypt(self) -> None:
        assert self.relay.tls is not None
        self.connection = self.relay.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.encrypted = True

    def on_auth(self, line: bytes) -> None:
        _, user, password = base64.b64decode(line.split(b" ")[2]).decode().split("\0")
        if (user, password) != CREDENTIALS:
            self.wfile.write(f"535 5.7.8 no such login: {user} {password}\r\n".encode())
        elif self.step("AUTH", b"235 welcome"):
            self.user = user

    def on_mail(self, line: bytes) -> None:
        self.sender = line.split(b"<")[1].split(b">")[0].decode()
        self.step("MAIL", b"250 ok")

    def on_rcpt(self, line: bytes) -> None:
        recipient = line.split(b"<")[1].split(b">")[0].decode()
        refusal = self.relay.refuses.get(recipient)
        if refusal:
            self.wfile.write(refusal + b"\r\n")
        elif self.step("RCPT", b"250 ok"):
            self.recipients.append(recipient)

    def on_data(self, line: bytes) -> None:
        if not self.step("DATA", b"354 go ahead"):
            return
        lines = []
        while (received := self.rfile.readline()) != b".\r\n":
            if not received:
                raise HungUp
            lines.append(received[1:] if received.startswith(b"..") else received)
        if self.step("END", b"250 queued"):
            taken = Delivery(self.sender, tuple(self.recipients), b"".join(lines), self.encrypted, self.user)
            self.relay.deliveries.append(taken)

    def on_rset(self, line: bytes) -> None:
        self.wfile.write(b"250 ok\r\n")

    def on_quit(self, line: bytes) -> None:
        self.step("QUIT", b"221 bye")
        raise HungUp

    def on_unknown(self, line: bytes) -> None:
        self.wfile.write(b"502 what?\r\n")


def stall(session: Session) -> None:
    """Nothing more comes."""
    session.relay.over.wait(20)
    raise HungUp


def drip(session: Session) -> None:
    """A reply without an end, a byte every 50 ms."""
    while not session.relay.over.wait(0.05):
        session.wfile.write(b"2")
    raise HungUp


def hang_up(session: Session) -> None:
    """The connection ends."""
    raise HungUp


def cut_short(session: Session) -> None:
    """Half a reply, and the connection ends."""
    session.wfile.write(b"25")
    raise HungUp


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextmanager
def running(tls: ssl.SSLContext | None, *, begins_with_tls: bool = False) -> Iterator[Relay]:
    """A relay on a port of its own, for as long as the block runs."""
    relay = Relay(tls, begins_with_tls)
    server = _Server(("127.0.0.1", 0), type("BoundSession", (Session,), {"relay": relay}))
    relay.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield relay
    finally:
        relay.over.set()
        server.shutdown()
        server.server_close()
