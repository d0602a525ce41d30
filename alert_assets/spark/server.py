"""The local Spark as a process: its private folder, its environment, where it is recorded, its end.

PySpark 4.3 starts the warm server and records it in a discovery file (`spark.local.connect.reuse`). The record
is read here as it is written, so that looking at a server, or stopping it, waits for neither PySpark nor Dagster.

What a local Spark has on this machine, warm or classic:

- One folder of mode 0700 for each interpreter: the record with the Connect token (0600), the logs, and all temporary
  files (shuffle, spills, native libraries, artifacts, the warehouse). It is used only if it is a real folder of this
  user that others cannot write to: `worker-python` and `spark-env.sh` in it are run. That it stays so rests on the
  sticky bit of the temporary folder around it.
- An environment by allow-list (:data:`ENVIRONMENT`), for the server, which outlives its first caller, and for its
  Python workers: neither `ALERTS_*` nor any other variable of the caller. Object-store credentials pass, and stay as
  they were at the start until `alert-assets spark stop`. More of it is set in a `spark-env.sh` in `SPARK_CONF_DIR`.
- Sockets on 127.0.0.1 and their secrets: :mod:`alert_assets.spark.session`.
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
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
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

#: What of the caller's environment a local Spark gets, as patterns of bash's `case`.
ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TZ", "LANG", "LC_*", "LD_LIBRARY_PATH", "MALLOC_*"),
    *("JAVA_*", "JDK_*", "SPARK_*", "PYSPARK_*", "_PYSPARK_*", "PYTHON*", "HADOOP_*", "KRB5*"),
    # Object stores: credentials, managed identities, certificates, proxies.
    *("AWS_*", "AZURE_*", "GOOGLE_*", "IDENTITY_*", "MSI_*", "SSL_CERT_*", "*_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    # Read-only in bash.
    *("BASHOPTS", "SHELLOPTS"),
)

#: The user's own SPARK_CONF_DIR, while ours stands in its place.
_USERS_CONF_VARIABLE = "ALERT_ASSETS_SPARK_CONF_DIR"

#: Spark's scripts source it under `set -a` before they start Java.
_SPARK_ENV = """\
set +a
SPARK_CONF_DIR=${{{users_conf}:-$SPARK_HOME/conf}}
for name in $(compgen -e); do
  case $name in
    {kept}) ;;
    *) unset "$name" ;;
  esac
done
unset name
export TMPDIR={temporary}
export SPARK_LOCAL_DIRS="${{SPARK_LOCAL_DIRS:-$TMPDIR}}"
SPARK_SUBMIT_OPTS="$SPARK_SUBMIT_OPTS -Djava.io.tmpdir=\\"$TMPDIR\\""
export SPARK_SUBMIT_OPTS="$SPARK_SUBMIT_OPTS -Dspark.sql.warehouse.dir=\\"$TMPDIR/warehouse\\""
set -a
if [ -f "$SPARK_CONF_DIR/spark-env.sh" ]; then . "$SPARK_CONF_DIR/spark-env.sh"; fi
"""

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
_STOP_SECONDS = 60.0


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
    """Return where the warm server of this interpreter is recorded.

    One server an interpreter: another virtual environment has other packages, and Python workers of
    the wrong one fail late and strangely.

    Raises:
        UserError: another user could write to its folder, which exists.
    """
    if chosen := os.environ.get(DISCOVERY_VARIABLE):
        path = Path(chosen).absolute()
        if os.path.lexists(path.parent):
            _check_private(path.parent)
        return path
    interpreter = hashlib.sha256(sys.executable.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"alert-assets-spark-{getpass.getuser()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _check_private(folder)
    return folder / f"{interpreter}/connect.json"


def _check_private(folder: Path) -> None:
    """Raise a :class:`UserError` unless it is a folder, not a link to one, in which only this user can put files."""
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        because = "is a symbolic link"
    elif not stat.S_ISDIR(found.st_mode):
        because = "is not a folder"
    elif found.st_uid != os.geteuid():
        because = f"belongs to the user with uid {found.st_uid}, not to {os.geteuid()}"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        because = f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    else:
        return
    raise UserError(
        f"Spark is not started: {folder} {because}, and what is in it would be run as this user. Remove it, or set "
        f"{DISCOVERY_VARIABLE} to a file in a folder that only this user can write to, e.g. ~/.spark/connect.json."
    )


def prepare_environment() -> None:
    """Set this process's variables so that a Spark it starts has the private folder and a filtered environment.

    Raises:
        UserError: as :func:`discovery_file`.
    """
    path = discovery_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(path.parent)
    for name in ("conf", "logs", "tmp"):
        path.with_name(name).mkdir(exist_ok=True)
        path.with_name(name).chmod(0o700)
    conf = path.with_name("conf")
    _write(
        conf / "spark-env.sh",
        _SPARK_ENV.format(
            users_conf=_USERS_CONF_VARIABLE,
            kept=" | ".join(ENVIRONMENT),
            temporary=shlex.quote(str(path.with_name("tmp"))),
        ),
    )
    # Spark puts a zip of PySpark first on its workers' path, and what is in a zip is compiled anew by every process:
    # about two seconds of every query. They run what this process pickles, so it has to be this interpreter.
    worker = path.with_name("worker-python")
    _write(worker, _WORKER_PYTHON.format(python=shlex.quote(sys.executable)))
    os.environ.setdefault(DISCOVERY_VARIABLE, str(path))
    os.environ.setdefault("PYSPARK_PYTHON", str(worker))
    # A child process finds ours there already.
    if os.environ.get("SPARK_CONF_DIR") != str(conf):
        os.environ[_USERS_CONF_VARIABLE] = os.environ.get("SPARK_CONF_DIR", "")
        os.environ["SPARK_CONF_DIR"] = str(conf)


def _write(script: Path, content: str) -> None:
    """Replace a script at once: another process may be running it."""
    being_written = script.with_name(f".{script.name}-{os.getpid()}")
    being_written.write_text(content, encoding="utf-8")
    being_written.chmod(0o700)
    being_written.replace(script)


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


def processes_of_run() -> list[int]:
    """This process and the warm server that it works with, by number; that of a cluster is not on this machine."""
    with suppress(UserError):
        if "SPARK_REMOTE" not in os.environ and (server := running_server()) is not None:
            return [os.getpid(), server.pid]
    return [os.getpid()]


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


def end_orphan() -> None:
    """End a server that no record leads to; its folder is there.

    Whoever started it was killed before it was ready. PySpark cannot connect to it, and starts no other beside it.

    Raises:
        UserError: it cannot be stopped.
    """
    path = discovery_file()
    # Who is starting one holds the lock until the record is written.
    with _locked(path):
        server = running_server()
        if server is not None and server.endpoint is None:
            _end(server)
            # PySpark asks whether there is a process of that number, and one that has just ended may still have it.
            path.with_name(_PID_FILE).unlink(missing_ok=True)


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
