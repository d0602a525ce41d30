"""`alert-assets doctor` on an installation that works, and on set-ups each of which is broken for real."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import SILVER_DEPENDENCIES
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.commands.lake import T0, write
from alert_assets_tests.support.faketime import later, needs_faketime

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """All is well, but that no channel is configured, and no history kept."""
    Path(settings.landing_dir).mkdir(parents=True)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    return settings


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


def findings(run: Run, *args: str) -> dict[str, dict]:
    result = run("doctor", "--json", *args)
    found = {finding["part"]: finding for finding in result.json["findings"]}
    assert result.code == (1 if any(one["status"] == "failed" for one in found.values()) else 0)
    for one in found.values():
        assert bool(one["remedy"]) is (one["status"] != "ok"), one
    return found


def broken(run: Run, part: str, *args: str) -> str:
    """What is said of the one part that is broken, remedy included."""
    found = findings(run, *args)
    assert [name for name, one in found.items() if one["status"] == "failed"] == [part]
    return f"{found[part]['found']} -> {found[part]['remedy']}"


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_an_installation_that_works(installed: Settings, dagster_home: Path, run: Run) -> None:
    found = findings(run)
    assert {name for name, one in found.items() if one["status"] != "ok"} == {"channels"}
    assert "none is configured" in found["channels"]["found"]
    printed = run("doctor")
    assert printed.code == 0
    assert "1 to look at, 0 broken" in printed.out


def test_a_setting_that_cannot_be(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_DEDUP_WINDOW_MINUTES", "often")
    assert "ALERTS_DEDUP_WINDOW_MINUTES='often'" in broken(run, "settings")


def test_no_java(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert "Java was not found" in broken(run, "java")


def test_an_old_java(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_412\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert "is Java 8. Spark needs Java 17" in broken(run, "java")


def test_a_spark_server_that_does_not_answer(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_REMOTE", f"sc://127.0.0.1:{unused_port()}")
    assert "No Spark Connect server answers at SPARK_REMOTE" in broken(run, "spark")


def test_more_heap_than_there_is(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_SPARK_MEMORY", "9999g")
    assert "Set ALERTS_SPARK_MEMORY to half" in broken(run, "spark")


def test_a_lake_that_is_a_file(installed: Settings, run: Run) -> None:
    Path(installed.lake_dir).write_text("")
    assert "cannot be written" in broken(run, "lake")


def test_a_table_whose_log_is_broken(installed: Settings, run: Run) -> None:
    times = dict.fromkeys(("first_seen", "last_seen"), T0)
    write(installed, SILVER_DEPENDENCIES, {"caller": "a", "callee": "b", "requests": 1, **times})
    for commit in Path(Lakehouse(installed).uri(SILVER_DEPENDENCIES), "_delta_log").glob("*.json"):
        commit.write_text("{ no commit\n")
    assert "maintenance rebuild silver_dependencies" in broken(run, "lake")


def test_a_landing_zone_that_is_not_there(installed: Settings, run: Run) -> None:
    Path(installed.landing_dir).rmdir()
    assert "does not exist" in broken(run, "landing")


def test_landing_files_that_are_not_read(installed: Settings, run: Run) -> None:
    os.mkfifo(Path(installed.landing_dir) / "pipe.jsonl")
    assert findings(run)["landing"]["status"] == "warning"


def test_a_database_that_is_none(installed: Settings, run: Run) -> None:
    installed.state_dir.mkdir(parents=True)
    (installed.state_dir / "alert_assets.db").write_bytes(b"this is a text, and no database\n" * 100)
    found = findings(run)
    assert found["database"]["status"] == "failed"
    assert "file is not a database" in found["database"]["found"]
    assert found["clock"]["status"] == "ok", "a clock is not set right for a database that cannot be asked"


def test_a_database_server_that_is_down(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_STATE_URL", f"postgresql+psycopg://ana:geheim@127.0.0.1:{unused_port()}/alerts")
    found = findings(run)
    assert found["database"]["status"] == "failed"
    assert "geheim" not in str(found)


def test_a_channel_that_is_half_configured(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_SLACK_TOKEN", "xoxb-1")
    found = findings(run)
    assert found["channels"]["status"] == "failed"
    assert "ALERTS_SLACK_CHANNEL is not set" in found["channels"]["found"]


def test_a_channel_whose_service_is_not_there(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", f"http://127.0.0.1:{unused_port()}/hook")
    monkeypatch.setenv("ALERTS_WEBHOOK_SECRET", "s")
    assert "add it to ALERTS_ALLOWED_HOSTS" in broken(run, "channels")
    monkeypatch.setenv("ALERTS_ALLOWED_HOSTS", "127.0.0.1")
    assert "cannot be reached" in broken(run, "channels")


def test_a_routing_file_that_cannot_be(
    installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "routing.yaml").write_text("routes: [{match: {severty: HIGH}}]\n")
    monkeypatch.setenv("ALERTS_ROUTING_FILE", str(tmp_path / "routing.yaml"))
    assert "severty" in broken(run, "routing")


def test_a_topology_file_that_is_not_there(installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_TOPOLOGY_FILE", "nowhere.yaml")
    assert "nowhere.yaml" in broken(run, "files")


def test_a_dagster_home_that_is_not_there(
    installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "gone"))
    assert "no absolute path of a folder" in broken(run, "dagster")


def test_a_dagster_yaml_that_cannot_be_read(installed: Settings, dagster_home: Path, run: Run) -> None:
    (dagster_home / "dagster.yaml").write_text("storage: {oracle: {}}\n")
    assert "does not load" in broken(run, "dagster")


def test_a_disk_that_is_full(installed: Settings, run: Run) -> None:
    free = shutil.disk_usage(installed.data_dir.parent).free / 2**30
    assert "GiB left" in broken(run, "disk", "--min-free-gib", str(free * 2))


def test_a_package_of_another_version(
    installed: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What pip leaves behind where somebody has installed another one over it.
    found = tmp_path / "site" / "deltalake-0.1.0.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: deltalake\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert metadata.version("deltalake") == "0.1.0"
    assert "deltalake is 0.1.0, wanted is" in broken(run, "packages")


@pytest.mark.slow
@needs_faketime
def test_a_clock_that_is_behind(installed: Settings) -> None:
    times = dict.fromkeys(("first_seen", "last_seen"), T0)
    write(installed, SILVER_DEPENDENCIES, {"caller": "a", "callee": "b", "requests": 1, **times})
    environment = {**os.environ, **later(timedelta()), "FAKETIME": "-1d"}
    done = subprocess.run(
        [sys.executable, "-m", "alert_assets.cli", "doctor"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "the last commit of silver_dependencies is of" in " ".join(done.stdout.split())
