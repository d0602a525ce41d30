"""Figures as StatsD and DogStatsD get them: over real sockets, and from a run by the real command."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.observe.metrics import PREFIX, Metrics
from alert_assets.observe.statsd import FIGURES, NOT_SAID, Line, Statsd, lines, packets
from alert_assets.observe.watching import figures_sent
from alert_assets_tests.checks.lake import T0, line
from alert_assets_tests.commands.lake import event, write
from alert_assets_tests.intake.site import serving
from alert_assets_tests.stream.test_resident import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from alert_assets.settings import Settings


class Server:
    """A UDP port that keeps what it is sent."""

    def __init__(self, bound: socket.socket) -> None:
        self._bound = bound
        self.port = bound.getsockname()[1]

    def await_(self, *lines: str) -> list[str]:
        """What comes until each of these lines has come, in order."""
        self._bound.settimeout(30)
        found: list[str] = []
        while not set(lines) <= set(found):
            found += self._bound.recv(65_536).decode().split("\n")
        return found

    def lines(self) -> set[str]:
        """What has come since the last time; it is there when the sender has sent it."""
        self._bound.setblocking(False)
        found: list[str] = []
        while True:
            try:
                found += self._bound.recv(65_536).decode().split("\n")
            except BlockingIOError:
                return set(found)


@contextmanager
def listening() -> Iterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        bound.bind(("127.0.0.1", 0))
        yield Server(bound)


def of(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"statsd_url": url})


def test_every_family_is_said_or_known_not_to_be(settings: Settings) -> None:
    for family in Metrics(settings).collect():
        name = family.name.removeprefix(PREFIX)
        if name in NOT_SAID:
            continue
        figure = FIGURES[name]
        labels = set(vars(family)["_labelnames"])
        in_name = set(re.findall(r"\{(\w+)\}", figure.name))
        assert {*figure.tags, *in_name} - {"status"} == labels - {"status"}, name


@pytest.mark.parametrize(
    ("line", "dogstatsd", "statsd"),
    [
        (
            Line("pipeline.runs", "count", 2, {"pipeline": "a.b", "status": "success"}),
            ["pipeline.runs:2|c|#pipeline:a.b,status:success"],
            ["pipeline.runs.a_b.success:2|c"],
        ),
        (
            Line("pipeline.duration", "duration", 1.5, {"pipeline": "x"}),
            ["pipeline.duration:1.5|h|#pipeline:x"],
            ["pipeline.duration.x:1500|ms"],
        ),
        (
            Line("slo.budget_remaining_ratio", "gauge", -0.25, {"slo": "s"}),
            ["slo.budget_remaining_ratio:-0.25|g|#slo:s"],
            ["slo.budget_remaining_ratio.s:0|g", "slo.budget_remaining_ratio.s:-0.25|g"],
        ),
        (
            Line("events.count", "count", 3, {"event_type": "log", "source": "a|b,\nc#d:e"}),
            ["events.count:3|c|#event_type:log,source:a_b__c_d:e"],
            ["events.count.log.a_b__c_d_e:3|c"],
        ),
        (
            Line("events.count", "count", 1, {"event_type": "log", "source": ""}),
            ["events.count:1|c|#event_type:log,source:none"],
            ["events.count.log.none:1|c"],
        ),
        (Line("x", "gauge", 0.0000001, {}), ["x:0|g"], ["x:0|g"]),
    ],
)
def test_protocols(line: Line, dogstatsd: list[str], statsd: list[str]) -> None:
    assert line.spelt("dogstatsd") == dogstatsd
    assert line.spelt("statsd") == statsd


def test_the_cost_of_what_ran_since_is_a_gauge() -> None:
    cost = CounterMetricFamily("alert_assets_run_cost_usd", "", labels=["job"])
    cost.add_metric(["nightly"], 12.5)
    cost.add_metric(["idle"], 3.0)
    families: dict[str, Metric] = {"run_cost_usd": cost, "pipeline_status": GaugeMetricFamily("x", "", labels=["job"])}
    [line] = lines(families, {"run_cost_usd\x1fnightly": 0.75})
    assert line == Line("pipeline.estimated_cost_usd", "gauge", 0.75, {"pipeline": "nightly"})


def test_packets_hold_whole_lines() -> None:
    texts = [f"name.{number}:1|c" for number in range(200)] + ["x" * 2_000]
    found = list(packets(texts, 500))
    assert [text for packet in found for text in packet.decode().split("\n")] == texts
    assert all(len(packet) <= 500 for packet in found[:-1])


def test_counts_are_what_was_added_whoever_sends(settings: Settings) -> None:
    write(settings, BRONZE_EVENTS, event(1), event(2))
    with listening() as server:
        settings = of(settings, f"dogstatsd://127.0.0.1:{server.port}")
        Statsd(settings).begin()
        write(settings, BRONZE_EVENTS, *map(event, range(1, 6)))
        assert Statsd(settings).send() is None
        first = server.lines()
        assert Statsd(settings).send() is None
        second = server.lines()
    [counted] = [line for line in first if line.startswith("events.count")]
    assert counted.startswith("events.count:3|c|#event_type:")
    assert not [line for line in second if line.startswith("events.count")]
    for said in (first, second):
        assert "table.row_count:5|g|#table:bronze_events" in said
        assert "problems.open:0|g|#severity:CRITICAL" in said


def test_what_is_on_the_first_day_is_no_peak(settings: Settings) -> None:
    write(settings, BRONZE_EVENTS, event(1), event(2))
    with listening() as server:
        Statsd(of(settings, f"statsd://127.0.0.1:{server.port}")).send()
        said = server.lines()
    assert "table.row_count.bronze_events:2|g" in said
    assert not [line for line in said if line.startswith("events.count")]


def test_requests_are_those_of_the_process(settings: Settings) -> None:
    requests = {("grafana", 202): 2}
    with listening() as server:
        settings = of(settings, f"dogstatsd://127.0.0.1:{server.port}")
        one = Statsd(settings, lambda: requests)
        one.send()
        assert "intake.requests:2|c|#sender:grafana,code:202" in server.lines()
        requests["grafana", 202] = 5
        one.send()
        assert "intake.requests:3|c|#sender:grafana,code:202" in server.lines()
        Statsd(settings, lambda: {("grafana", 202): 1}).send()
        assert "intake.requests:1|c|#sender:grafana,code:202" in server.lines()


def test_serve_sends_its_requests(tmp_path: Path) -> None:
    """The rest of a minute when it ends."""
    with listening() as server:
        with serving(tmp_path / "data", ALERTS_STATSD_URL=f"dogstatsd://127.0.0.1:{server.port}") as site:
            httpx.post(f"{site.url}/intake/events", content=b'{"event_id": "e"}')
        assert "intake.requests:1|c|#sender:events,code:202" in server.lines()


def test_the_resident_process_says_at_each_tick_what_has_come_since(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `stream` works, with ticks that are shorter than a minute."""
    monkeypatch.setattr("alert_assets.observe.statsd.TICK_SECONDS", 0.2)
    write(settings, BRONZE_EVENTS, event(0))
    said: list[str] = []

    def land(name: str, *numbers: int) -> None:
        lines = [line(f"{name}-{number}", T0, source="agent") for number in numbers]
        (Path(settings.landing_dir) / f".{name}").write_bytes(b"\n".join(lines) + b"\n")
        (Path(settings.landing_dir) / f".{name}").rename(Path(settings.landing_dir) / f"{name}.jsonl")

    with listening() as server:
        settings = of(settings, f"dogstatsd://127.0.0.1:{server.port}")
        settings = settings.model_copy(update={"landing_engine": "arrow", "refresh_engine": "arrow"})
        with figures_sent(settings, said.append), Running(settings):
            heard = server.await_("table.row_count:1|g|#table:bronze_events")
            land("first", 1, 2)
            heard += server.await_("table.row_count:3|g|#table:bronze_events")
            land("second", 3, 4, 5)
            heard += server.await_("table.row_count:6|g|#table:bronze_events")
        heard += server.lines()
    assert said == []
    counts = [one for one in heard if one.startswith("events.count")]
    tags = "event_type:log,source:agent"
    assert counts == [f"events.count:2|c|#{tags}", f"events.count:3|c|#{tags}"], "each once"


