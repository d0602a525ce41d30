"""The figures of :mod:`alert_assets.observe.metrics` for StatsD and DogStatsD, once a run and once a minute.

What Prometheus works out of totals, StatsD is told: how much was added. What has been said is a row of the state
database, so that runs, `stream` and `serve` together say everything once. A total that falls, because rows expired,
adds nothing.

Sending waits for nobody. Where no address is found within a second, what was added is said the next time; what is lost
on the way, or finds a socket that nobody reads, is lost, as it is with UDP.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from sqlalchemy import select

from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import one_line
from alert_assets.logs import run_log
from alert_assets.observe.metrics import PREFIX, Metrics
from alert_assets.state.database import State, upsert
from alert_assets.state.tables import lookouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from prometheus_client import Metric

    from alert_assets.settings import Settings

Dialect = Literal["statsd", "dogstatsd"]

#: How often a process that stays sends.
TICK_SECONDS = 60.0

#: Row of `lookouts` with the totals that have been said.
_SAID = "statsd"
_PORT = 8125
_PATIENCE_SECONDS = 1.0
#: What passes most networks in one piece; a socket of this host takes more.
_PACKET_BYTES = 1_432
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Figure:
    """How a family of metrics is said.

    Attributes:
        name: StatsD's; a label in braces becomes part of it.
        kind: gauge: the value; count: what was added; added: the same as a gauge; duration: of a run, in seconds, once.
        tags: tag by label. Plain StatsD has the values of the tags, in this order, as further parts of the name.
        of_process: counted since this process began, and not in the state database or the lake.
    """

    name: str
    kind: Literal["gauge", "count", "added", "duration"]
    tags: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    of_process: bool = False


#: By the family's name in Prometheus, without the prefix.
FIGURES = {
    "pipeline_runs": Figure("pipeline.runs", "count", {"job": "pipeline", "status": "status"}),
    "pipeline_run_duration_seconds": Figure("pipeline.duration", "duration", {"job": "pipeline", "status": "status"}),
    "pipeline_status": Figure("pipeline.status", "gauge", {"job": "pipeline"}),
    "run_cost_usd": Figure("pipeline.estimated_cost_usd", "added", {"job": "pipeline"}),
    "quality_score": Figure("dq.{dimension}_score", "gauge", {"table": "table"}),
    "table_freshness_seconds": Figure("data.freshness_hours", "gauge", {"table": "table"}, scale=1 / 3600),
    "table_rows": Figure("table.row_count", "gauge", {"table": "table"}),
    "slo_budget_remaining_ratio": Figure("slo.budget_remaining_ratio", "gauge", {"slo": "slo"}),
    "slo_burn_rate": Figure("slo.burn_rate", "gauge", {"slo": "slo", "window": "window"}),
    "breaker_state": Figure("breaker.state", "gauge", {"breaker": "breaker", "state": "state"}),
    "problems_open": Figure("problems.open", "gauge", {"severity": "severity"}),
    "events": Figure("events.count", "count", {"event_type": "event_type", "source": "source"}),
    "quarantined": Figure("quarantined.count", "count", {"reason": "reason"}),
    "notifications": Figure("notifications.count", "count", {"channel": "channel", "outcome": "outcome"}),
    "intake_requests": Figure("intake.requests", "count", {"sender": "sender", "code": "code"}, of_process=True),
}
#: Buckets are Prometheus' own; what a message took is in `landed_to_notified` of table pipeline_latency.
NOT_SAID = ("landed_to_notified_seconds",)


@dataclass(frozen=True)
class Line:
    """One thing that is said."""

    name: str
    kind: Literal["gauge", "count", "duration"]
    value: float
    tags: Mapping[str, str]

    def spelt(self, dialect: Dialect) -> list[str]:
        """Return it as the protocol has it."""
        if dialect == "dogstatsd":
            tags = ",".join(f"{name}:{_tag(value)}" for name, value in self.tags.items())
            sign = {"gauge": "g", "count": "c", "duration": "h"}[self.kind]
            return [f"{self.name}:{_number(self.value)}|{sign}" + (f"|#{tags}" if tags else "")]
        name = ".".join([self.name, *map(_part, self.tags.values())])
        if self.kind == "duration":
            return [f"{name}:{_number(1_000 * self.value)}|ms"]
        if self.kind == "count":
            return [f"{name}:{_number(self.value)}|c"]
        # With a sign a gauge is changed by so much, not set.
        return [*([f"{name}:0|g"] if self.value < 0 else []), f"{name}:{_number(self.value)}|g"]


class Statsd:
    """Sends the figures of one lake and state database to the place that the settings name."""

    def __init__(
        self,
        settings: Settings,
        requests: Callable[[], Mapping[tuple[str, int], int]] = dict,
        *,
        clock: Callable[[], datetime] = utc_now,
        resolve: Callable[..., Any] = socket.getaddrinfo,
    ) -> None:
        """Read and send nothing yet.

        Args:
            requests: how many requests of a sender this process has answered with a status.
            resolve: asked for the addresses of a host.
        """
        address = urlsplit(settings.statsd_url)
        self.dialect: Dialect = "dogstatsd" if address.scheme == "dogstatsd" else "statsd"
        self._host, self._port, self._path = address.hostname, address.port or _PORT, address.path
        self._resolve = resolve
        self._metrics, self._state = Metrics(settings, requests, clock), State(settings.state_url)
        self._said_by_process: Counter[str] = Counter()

    def begin(self) -> None:
        """Take what was counted before anything was ever sent as said."""
        with self._state.reading() as connection:
            if connection.scalar(select(lookouts.c.name).where(lookouts.c.name == _SAID)):
                return
        self._added(_totals(self._families()))

    def send(self) -> str | None:
        """Send every figure; return why it could not be, None if it was, as far as one is told.

        Raises:
            DeltaError, UserError: the lake or the state database cannot be read.
        """
        families = self._families()
        opened = self._open()
        if not isinstance(opened, socket.socket):
            return opened
        said = lines(families, self._added(_totals(families)))
        with opened:
            try:
                for packet in packets(text for line in said for text in line.spelt(self.dialect)):
                    opened.send(packet)
            except BlockingIOError:
                return "what listens there does not read"
            except OSError as error:
                return one_line(str(error), 200)
        return None

    def every(self, seconds: float, stop: Event, failed: Callable[[str], None]) -> None:
        """Send until `stop` is set, and then once more; each problem is for `failed`, once in a row."""
        before = None
        is_last = False
        while not is_last:
            is_last = stop.wait(seconds)
            try:
                problem = self.send()
            except Exception as error:  # noqa: BLE001  the next time may do
                problem = one_line(str(error), 500)
            if problem and problem != before:
                failed(problem)
            before = problem

    def _families(self) -> dict[str, Metric]:
        return {family.name.removeprefix(PREFIX): family for family in self._metrics.collect()}

    def _added(self, totals: dict[str, float]) -> dict[str, float]:
        """Return what was added to each total since it was last said, and take the totals as said."""
        of_process = {key: total for key, total in totals.items() if FIGURES[key.split(_SEPARATOR)[0]].of_process}
        kept = {key: total for key, total in totals.items() if key not in of_process}
        row = {"name": _SAID, "cursor": kept}
        with self._state.writing() as connection:
            before = connection.scalar(select(lookouts.c.cursor).where(lookouts.c.name == _SAID))
            statement = upsert(connection, lookouts).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
        added = {key: total - (before.get(key, 0) if before is not None else total) for key, total in kept.items()}
        added |= {key: total - self._said_by_process[key] for key, total in of_process.items()}
        self._said_by_process.update({key: added[key] for key in of_process})
        return {key: more for key, more in added.items() if more > 0}

    def _open(self) -> socket.socket | str:
        """Return a socket that does not wait, or why there is none."""
        found: list[socket.socket | str] = []

        def connect() -> None:
            try:
                found.append(self._connected())
            except OSError as error:
                found.append(one_line(str(error), 200))

        # There is no time limit for resolving a name: a thread is left behind that ends with the process.
        thread = Thread(target=connect, name="alert-assets-statsd", daemon=True)
        thread.start()
        thread.join(_PATIENCE_SECONDS)
        return found[0] if found else f"{self._host or self._path} does not answer in {_PATIENCE_SECONDS:.0f} s"

    def _connected(self) -> socket.socket:
        if self._host is None:
            family, address = socket.AF_UNIX, self._path
        else:
            family, _, _, _, address = self._resolve(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.connect(address)
        except OSError:
            opened.close()
            raise
        return opened


class RunFigures:
    """Sends the figures when a run has ended and is recorded."""

    def __init__(self, settings: Settings, run_id: str, _job: str) -> None:
        """Keep the arguments; nothing is read."""
        self._statsd, self._run_id = Statsd(settings), run_id

    def begin(self) -> None:
        """Take what was counted before anything was ever sent as said."""
        self._statsd.begin()

    def see(self, plan_context: Any, event: object) -> None:
        """Wait for the end."""

    def end(self, _error: BaseException | None) -> None:
        """Send."""
        if problem := self._statsd.send():
            run_log(self._run_id).warning("statsd_not_sent", problem=problem)


def lines(families: Mapping[str, Metric], added: Mapping[str, float]) -> Iterator[Line]:
    """Return what is to be said of the families that FIGURES has.

    Args:
        added: what was added to totals, by :func:`_key`.
    """
    jobs = {key.split(_SEPARATOR)[1] for key in added if key.startswith(f"pipeline_runs{_SEPARATOR}")}
    status = {
        sample.labels["job"]: "success" if sample.value else "failure" for sample in families["pipeline_status"].samples
    }
    for name, family in families.items():
        if (figure := FIGURES.get(name)) is None:
            continue
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            if figure.kind in ("count", "added"):
                value = added.get(_key(name, labels), 0)
            if figure.kind == "duration":
                labels = {**labels, "status": status[labels["job"]]}
            if (figure.kind == "duration" and labels["job"] not in jobs) or (
                figure.kind in ("count", "added") and not value
            ):
                continue
            kind = "gauge" if figure.kind == "added" else figure.kind
            tags = {tag: labels[label] for label, tag in figure.tags.items()}
            yield Line(figure.name.format_map(labels), kind, value * figure.scale, tags)


def packets(texts: Iterable[str], size: int = _PACKET_BYTES) -> Iterator[bytes]:
    """Join lines into packets of at most so many bytes."""
    packet = b""
    for text in texts:
        line = text.encode()
        if packet and len(packet) + 1 + len(line) > size:
            yield packet
            packet = b""
        packet += b"\n" + line if packet else line
    if packet:
        yield packet


def _totals(families: Mapping[str, Metric]) -> dict[str, float]:
    return {
        _key(name, sample.labels): sample.value
        for name, family in families.items()
        if name in FIGURES and FIGURES[name].kind in ("count", "added")
        for sample in family.samples
    }


def _key(name: str, labels: Mapping[str, str]) -> str:
    return _SEPARATOR.join([name, *labels.values()])


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _tag(value: str) -> str:
    return re.sub(r"[\s,|#]", "_", value) or "none"


def _part(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", value) or "none"
