"""Names of this machine, and those that only somebody's DNS leads here."""

from __future__ import annotations

import pytest

from alert_assets.kernel.hosts import is_local

URL = "https://alerts.example.com:8443/pages"


@pytest.mark.parametrize(
    "authority",
    ["localhost", "LocalHost:8080", "localhost.", "127.0.0.1:1", "127.1.2.3", "[::1]:8080", "alerts.example.com"],
)
def test_local(authority: str) -> None:
    assert is_local(authority, URL)


@pytest.mark.parametrize(
    "authority",
    [
        "",
        "rebound.example",
        "127.0.0.1.example",
        "localhost.example",
        "10.0.0.1",
        "0.0.0.0",
        "[",
        "[::2]",
        "a@b",
        "::1",
    ],
)
def test_not_local(authority: str) -> None:
    assert not is_local(authority, URL)
    assert not is_local(authority)
