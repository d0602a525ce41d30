from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.analysis.fake_model import FakeModel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_proxy_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


def _running_model() -> Iterator[FakeModel]:
    model = FakeModel()
    server = model.start()
    yield model
    model.over.set()
    server.shutdown()
    server.server_close()


model = pytest.fixture(_running_model, name="model")
other_model = pytest.fixture(_running_model, name="other_model")
