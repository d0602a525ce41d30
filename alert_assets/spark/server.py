"""The warm local Spark Connect server as a process: where it is written down, whether it runs, its end.

PySpark 4.3 starts it and records it in a discovery file (`spark.local.connect.reuse`). The record is read
here as it is written, so that looking at a server, or stopping it, waits for neither PySpark nor Dagster,
and works where PySpark has no such server (4.2, on Python 3.10): there is no record then.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

JAVA_VERSION = 17

#: The variable PySpark looks in for the discovery file.
DISCOVERY_VARIABLE = "SPARK_LOCAL_CONNECT_DISCOVERY"

#: How a process that is such a server can be told from one that got its number later.
_SERVER_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
#: What spark-daemon.sh writes beside the record; it is there before the record is.
_PID_FILE = f"spark-local-connect-{_SERVER_CLASS}-1.pid"

_WORKER_PYTHON = """\
#!/bin/sh
kept=
IFS=:
for part in $PYTHONPATH; do
  case $part in
    */pyspark.zip | */py4j-*-src.zip) ;;
    *) kept=$kept${{kept:+:}}$part ;;
  esac
done
export PYTHONPATH="$kept"
exec {python} "$@"
"""

#: A JVM with nothing to do ends within a second or two of being asked.
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class SparkServer:
    """A warm server that runs.

    Attributes:
        endpoint: `host:port`; None for one that is starting, or was left while it was.
        spark_version: None as above.
    """

    pid: int
    endpoint: str | None
    spark_version: str | None
    started_at: datetime
    log_dir: Path


def discovery_file() -> Path:
    """Where the warm server of this interpreter is written down.

    One server an interpreter: another virtual environment has other packages, and Python workers of
    the wrong one fail late and strangely.
    """
    if chosen := os.environ.get(DISCOVERY_VARIABLE):
        return Path(chosen).absolute()
    interpreter = hashlib.sha256(sys.executable.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"alert-assets-spark-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Refused when the folder is somebody else's: the record holds the server's token.
    folder.chmod(0o700)
    return folder / f"{interpreter}/connect.json"


def worker_python() -> Path:
    """A Python for Spark's workers: this interpreter, with PySpark as it is installed.

    Spark puts a zip of PySpark first on their path, and what is in a zip is compiled anew by every process:
    about two seconds of every query.
    """
    path = discovery_file().with_name("worker-python")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    being_written = path.with_name(f".worker-python-{os.getpid()}")
    being_written.write_text(_WORKER_PYTHON.format(python=shlex.quote(sys.executable)), encoding="utf-8")
    being_written.chmod(0o700)
    return being_written.replace(path)


def running_server() -> SparkServer | None:
    """This interpreter's warm server; None when there is none, whatever the record says."""
    path = discovery_file()
    record = _record(path)
    for pid, known in ((record.get("pid"), record), (_daemon_pid(path), {})):
        if isinstance(pid, int) and _is_server(pid):
            source = path if known else path.with_name(_PID_FILE)
            return SparkServer(
                pid=pid,
                endpoint=f"{known['host']}:{known['port']}" if {"host", "port"} <= known.keys() else None,
                spark_version=str(known["spark_version"]) if "spark_version" in known else None,
                started_at=datetime.fromtimestamp(source.stat().st_mtime, UTC),
                log_dir=path.with_name("logs"),
            )
    return None


def stop_server() -> bool:
    """Stop this interpreter's warm server and forget it; whether there was one.

    A record of a server that is gone is removed. Waits for a run that is starting the server.

    Raises:
        UserError: it cannot be stopped.
    """
    path = discovery_file()
    if not path.parent.is_dir():
        return False
    with _locked(path):
        server = running_server()
        if server is not None:
            _end(server)
        path.unlink(missing_ok=True)
        path.with_name(_PID_FILE).unlink(missing_ok=True)
    return server is not None


def _end(server: SparkServer) -> None:
    try:
        os.kill(server.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise UserError(f"The Spark server (pid {server.pid}) belongs to another user, who has to stop it.") from None
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_server(server.pid):
        if time.monotonic() > deadline:
            raise UserError(
                f"The Spark server (pid {server.pid}) was asked to stop and still runs after {_STOP_SECONDS:.0f} "
                f"seconds; its log is in {server.log_dir}. `kill -9 {server.pid}` ends it at once."
            )
        time.sleep(0.1)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """PySpark's own lock on the record."""
    import fcntl  # not on Windows, where there is no warm server and no folder for one

    with open(f"{path}.lock", "a+") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        yield


def _record(path: Path) -> dict[str, object]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _daemon_pid(path: Path) -> int | None:
    try:
        return int(path.with_name(_PID_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _is_server(pid: int) -> bool:
    """Whether a process runs and is a Spark Connect server; a number may be another program's by now."""
    return pid > 0 and _SERVER_CLASS in _command_line(pid)


def _command_line(pid: int) -> str:
    """What a process was started with; empty when it has ended."""
    try:
        # There is not always a `ps` in a container.
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    except OSError:
        return ""
    listed = subprocess.run(
        ["ps", "-ww", "-p", str(pid), "-o", "command="], capture_output=True, text=True, errors="replace", check=False
    )
    return listed.stdout


def check_java() -> None:
    """Raise a :class:`UserError` of one line when there is no Java that Spark can use."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    advice = (
        f"Spark needs Java {JAVA_VERSION} or newer: install it (Debian, Ubuntu: apt-get install "
        f"openjdk-{JAVA_VERSION}-jre-headless; macOS: brew install openjdk@{JAVA_VERSION}) or set JAVA_HOME."
    )
    if java is None or not Path(java).exists():
        raise UserError(f"Java was not found{f' in JAVA_HOME={home}' if home else ' on PATH'}. {advice}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)(?:\.(\d+))?', answer.stderr + answer.stdout)
    version = int(match.group(1)) if match else 0
    if version == 1 and match:
        version = int(match.group(2))
    if version < JAVA_VERSION:
        raise UserError(f"{java} is Java {version or 'of an unknown version'}. {advice}")