def test_a_process_that_stays_says_each_problem_once(settings: Settings) -> None:
    problems: list[str] = []
    stop = threading.Event()
    statsd = Statsd(of(settings, "statsd://no-such-host.invalid"), resolve=refuse_twice(stop))
    statsd.every(0.001, stop, problems.append)
    assert problems == ["refused"]


def refuse_twice(stop: threading.Event) -> Callable[..., Any]:
    """A resolver that knows no name, after the second look of which it ends."""
    looks: list[int] = []

    def resolve(*_: Any, **__: Any) -> Any:
        looks.append(1)
        if len(looks) == 2:
            stop.set()
        raise OSError("refused")

    return resolve


def test_a_socket_of_this_host(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "dsd.socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(path))
        assert Statsd(of(settings, f"dogstatsd://{path}")).send() is None
        assert b"problems.open:0|g|#severity:CRITICAL" in bound.recv(65_536)


def test_nobody_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    write(settings, BRONZE_EVENTS, event(1))
    asleep = threading.Event()

    def resolve(*_: Any, **__: Any) -> Any:
        asleep.wait(60)
        raise OSError

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        nobody = bound.getsockname()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(tmp_path / "full"))
        hangs = Statsd(of(settings, f"dogstatsd://{tmp_path}/full"))
        began = time.monotonic()
        for _ in range(2):
            assert Statsd(of(settings, f"statsd://127.0.0.1:{nobody}")).send() in (
                None,
                "[Errno 111] Connection refused",
            )
        assert "No such file" in str(Statsd(of(settings, f"dogstatsd://{tmp_path}/none")).send())
        assert "not known" in str(Statsd(of(settings, "statsd://no-such-host.invalid")).send())
        assert "does not answer" in str(Statsd(of(settings, "statsd://sleeps.example"), resolve=resolve).send())
        found = [hangs.send() for _ in range(12)]
        assert found[-1] == "what listens there does not read"
        assert time.monotonic() - began < 10
    asleep.set()


def test_what_finds_no_address_is_said_the_next_time(settings: Settings) -> None:
    with listening() as server:
        there = of(settings, f"dogstatsd://127.0.0.1:{server.port}")
        Statsd(there).begin()
        write(settings, BRONZE_EVENTS, event(1))
        assert Statsd(of(settings, "dogstatsd://no-such-host.invalid")).send()
        Statsd(there).send()
        assert [line for line in server.lines() if line.startswith("events.count:1|c")]
