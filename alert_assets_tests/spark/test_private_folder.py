"""The folder of the local Spark, when another user was there first."""

from __future__ import annotations

import getpass
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.errors import UserError
from alert_assets.spark.server import discovery_file, prepare_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "SPARK_LOCAL_CONNECT_DISCOVERY"
AS_ANOTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this user's folder would be, in a temporary folder like /tmp: open to all users, and sticky."""
    for name in (VARIABLE, "SPARK_CONF_DIR", "PYSPARK_PYTHON", "ALERT_ASSETS_SPARK_CONF_DIR"):
        # Set first, so that what the code sets is undone as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        Path(temporary).chmod(0o1777)
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        yield Path(temporary) / f"alert-assets-spark-{getpass.getuser()}"


def refusal() -> str:
    with pytest.raises(UserError) as refused:
        prepare_environment()
    with pytest.raises(UserError) as refused_too:
        discovery_file()
    assert str(refused.value) == str(refused_too.value)
    return str(refused.value)


@root_only
@pytest.mark.parametrize(
    ("made_by", "because"),
    [
        ("mkdir {folder}", "belongs to the user with uid 65534, not to 0"),
        ("mkdir -m 0777 {folder}", "belongs to the user with uid 65534, not to 0"),
        ("mkdir {folder}.theirs && ln -s {folder}.theirs {folder}", "is a symbolic link"),
        ("ln -s /root {folder}", "is a symbolic link"),
        ("ln -s /nowhere {folder}", "is a symbolic link"),
        ("touch {folder}", "is not a folder"),
    ],
)
def test_what_another_user_made_first_is_refused(folder: Path, made_by: str, because: str) -> None:
    subprocess.run([*AS_ANOTHER_USER, "sh", "-c", made_by.format(folder=folder)], check=True)

    said = refusal()

    assert f"{folder} {because}" in said
    assert VARIABLE in said
    assert [*folder.parent.rglob("*.sh"), *folder.parent.rglob("worker-python")] == []


def test_one_that_others_could_write_to_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)

    assert "can be written by others (mode 0777)" in refusal()


@pytest.mark.parametrize("made", ["open", "link"])
def test_so_is_one_that_was_chosen(folder: Path, monkeypatch: pytest.MonkeyPatch, made: str) -> None:
    if made == "link":
        folder.with_name("mine").mkdir(mode=0o700)
        folder.symlink_to(folder.with_name("mine"))
    monkeypatch.setenv(VARIABLE, str((folder if made == "link" else folder.parent) / "connect.json"))

    assert ("is a symbolic link" if made == "link" else "can be written by others (mode 1777)") in refusal()


@root_only
def test_nobody_else_reads_what_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even in a folder of the user's that others may enter, under the most generous umask."""
    monkeypatch.setenv(VARIABLE, str(folder / "chosen" / "connect.json"))
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "chosen").mkdir()
    (folder / "chosen").chmod(0o755)
    before = os.umask(0)
    try:
        prepare_environment()
    finally:
        os.umask(before)

    readable = subprocess.run(
        [*AS_ANOTHER_USER, "find", str(folder), "-readable"], capture_output=True, text=True, check=False
    )
    assert readable.stdout.split() == [str(folder), str(folder / "chosen")]
    assert sorted(path.name for path in (folder / "chosen").iterdir()) == ["conf", "logs", "tmp", "worker-python"]
    assert os.environ["PYSPARK_PYTHON"] == str(folder / "chosen" / "worker-python")


def test_a_child_process_keeps_the_users_conf_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_CONF_DIR", "/etc/spark")
    for _ in range(2):
        prepare_environment()
    conf = os.environ["SPARK_CONF_DIR"]

    shown = subprocess.run(
        ["bash", "-c", f"set -a; . {conf}/spark-env.sh; echo $SPARK_CONF_DIR; env"],
        env={**os.environ, "SPARK_HOME": "/spark", "ALERTS_LLM_API_KEY": "sk-hunter2"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.startswith("/etc/spark\n")
    assert f"TMPDIR={Path(conf).with_name('tmp')}" in shown
    assert "hunter2" not in shown
