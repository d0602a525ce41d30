"""A failed run in a real `dagster dev` reaches a real web server, once, and a real terminal takes it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alert_assets_tests.support.dagster_site import DagsterDev, Site, kill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LAUNCHERS = "alert_assets_tests.breaker.launchers"

Posts = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def posts() -> Posts:
    """Idempotency keys and bodies."""
    return []


@pytest.fixture
def port(posts: Posts) -> Iterator[int]:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            # The first answer is an error: the delivery is tried again with the same key.
            self.send_response(503 if not posts else 200)
            posts.append((self.headers["Idempotency-Key"], body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def dev(tmp_path: Path, port: int) -> Iterator[DagsterDev]:
    (tmp_path / "routing.yaml").write_text("routes:\n  - {name: everything, add: {webhook: []}}\n")
    site = Site(
        tmp_path,
        ALERTS_WEBHOOK_URL=f"http://127.0.0.1:{port}/hook",
        ALERTS_WEBHOOK_SECRET="a-secret-of-the-tests",
        ALERTS_ALLOWED_HOSTS="127.0.0.1",
        ALERTS_ROUTING_FILE=str(tmp_path / "routing.yaml"),
    )
    workspace = {"load_from": [{"python_module": {"module_name": LAUNCHERS, "working_directory": "."}}]}
    (site.folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    site.command("breaker", "open", "pipeline", "--why", "the tests need no Spark", "--who", "ann")
    dev = DagsterDev(site, LAUNCHERS)
    try:
        dev.await_loaded()
        yield dev
    finally:
        kill(dev.process)


def test_a_failed_run_is_told_once_and_acknowledged_from_a_terminal(dev: DagsterDev, posts: Posts) -> None:
    run_id = dev.fail(dev.launch("breaks_down"))["runId"]

    def opened() -> list[tuple[str, dict[str, Any]]]:
        return [(key, post) for key, post in posts if post["action"] == "open" and run_id in json.dumps(post)]

    dev.await_(lambda: len(opened()) >= 1, "notification of the run")
    episode = opened()[0][1]["episode"]
    site = dev.site
    site.command("alerts", "acknowledge", episode, "--why", "looking at it", "--who", "bob")
    dev.await_(
        lambda: [post for _, post in posts if (post["action"], post["episode"]) == ("acknowledge", episode)],
        "notification of the acknowledgement",
    )
    # Per key the service has been told once, or tried again with the same body.
    by_key: dict[str, set[str]] = {}
    for key, post in posts:
        by_key.setdefault(key, set()).add(post["action"])
    assert all(len(actions) == 1 for actions in by_key.values())
    assert len({key for key, post in posts if (post["action"], post["episode"]) == ("open", episode)}) == 1
    assert "breaks_down" in site.command("alerts")
    assert "acknowledge" in site.command("audit")
