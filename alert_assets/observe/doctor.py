"""Look at everything an installation stands on, and say of each part that is broken what to do about it.

Each check looks for itself: a broken one hides none of the others. Nothing is changed but by the looks that have to
write (the lake's probe file, a transaction that is rolled back). No JVM is started and no message is sent.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import one_line
from alert_assets.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alert_assets.notify.channels.settings import ChannelSettings
    from alert_assets.settings import Settings

#: Free space below which a cycle, with what compaction writes beside the old files, may not end.
MIN_FREE_GIB = 2.0

#: How far ahead of this host's clock something may be stamped that is there already.
_SKEW = timedelta(seconds=30)

#: How long a host is waited for.
_CONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Finding:
    """What was found out about one part.

    Attributes:
        part: what was looked at, e.g. `java`.
        status: `warning` is for what works, though not as one would want it.
        found: what is so, one line.
        remedy: what to do, one sentence; empty where all is well.
    """

    part: str
    status: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""


class _Broken(Exception):
    """A part is broken: what was found, and the remedy."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


class _Doubtful(_Broken):
    """A part works, though not as one would want it."""


def examine(*more_settings: Callable[[], object], min_free_gib: float = MIN_FREE_GIB) -> Iterator[Finding]:
    """Examine each part, in the order in which they need one another; without settings, only what needs none.

    `more_settings` read what is set for layers above this one.
    """
    yield _finding("python", "Install Python 3.11 to 3.13 and make the environment anew.", _python)
    yield _finding("packages", "Run `make venv`, or `pip install -r requirements-lock.txt`.", _packages)
    yield _finding("java", "Install Java 17 or newer, or set JAVA_HOME to one.", _java)
    settings: list[Settings] = []
    yield _finding(
        "settings", "Correct the variables in the environment or in .env.", lambda: _settings(settings, more_settings)
    )
    for found in settings:
        yield from (_finding(part, remedy, check, found) for part, remedy, check in _OF_SETTINGS)
        yield _finding("disk", "Make room, or move ALERTS_DATA_DIR to a larger disk.", _disk, found, min_free_gib)


def _finding(part: str, remedy: str, check: Callable[..., str], *arguments: object) -> Finding:
    """Return what a check says; `remedy` is for an error that names none of its own."""
    try:
        return Finding(part, "ok", check(*arguments))
    except _Broken as broken:
        return Finding(part, "warning" if isinstance(broken, _Doubtful) else "failed", broken.found, broken.remedy)
    except UserError as error:
        # Their messages end with the next step.
        return Finding(part, "failed", str(error), remedy)
    except Exception as error:  # noqa: BLE001
        return Finding(part, "failed", f"{type(error).__name__}: {one_line(str(error), 500)}", remedy)


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise _Broken(f"Python {version} at {sys.executable}", "Make the environment with Python 3.11, 3.12 or 3.13.")
    return f"{version}, {sys.executable}"


def _packages() -> str:
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in metadata.requires("alert-assets") or ()]
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [problem for one in needed if (problem := _wrong_package(one.name, one.specifier))]
    if wrong:
        raise _Broken("; ".join(wrong), "Install the versions of the lock: `pip install -r requirements-lock.txt`.")
    return f"{len(needed)} as pyproject.toml wants them"


def _wrong_package(name: str, allowed: object) -> str:
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    fits = SpecifierSet(str(allowed)).contains(version, prereleases=True)
    return "" if fits else f"{name} is {version}, wanted is {allowed}"


def _java() -> str:
    from alert_assets.spark.server import check_java

    if remote := os.environ.get("SPARK_REMOTE"):
        return f"not needed: Spark is at {urlsplit(remote).netloc}"
    check_java()
    return os.environ.get("JAVA_HOME") or shutil.which("java") or ""


def _settings(found: list[Settings], more: Iterable[Callable[[], object]]) -> str:
    from alert_assets.intake.settings import load_intake_settings

    settings = load_settings()
    load_intake_settings()
    for load in more:
        load()
    found.append(settings)
    return f"ALERTS_DATA_DIR={settings.data_dir}"


def _spark(settings: Settings) -> str:
    from alert_assets.spark.server import discovery_file, running_server
    from alert_assets.spark.session import check_remote

    if remote := os.environ.get("SPARK_REMOTE"):
        check_remote(remote)
        return f"answers at {urlsplit(remote).netloc}"
    import psutil

    memory = int(settings.spark_memory[:-1]) * (2**30 if settings.spark_memory.endswith("g") else 2**20)
    total = psutil.virtual_memory().total
    if memory > total * 0.8:
        raise _Broken(
            f"ALERTS_SPARK_MEMORY={settings.spark_memory} of the {total / 2**30:.1f} GiB that this host has",
            "Set ALERTS_SPARK_MEMORY to half of the host's memory at most.",
        )
    discovery_file()
    server = running_server()
    return f"local, {'warm' if server else 'starts with the first run'}, {settings.spark_memory} of heap"


