"""`docs/connect-alerts.md`, done as it is written, where the other side can be had."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.intake.site import serving
from alert_assets_tests.intake.test_prometheus import ALERTMANAGER, free_port, process, until

if TYPE_CHECKING:
    from alert_assets_tests.intake.site import Site

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
