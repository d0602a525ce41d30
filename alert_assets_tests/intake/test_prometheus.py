"""Debian's Prometheus and Alertmanager, as they are: an alert of theirs arrives, also when we were away meanwhile."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
import yaml

from alert_assets.intake.senders.registry import SENDERS
from alert_assets_tests.intake.site import start
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.support.stream import Stream

PROMETHEUS, ALERTMANAGER = shutil.which("prometheus"), shutil.which("prometheus-alertmanager")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PROMETHEUS and ALERTMANAGER), reason="prometheus and prometheus-alertmanager are needed"),
]

RULES = """\
groups:
  - name: shop
    rules:
      - alert: ShopErrors
        expr: shop_errors > 2
        labels: {severity: page, service: shop}
        annotations: {summary: "{{ $value }} errors", value: "{{ $value }}"}
      - alert: Watchdog
        expr: vector(1)
"""


class Shop:
    """Something that Prometheus scrapes."""

    def __init__(self):
        shop = self
        self.errors = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = f"shop_errors {shop.errors}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format, *args):
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_port}"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def process(*command, log):
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as running:
        try:
            yield running
        finally:
            running.terminate()


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


@pytest.fixture
def world(tmp_path):
    """Prometheus, Alertmanager and what they watch; our server's port, on which nothing listens yet."""
    shop, ours, theirs, own = Shop(), free_port(), free_port(), free_port()
    setup = SENDERS["alertmanager"].setup
    config = yaml.safe_load(setup.replace("{url}", f"http://127.0.0.1:{ours}/intake/alertmanager"))
    # As it is pasted, but in a hurry, and without a token.
    del config["receivers"][0]["webhook_configs"][0]["http_config"]
    config["route"].update(group_wait="0s", group_interval="1s")
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(tmp_path / "rules.yml")],
                "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{theirs}"]}]}]},
                "scrape_configs": [{"job_name": "shop-pods", "static_configs": [{"targets": [shop.address]}]}],
            }
        )
    )
    alertmanager = (
        ALERTMANAGER,
        f"--config.file={tmp_path}/alertmanager.yml",
        f"--storage.path={tmp_path}/alertmanager",
        f"--web.listen-address=127.0.0.1:{theirs}",
        "--cluster.listen-address=",
    )
    prometheus = (
        PROMETHEUS,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/prometheus",
        f"--web.listen-address=127.0.0.1:{own}",
    )
    with process(*alertmanager, log=tmp_path / "a.log"), process(*prometheus, log=tmp_path / "p.log"):
        yield shop, ours, own
    shop.server.shutdown()


def test_an_alert_fires_arrives_and_resolves_with_us_away_in_the_middle(world, tmp_path):
    shop, port, prometheus = world

    def firing():
        try:
            found = httpx.get(f"http://127.0.0.1:{prometheus}/api/v1/alerts").json()["data"]["alerts"]
        except httpx.HTTPError:
            return None
        return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}

    until(lambda: firing() == {"Watchdog"}, "the rules are evaluated")
    # It fires while nobody listens: Alertmanager tries again.
    shop.errors = 7
    until(lambda: "ShopErrors" in (firing() or ()), "the alert fires")
    time.sleep(2)
    site = start(tmp_path / "data", port)
    opened = until(lambda: site.landed, "the alert arrives")[0]
    assert (opened["alert_type"], opened["status"], opened["severity"]) == ("ShopErrors", "firing", "CRITICAL")
    assert (opened["application_id"], opened["host"], opened["current_value"]) == ("shop", "127.0.0.1", 7)
    assert opened["labels"]["job"] == "shop-pods"
    # It resolves while nobody listens.
    site.stop()
    shop.errors = 0
    until(lambda: firing() == {"Watchdog"}, "the alert resolves")
    time.sleep(2)
    site = start(tmp_path / "data", port)
    try:
        over = until(lambda: [event for event in site.landed if event["status"] == "resolved"], "it is over")[0]
    finally:
        site.stop()
    assert over["labels"]["fingerprint"] == opened["labels"]["fingerprint"]
    assert over["timestamp"] >= opened["timestamp"]
    # Watchdog is no alert, and its sender is known to be alive.
    assert {event["alert_type"] for event in site.landed} == {"ShopErrors"}
    identities = [(event["event_id"], event["timestamp"]) for event in site.landed]
    assert len(set(identities)) == len(identities)


@pytest.mark.timeout(600)
def test_from_prometheus_to_the_pager_and_back(world, tmp_path):
    shop, port, _ = world

    def heard():
        messages = [request.json for request in service.requests]
        return [one["action"] for one in messages if one["alert"]["application"] == "shop"]

    with running() as service:
        hook = {"ALERTS_WEBHOOK_URL": f"{service.url}/hook", "ALERTS_WEBHOOK_SECRET": "a-secret-of-the-tests"}
        site = site_in(tmp_path / "site", ALERTS_ALLOWED_HOSTS="127.0.0.1", **hook)
        server = start(site.settings.data_dir, port)
        try:
            with Stream(site) as stream:
                shop.errors = 7
                until(lambda: heard() == ["open"], "it is notified", seconds=300)
                assert "ShopErrors" in site.command("incidents")
                assert "ShopErrors" in site.command("problems", "list")
                # It is over while nobody listens.
                server.stop()
                shop.errors = 0
                time.sleep(5)
                server = start(site.settings.data_dir, port)
                until(lambda: "resolve" in heard(), "it closes", seconds=120)
                assert "Stopped." in stream.end(signal.SIGTERM)
        finally:
            server.kill()
    assert heard() == ["open", "resolve"]
    [problem] = json.loads(site.command("problems", "list", "--json"))["problems"]
    assert (problem["state"], problem["applications"]) == ("resolved", ["shop"])
