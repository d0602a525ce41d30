"""Services on loopback, and channels that may reach them."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytest

from alert_assets.notify.channels.http import Http
from alert_assets.notify.channels.targets import Targets
from alert_assets_tests.notify.channels.service import Received, Reply, Service, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOPBACK = Targets.parse("127.0.0.0/8")
#: The name in the certificate of the tests.
NAME = "hooks.example.test"


class NewService(Protocol):
    def __call__(self, answers: object = ..., tls: ssl.SSLContext | None = ...) -> Service: ...


@pytest.fixture(scope="session")
def client_tls() -> ssl.SSLContext:
    """Made once: reading the authorities takes longer than most tests."""
    return ssl.create_default_context()


@pytest.fixture
def http(client_tls: ssl.SSLContext) -> Http:
    return Http(LOOPBACK, timeout_seconds=5, tls=client_tls)


@pytest.fixture
def hasty(client_tls: ssl.SSLContext) -> Http:
    """Gives up soon."""
    return Http(LOOPBACK, timeout_seconds=0.3, tls=client_tls)


@pytest.fixture
def serve() -> Iterator[NewService]:
    """Starts services that stop with the test."""
    with ExitStack() as stack:

        def start(answers: object = None, tls: ssl.SSLContext | None = None) -> Service:
            given = {} if answers is None else {"answers": answers}
            return stack.enter_context(running(tls=tls, **given))  # type: ignore[arg-type]

        yield start


@dataclass(frozen=True)
class Authority:
    """A self-signed certificate for NAME and 127.0.0.1, and who trusts it."""

    certificate: Path
    key: Path

    @property
    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    @property
    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("makes its certificate with openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = Authority(folder / "cert.pem", folder / "key.pem")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN={NAME} -addext subjectAltName=DNS:{NAME},IP:127.0.0.1 -keyout {made.key} -out {made.certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return made


__all__ = ["LOOPBACK", "NAME", "Authority", "NewService", "Received", "Reply"]