def _lake(settings: Settings) -> str:
    from deltalake.exceptions import DeltaError

    from alert_assets.lake.lakehouse import Lakehouse

    lakehouse, there = Lakehouse(settings), 0
    lakehouse.check_writable()
    for name, contract in ALL_CONTRACTS.items():
        try:
            there += lakehouse.table(contract) is not None
        except (DeltaError, OSError) as error:
            raise _Broken(
                f"{name} cannot be opened: {one_line(str(error), 300)}",
                f"Restore {name} from a backup, or rebuild it with `alert-assets maintenance rebuild {name}`.",
            ) from None
    return f"{there} of {len(ALL_CONTRACTS)} tables, writable"


def _landing(settings: Settings) -> str:
    from alert_assets.ingest.landing import backlog

    waiting = backlog(settings)
    if "://" not in settings.landing_dir and not os.access(settings.landing_dir, os.W_OK):
        raise _Doubtful(
            f"{settings.landing_dir} cannot be written",
            "Give this user the right to, or run `serve` as one who has it.",
        )
    if waiting.skipped:
        first = waiting.skipped[0]
        raise _Doubtful(
            f"{len(waiting.skipped)} files are not read, e.g. {first.path}: {first.reason}",
            "Rename, repair or remove them; `alert-assets status` lists them.",
        )
    return f"{len(waiting.pending)} files wait, {waiting.ingested} are ingested"


def _database(settings: Settings) -> str:
    from sqlalchemy import make_url

    from alert_assets.state.database import State

    state = State(settings.state_url)
    with state.reading():
        pass
    file = make_url(settings.state_url.get_secret_value()).database
    if state.location.startswith("sqlite") and file:
        # Where nothing was written yet there is no file whose rights could be tried.
        folder = _existing(Path(file).parent)
        if not os.access(folder, os.W_OK):
            raise _Broken(f"{folder} cannot be written", "Give this user the right to, or set ALERTS_STATE_URL.")
    return state.location


def _channels(settings: Settings) -> str:
    from alert_assets.notify.channels.registry import channels, configured
    from alert_assets.notify.channels.targets import Targets
    from alert_assets.notify.handover import undelivered
    from alert_assets.state.database import State

    channels(settings.allowed_hosts)
    found = configured()
    if not found:
        raise _Doubtful("none is configured: alerts reach the log alone", "Set the variables of one (docs/connect.md).")
    targets = Targets.parse(settings.allowed_hosts)
    for channel in found:
        for host, port in _hosts(channel):
            _connect(channel.channel_name, host, port, targets)
    if lost := undelivered(State(settings.state_url)):
        raise _Broken(
            f"{lost[0].number} not delivered to {lost[0].destination}: {one_line(lost[0].reason, 300)}",
            "Correct the channel's settings; `alert-assets alerts` shows what it did not take.",
        )
    return ", ".join(channel.channel_name for channel in found)


