"""`alert-assets serve`: HTTP in, and the pages for people."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Annotated

import typer
import uvicorn
from starlette.applications import Starlette

from alert_assets.commands import output
from alert_assets.commands.people import login
from alert_assets.errors import UserError
from alert_assets.intake.server import Intake
from alert_assets.intake.settings import load_intake_settings
from alert_assets.intake.standing import EVENTS, OTLP
from alert_assets.observe.watching import figures_sent
from alert_assets.settings import load_settings
from alert_assets.web.pages import Pages
from alert_assets.web.settings import load_web_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.intake.senders.sender import Sender
    from alert_assets.intake.settings import IntakeSettings

app = typer.Typer(add_completion=False)

_CLOSED = " are shown to nobody: set ALERTS_WEB_TOKENS=name=token, or ALERTS_WEB_PROXY_HEADER"


@app.command(epilog="Example: alert-assets serve --port 9000")
def serve(
    host: Annotated[str | None, typer.Option(help="Default: ALERTS_SERVE_HOST, 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Default: ALERTS_SERVE_PORT, 8080.")] = None,
) -> None:
    """Take what other tools send, on POST /intake/SENDER, and show the pages, until Ctrl-C or SIGTERM.

    An answer of 2xx says that it is on disk, in the landing zone.
    """
    given = {"serve_host": host, "serve_port": port}
    intake = load_intake_settings(**{name: value for name, value in given.items() if value is not None})
    if not intake.is_loopback and not intake.has_credentials:
        raise UserError(
            f"ALERTS_SERVE_HOST={intake.serve_host} lets other machines send, and nothing says which may. Set "
            "ALERTS_INTAKE_TOKENS=name=token (and ALERTS_INTAKE_SECRETS for senders that sign), or serve on 127.0.0.1."
        )
    settings, web = load_settings(), load_web_settings()
    service = Intake(settings, intake)
    _check_names(intake, service.senders)
    pages = Pages(
        settings,
        web,
        intake,
        login=login(),
        is_stopping=lambda: server.should_exit,
        requests=lambda: dict(service.requests),
    )
    listening = _bind(intake.serve_host, intake.serve_port)
    recovered = service.writer.start()
    if recovered:
        typer.echo(f"Recovered {output.count(len(recovered), 'landing file')} of a server that was killed.", err=True)
    config = uvicorn.Config(
        Starlette(routes=[*service.routes(), *pages.routes()], lifespan=service.lifespan),
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # who connects is who the pages believe, or do not
        timeout_keep_alive=75,  # longer than clients keep idle connections, so that none is closed under a request
        timeout_graceful_shutdown=30,
    )
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn has its own handlers once it runs, and raises the signal again when it has stopped.
        signal.signal(number, stop)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    typer.echo(
        f"Pages on {settings.web_url or f'http://{shown}:{port}'}/{'' if pages.access.is_usable else _CLOSED}", err=True
    )
    typer.echo(f"Listening on http://{shown}:{port}; POST /intake/SENDER, Ctrl-C stops.", err=True)
    with figures_sent(settings, lambda text: typer.echo(text, err=True), lambda: dict(service.requests)):
        server.run(sockets=[listening])
    service.writer.close()


def _check_names(intake: IntakeSettings, senders: Mapping[str, Sender]) -> None:
    """Refuse settings of senders that are none: a misspelled secret would leave its sender unverified."""
    signing = sorted(name for name, sender in senders.items() if sender.verify)
    for variable, names, known, what in (
        ("ALERTS_INTAKE_SECRETS", intake.signing, signing, "senders that sign"),
        ("ALERTS_HEARTBEATS", intake.heartbeats, [*senders, EVENTS, OTLP], "senders"),
    ):
        if unknown := sorted({*names} - {*known}):
            raise UserError(f"{variable} names {', '.join(unknown)}, and {what} are {', '.join(known)}. Correct it.")


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(
            f"ALERTS_SERVE_HOST={host} and ALERTS_SERVE_PORT={port} cannot be listened on: "
            f"{error.strerror or error}. Stop what uses the port, or choose another with --port."
        ) from None
