"""`docs/connect-alerts.md`, done as it is written.

Alertmanager and OpenTelemetry are the real ones. Nobody has an account at the others here: there the texts to paste are
filled in as the service documents that it fills them in, and sent as it sends.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from alert_assets_tests.intake.site import serving
from alert_assets_tests.intake.test_prometheus import ALERTMANAGER, free_port, process, until

if TYPE_CHECKING:
    from alert_assets_tests.intake.site import Site

#: What a reader puts where the texts say TOKEN and SECRET.
SECRET = "correct-horse"
DOCUMENT = Path(__file__).parents[2] / "docs" / "connect-alerts.md"


def blocks(title: str, site: Site, alertmanager_port: int = 0) -> list[str]:
    """The texts to paste of a part, with the ports of the tests."""
    part = DOCUMENT.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    texts = re.findall(r"```(?:yaml)?\n(.*?)```", part, re.DOTALL)
    assert texts
    return [
        text.replace("http://127.0.0.1:8080", site.url).replace("127.0.0.1:9093", f"127.0.0.1:{alertmanager_port}")
        for text in texts
    ]


@pytest.mark.slow
@pytest.mark.skipif(not (ALERTMANAGER and shutil.which("curl")), reason="prometheus-alertmanager and curl are needed")
def test_alertmanager(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "data") as site:
        config, curl = blocks("Alertmanager", site, port)
        (tmp_path / "alertmanager.yml").write_text(config)
        command = (
            str(ALERTMANAGER),
            f"--config.file={tmp_path}/alertmanager.yml",
            f"--storage.path={tmp_path}/alertmanager",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        )
        with process(*command, log=tmp_path / "alertmanager.log"):
            ready = ("curl", "-sf", f"http://127.0.0.1:{port}/-/ready")
            until(lambda: subprocess.run(ready, capture_output=True).returncode == 0, "Alertmanager does not start")
            subprocess.run(["bash", "-c", curl], check=True, env={**os.environ, "no_proxy": "127.0.0.1"})
            [event] = until(lambda: site.landed, "no alert arrived")
    assert (event["alert_type"], event["application_id"], event["severity"]) == ("Test", "shop", "MEDIUM")
    assert event["status"] == "firing"


SENDS = """
import logging
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
provider = LoggerProvider()
provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
log = logging.getLogger("shop")
log.addHandler(LoggingHandler(logger_provider=provider))
log.error("payment failed")
provider.shutdown()
"""


def test_opentelemetry_by_its_variables(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as site:
        [exports] = blocks("OpenTelemetry", site)
        variables = {"OTEL_SERVICE_NAME": "checkout", "no_proxy": "127.0.0.1", "PROGRAM": SENDS}
        script = f'{exports}\nexec "{sys.executable}" -c "$PROGRAM"'
        subprocess.run(["bash", "-c", script], check=True, env={**os.environ, **variables})
    [event] = site.landed
    assert (event["event_type"], event["application_id"], event["message"]) == ("log", "checkout", "payment failed")


def shown(sender: str) -> str:
    """What `alert-assets senders show` says to paste."""
    command = [sys.executable, "-m", "alert_assets.cli", "senders", "show", sender]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_datadog_fills_in_the_payload_to_paste(tmp_path: Path) -> None:
    template = re.search(r"^\{\n.*?^\}$", shown("datadog"), re.DOTALL | re.MULTILINE)
    assert template
    filled = {
        "$ALERT_CYCLE_KEY": "4711",
        "$ALERT_ID": "12",
        "$ALERT_TITLE": "Checkout is slow",
        "$ALERT_TRANSITION": "Triggered",
        "$ALERT_TYPE": "error",
        "$ALERT_PRIORITY": "P2",
        "$ALERT_SCOPE": "service:checkout,env:prod",
        "$ALERT_METRIC": "trace.http.request.duration",
        "$HOSTNAME": "web-1",
        "$TAGS": "env:prod,service:checkout",
        "$TEXT_ONLY_MSG": "p95 is above 500 ms @webhook-alert-assets",
        "$DATE": "1771063632000",
        "$LINK": "https://app.datadoghq.eu/monitors/12",
        "$ID": "65536",
    }
    body = template[0]
    for name, value in filled.items():
        body = body.replace(name, value)
    assert "$" not in body
    with serving(tmp_path / "data", ALERTS_INTAKE_TOKENS=f"datadog={SECRET}") as site:
        url = f"{site.url}/intake/datadog"
        assert httpx.post(url, content=body).status_code == 401
        header = shown("datadog").split("Custom headers: ")[1].splitlines()[0]
        headers = json.loads(header.replace("TOKEN", SECRET))
        assert httpx.post(url, content=body, headers=headers).status_code == 202
        [event] = site.landed
    assert (event["application_id"], event["host"], event["severity"]) == ("checkout", "web-1", "HIGH")
    assert (event["alert_type"], event["status"]) == ("Checkout is slow", "firing")


def test_github_signs_with_the_secret_of_the_setting(tmp_path: Path) -> None:
    [setting] = re.findall(r"ALERTS_INTAKE_SECRETS=(github=\S+)", shown("github"))
    assert f"`ALERTS_INTAKE_SECRETS={setting}`" in DOCUMENT.read_text("utf-8")
    setting = setting.replace("SECRET", SECRET)
    deployed = {
        "action": "created",
        "deployment_status": {"id": 1, "state": "success", "created_at": "2026-02-14T10:02:53Z"},
        "deployment": {"id": 7, "sha": "f95f852b", "ref": "v1.4.2", "environment": "production"},
        "repository": {"name": "checkout", "full_name": "acme/checkout"},
    }
    body = json.dumps(deployed).encode()
    mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    with serving(tmp_path / "data", ALERTS_INTAKE_SECRETS=setting) as site:
        url = f"{site.url}/intake/github"
        headers = {"X-GitHub-Event": "deployment_status", "X-Hub-Signature-256": f"sha256={mac}"}
        assert httpx.post(url, content=body).status_code == 403
        assert httpx.post(url, content=body + b" ", headers=headers).status_code == 403
        assert httpx.post(url, content=body, headers=headers).status_code == 202
        ping = b'{"zen": "Keep it logically awesome.", "hook_id": 1}'
        mac = hmac.new(SECRET.encode(), ping, hashlib.sha256).hexdigest()
        headers = {"X-GitHub-Event": "ping", "X-Hub-Signature-256": f"sha256={mac}"}
        assert httpx.post(url, content=ping, headers=headers).is_success
        [event] = site.landed
    assert (event["event_type"], event["application_id"]) == ("deployment", "checkout")
    assert event["version"] == "v1.4.2@f95f852b"


def test_grafana_as_its_button_test_sends(tmp_path: Path) -> None:
    moment = "2026-02-14T10:06:40Z"
    alert = {
        "status": "firing",
        "labels": {"alertname": "TestAlert", "instance": "Grafana"},
        "annotations": {"summary": "Notification test"},
        "startsAt": moment,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "57c6d9296de2ad39",
        "silenceURL": "http://localhost:3000/alerting/silence/new",
        "dashboardURL": "",
        "panelURL": "",
        "values": None,
        "valueString": "[ metric='foo' labels={instance=bar} value=10 ]",
    }
    body = {"receiver": "", "status": "firing", "orgId": 1, "alerts": [alert], "version": "1", "truncatedAlerts": 0}
    [path] = re.findall(r"http://127\.0\.0\.1:8080(/intake/grafana)`", DOCUMENT.read_text("utf-8"))
    with serving(tmp_path / "data") as site:
        assert httpx.post(f"{site.url}{path}", json=body).status_code == 202
        [event] = site.landed
    assert (event["alert_type"], event["host"], event["status"]) == ("TestAlert", "Grafana", "firing")
