"""A throw-away PostgreSQL, from the binaries that Debian's package installs.

A test that takes `state_url` runs twice, on SQLite and on PostgreSQL; so does a module of tests that take their
settings from the environment, with `pytestmark = pytest.mark.usefixtures("state_url")`. One that is
`slow_on_postgresql`, hours of ticks at a connection each, does the second among the slow tests. The server listens on a
Unix socket in its own folder, on no port.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def _binaries() -> Path | None:
    """The newest version's `bin`."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def _run(*command: str | Path) -> None:
    # PostgreSQL does not run as root. The server outlives pg_ctl and would keep a pipe open.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [*user, *map(str, command)], cwd="/", stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False
        )
        said.seek(0)
        assert done.returncode == 0, said.read().decode(errors="replace")


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[str]:
    """URL of a server's database `postgres`; the server ends with the tests."""
    binaries = _binaries()
    if binaries is None:
        reason = "PostgreSQL is not installed: on Debian or Ubuntu apt-get install postgresql"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    # Not under pytest's own folder: that is closed to other users, and too long a path for a socket.
    folder = Path(tempfile.mkdtemp(prefix="alerts-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    try:
        _run(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c full_page_writes=off"
        _run(binaries / "pg_ctl", "-w", "-D", data, "-l", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            _run(binaries / "pg_ctl", "-w", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


slow_on_postgresql = pytest.mark.parametrize(
    "state_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def postgres_url(postgres_cluster: str) -> str:
    """URL of an empty database."""
    return _database(postgres_cluster)


@pytest.fixture(scope="session")
def _migrated(postgres_cluster: str) -> str:
    """Name of a database with the state's tables, for others to be copied from."""
    from alert_assets.state.database import State

    url = _database(postgres_cluster)
    state = State(url)
    with state.writing():
        pass
    state._engine.dispose()  # a template has no connections
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a state database without rows, which is also that of the settings."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'alerts.db'}"
    else:
        cluster = request.getfixturevalue("postgres_cluster")
        url = _database(cluster, request.getfixturevalue("_migrated"))
    monkeypatch.setenv("ALERTS_STATE_URL", url)
    return url


def _database(cluster: str, template: str = "template1") -> str:
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return cluster.replace("/postgres?", f"/{name}?")
