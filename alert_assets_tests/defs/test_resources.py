"""Bad settings in a real `dagster dev`: it goes on, and its UI shows the message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.support.dagster_site import DagsterDev, Site, kill

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENTRIES = """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
    __typename ... on PythonError { message errorChain { error { message } } }
} } } } }"""


def test_the_ui_shows_the_message(tmp_path: Path) -> None:
    dev = DagsterDev(Site(tmp_path, ALERTS_DEDUP_WINDOW_MINUTES="0"))

    def look() -> dict[str, Any] | None:
        entries = dev.ask(ENTRIES)["workspaceOrError"].get("locationEntries", [])
        return next((entry["locationOrLoadError"] for entry in entries if entry["locationOrLoadError"]), None)

    try:
        shown = dev.await_(look, "error of the code location")
        assert shown["__typename"] == "PythonError"
        told = [shown["message"], *(link["error"]["message"] for link in shown["errorChain"])]
        assert any(
            "The settings cannot be used:\n  ALERTS_DEDUP_WINDOW_MINUTES='0': Input should" in text for text in told
        )
        assert dev.process.poll() is None
    finally:
        dev.stop()
        kill(dev.process)
