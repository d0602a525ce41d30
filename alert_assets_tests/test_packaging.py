"""The files at the top of the repository: what a fresh machine installs, loads and ignores."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from dagster import DagsterInstance
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCKS = {name: (ROOT / f"requirements-{name}lock.txt").read_text() for name in ("", "dev-", "docs-")}

PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64"))


class Pin(NamedTuple):
    requirement: Requirement
    version: str
    hashes: list[str]


def read_locks(*names: str) -> list[Pin]:
    """The entries of locks; a line that is neither a pin, a hash nor a comment fails."""
    pins: list[Pin] = []
    for line in "".join(LOCKS[name] for name in names or LOCKS).splitlines():
        text = line.removesuffix("\\").strip()
        if text.startswith("--hash="):
            pins[-1].hashes.append(text)
        elif text and not text.startswith("#"):
            requirement = Requirement(text)
            pins.append(Pin(requirement, re.fullmatch(r"==([^*,]+)", str(requirement.specifier))[1], []))  # type: ignore[index]
    return pins


def declared() -> list[Requirement]:
    extras = itertools.chain.from_iterable(PROJECT["optional-dependencies"].values())
    return [Requirement(text) for text in (*PROJECT["dependencies"], *extras, *PYPROJECT["build-system"]["requires"])]


def make(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "SPARK_REMOTE")}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False)


def test_pyproject_names_the_code_location_for_dg_only() -> None:
    assert PYPROJECT["tool"]["dg"] == {
        "directory_type": "project",
        "project": {"root_module": "alert_assets", "code_location_target_module": "alert_assets.definitions"},
    }
    assert "dagster" not in PYPROJECT["tool"], "[tool.dagster] would shadow workspace.yaml"


def test_workspace_loads_the_definitions_module_from_the_repository() -> None:
    (origin,) = WorkspaceFileTarget([str(ROOT / "workspace.yaml")]).create_origins()
    assert isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin)
    assert origin.loadable_target_origin.module_name == "alert_assets.definitions"
    assert origin.loadable_target_origin.working_directory == "."


def test_every_pin_has_hashes_and_comes_from_no_named_index() -> None:
    assert len(read_locks("")) > 90
    assert [str(pin.requirement) for pin in read_locks() if not pin.hashes] == []
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links| @ ", "".join(LOCKS.values()))


def test_running_needs_none_of_the_tools_for_tests_lint_and_documents() -> None:
    names = {canonicalize_name(pin.requirement.name) for pin in read_locks("")}
    assert (
        names & {"pytest", "hypothesis", "ruff", "mypy", "import-linter", "deptry", "duckdb", "sphinx", "furo"} == set()
    )


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("system", "machine"), PLATFORMS)
def test_lock_pins_every_declared_dependency_once(python: str, system: str, machine: str) -> None:
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
    }
    versions: dict[str, set[str]] = {}
    for pin in read_locks():
        if pin.requirement.marker is None or pin.requirement.marker.evaluate(environment):
            versions.setdefault(canonicalize_name(pin.requirement.name), set()).add(pin.version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}

    for requirement in declared():
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found = versions.get(canonicalize_name(requirement.name), set())
            assert found, f"{requirement} is in no lock: make lock"
            assert all(map(requirement.specifier.contains, found)), f"{requirement} is locked to {found}: make lock"


def test_git_keeps_the_sample_and_ignores_what_runs_produce(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    sample = [str(path.relative_to(ROOT)) for path in (ROOT / "data" / "landing").glob("_sample-*.jsonl*")]
    produced = [
        "data/landing/events-0001.jsonl",
        "data/landing/sample-20261126T220000-0001.jsonl",
        "data/landing/.writing.jsonl",
        "data/lake/bronze_events/_delta_log/00000000000000000000.json",
        "data/checkpoints/landing/offsets/0",
        "data/state/state.db",
        ".venv/bin/python",
        ".env",
        "alert_assets/__pycache__/cli.pyc",
        "alert_assets.egg-info/PKG-INFO",
        "spark-warehouse/t/part-0.parquet",
        "metastore_db/service.properties",
        "derby.log",
        "artifacts/report.html",
    ]
    kept = [*sample, "alert_assets_tests/landing/case.jsonl", "requirements-lock.txt", "deploy/dagster.yaml"]
    command = ["git", "check-ignore", "--no-index", *produced, *kept]
    ignored = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout.split()
    assert ignored == produced
    assert sample, "the committed sample is missing from data/landing"


def test_dagster_loads_the_instance_template_that_make_puts_in_place(tmp_path: Path) -> None:
    home = tmp_path / "dagster home"
    made = make("instance", DAGSTER_HOME=str(home))
    assert made.returncode == 0, made.stderr

    with DagsterInstance.from_config(str(home)) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert (pools.default_pool_limit, pools.pool_granularity.value) == (1, "run")  # type: ignore[union-attr]
        assert instance.telemetry_enabled is False
        assert instance.run_monitoring_enabled is True
        assert instance.run_retries_enabled is True
        assert instance.get_settings("retention")["sensor"]["purge_after_days"]["skipped"] == 2


def test_an_edited_instance_is_not_overwritten(tmp_path: Path) -> None:
    edited = tmp_path / "dagster.yaml"
    edited.write_text("telemetry: {enabled: true}\n")
    assert make("instance", DAGSTER_HOME=str(tmp_path)).returncode == 0
    assert edited.read_text() == "telemetry: {enabled: true}\n"


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', "17"),
        ('openjdk version "21" 2023-09-19', "21"),
        ('Picked up JAVA_TOOL_OPTIONS: -Xss4m\nopenjdk version "25-ea" 2025-09-16', "25"),
        ('openjdk version "11.0.2" 2019-01-15', "11"),
        ('java version "1.8.0_392"', "8"),
        ("The operation could not be completed. Unable to locate a Java Runtime.", ""),
    ],
)
def test_java_is_judged_before_spark_needs_it(tmp_path: Path, answer: str, version: str) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{answer}\nEND\n")
    java.chmod(0o755)

    judged = make("java", JAVA_HOME=str(tmp_path))
    if int(version or 0) >= 17:
        assert (judged.returncode, judged.stderr) == (0, "")
    else:
        complaint, *rest = [line for line in judged.stderr.splitlines() if not line.startswith("make")]
        assert judged.returncode != 0
        assert rest == []
        assert "Java 17" in complaint
        assert f"Java {version}" in complaint
        assert "apt-get install" in complaint


@pytest.mark.parametrize(("body", "found"), [("echo 3.9", "python (3.9)"), ("exit 1", "none")])
def test_a_machine_without_a_usable_python_is_told_so_in_one_line(tmp_path: Path, body: str, found: str) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements-lock.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)

    judged = make("venv", f"PYTHON={python}", folder=tmp_path)
    complaint, *rest = [line for line in judged.stderr.splitlines() if not line.startswith("make")]
    assert judged.returncode != 0
    assert rest == []
    assert "Python 3.11" in complaint
    assert found in complaint


def test_clean_removes_what_runs_made_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for made in ("lake", "checkpoints", "state", "landing/sample-1", "landing/mine"):
        (tmp_path / "data" / made).mkdir(parents=True)

    cleaned = make("clean", folder=tmp_path)
    assert (cleaned.returncode, cleaned.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "data").rglob("*")] == ["landing", "mine"]