def _hosts(channel: ChannelSettings) -> list[tuple[str, int]]:
    """Return host and port of each address that a channel connects to."""
    hosts: list[tuple[str, int]] = []
    for name in type(channel).model_fields:
        value = getattr(channel, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if name.endswith("url") and text:
            url = urlsplit(str(text))
            hosts.append((url.hostname or "", url.port or (443 if url.scheme == "https" else 80)))
        elif name == "host":
            hosts.append((str(text), getattr(channel, "port", 25)))
    # Slack's webhook takes the place of its API.
    return hosts[:1]


def _connect(channel: str, host: str, port: int, targets: object) -> None:
    from alert_assets.notify.channels.targets import TargetRefused, Targets

    assert isinstance(targets, Targets)
    try:
        addresses = targets.addresses(host, port)
        socket.create_connection((str(addresses[0]), port), timeout=_CONNECT_SECONDS).close()
    except TargetRefused as refused:
        raise _Broken(f"{channel}: {refused}", "If that is meant, add it to ALERTS_ALLOWED_HOSTS.") from None
    except OSError as error:
        raise _Broken(
            f"{channel}: {host}:{port} cannot be reached ({error})",
            f"Open the way to {host}:{port} in firewall and name service, or correct the channel's address.",
        ) from None


def _routing(settings: Settings) -> str:
    from alert_assets.notify.stack import NotificationStack

    routing = NotificationStack(settings).routing
    return f"{settings.routing_file or 'of the package'}: {len(routing.routes)} routes"


def _files(settings: Settings) -> str:
    """Look at the other files that settings name: objectives, topology, mappings."""
    from alert_assets.contracts.topology import read_topology
    from alert_assets.intake.mapping import load_mappings
    from alert_assets.intake.settings import load_intake_settings
    from alert_assets.slo.openslo import load_slos

    slos = load_slos(settings.slo_dir)
    calls = read_topology(Path(settings.topology_file)) if settings.topology_file else []
    mappings = load_mappings(load_intake_settings().senders_dir)
    return f"{len(slos)} objectives, {len(calls)} calls in the topology, {len(mappings)} mapping files"


def _clock(settings: Settings) -> str:
    """Compare this host's clock with what others have stamped: the database's server, and commits of the lake."""
    from deltalake.exceptions import DeltaError
    from sqlalchemy import text

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.state.database import State, StateError

    now, remedy = utc_now(), "Set this host's clock by NTP (`timedatectl set-ntp true`), and that of the other."
    # The look at the database says what is wrong with that.
    with suppress(StateError), State(settings.state_url).reading() as connection:
        if connection.dialect.name == "postgresql":
            theirs: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            if abs(theirs - utc_now()) > _SKEW:
                raise _Broken(f"the database's clock is {theirs - utc_now()} ahead of this host's", remedy)
    lakehouse = Lakehouse(settings)
    for name, contract in ALL_CONTRACTS.items():
        try:
            table = lakehouse.table(contract)
            commits = table.history(1) if table is not None else []
        except (DeltaError, OSError):
            # The look at the lake says so.
            continue
        for commit in commits:
            at = datetime.fromtimestamp(commit.get("timestamp", 0) / 1000, UTC)
            if at > now + _SKEW:
                raise _Broken(
                    f"the last commit of {name} is of {at:%Y-%m-%d %H:%M:%SZ}, and here it is {now:%Y-%m-%d %H:%M:%SZ}",
                    remedy,
                )
    return f"{now:%Y-%m-%d %H:%M:%SZ}, and nothing is of the future"


def _dagster(settings: Settings) -> str:
    home = os.environ.get("DAGSTER_HOME")
    if not home:
        raise _Doubtful(
            "DAGSTER_HOME is not set: runs leave no history",
            f"Set it to a folder that stays, e.g. {settings.state_dir / 'dagster'} as `make run` does.",
        )
    if not Path(home).is_absolute() or not Path(home).is_dir():
        raise _Broken(
            f"DAGSTER_HOME={home} is no absolute path of a folder",
            f"Create it, copy deploy/dagster.yaml there, and set DAGSTER_HOME to {Path(home).absolute()}.",
        )
    if not os.access(home, os.W_OK):
        raise _Broken(f"DAGSTER_HOME={home} cannot be written", "Give this user the right to write there.")
    import dagster as dg

    try:
        with dg.DagsterInstance.from_config(home) as instance:
            pools = instance.get_settings("concurrency") or {}
            instance.get_runs_count()
    except Exception as error:  # noqa: BLE001
        raise _Broken(
            f"the instance in {home} does not load: {one_line(str(error), 300)}",
            f"Correct {home}/dagster.yaml, or copy deploy/dagster.yaml over it.",
        ) from None
    if (pools.get("pools") or {}).get("granularity") != "run":
        raise _Doubtful(
            f"{home}/dagster.yaml has not the concurrency of ours: a killed run would keep its pool",
            f"Take the section `concurrency` of deploy/dagster.yaml over into {home}/dagster.yaml.",
        )
    return home


def _disk(settings: Settings, min_free_gib: float) -> str:
    free: dict[str, float] = {}
    for place in (str(settings.data_dir), settings.lake_dir, settings.landing_dir, tempfile.gettempdir()):
        if "://" in place:
            continue
        room = os.statvfs(_existing(Path(place)))
        free[place] = room.f_bavail * room.f_frsize / 2**30
        if room.f_files and room.f_favail < 10_000:
            raise _Broken(f"{place} has {room.f_favail} inodes left", "Remove small files, or use another filesystem.")
    place, least = min(free.items(), key=lambda item: item[1])
    if least < min_free_gib:
        raise _Broken(
            f"{place} has {least:.1f} GiB left, less than {min_free_gib:g}",
            "Make room, or run `alert-assets maintenance run` to remove what is past its retention.",
        )
    return f"{least:.1f} GiB free"


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


#: Part, the remedy for an error that names none, and the check.
_OF_SETTINGS: tuple[tuple[str, str, Callable[[Settings], str]], ...] = (
    ("spark", "Correct SPARK_REMOTE, or stop the warm server with `alert-assets spark stop`.", _spark),
    ("lake", "Correct ALERTS_LAKE_DIR or its rights.", _lake),
    ("landing", "Create the landing folder, or set ALERTS_LANDING_DIR.", _landing),
    ("database", "Correct ALERTS_STATE_URL, or start the server.", _database),
    ("channels", "Correct the channel's variables; `alert-assets settings` lists them.", _channels),
    ("routing", "Correct the file; `alert-assets routing check` names each line.", _routing),
    ("files", "Correct the file that the message names.", _files),
    ("clock", "Set this host's clock by NTP.", _clock),
    ("dagster", "Copy deploy/dagster.yaml into DAGSTER_HOME.", _dagster),
)
