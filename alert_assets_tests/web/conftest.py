"""The pages over a lake of their own, asked as a browser asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from alert_assets.intake.settings import load_intake_settings
from alert_assets.web.pages import Pages
from alert_assets.web.settings import load_web_settings

if TYPE_CHECKING:
    from alert_assets.settings import Settings

Open = Callable[..., TestClient]


@pytest.fixture
def open_pages(settings: Settings) -> Open:
    """Pages with settings of their own; `host` is what `serve` listens on, `peer` who connects."""

    def open_(host: str = "127.0.0.1", peer: str = "127.0.0.1", **web: Any) -> TestClient:
        intake = load_intake_settings(_env_file=None, serve_host=host)
        pages = Pages(settings, load_web_settings(_env_file=None, **web), intake, login="ann")
        app = Starlette(routes=pages.routes())
        return TestClient(app, "http://localhost:8080", follow_redirects=False, client=(peer, 50_000))

    return open_


@pytest.fixture
def client(open_pages: Open) -> TestClient:
    """As on a laptop: loopback, nobody signs in."""
    return open_pages()
