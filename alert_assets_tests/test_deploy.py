"""What is shipped, checked by the tools' own binaries, and installed as a user without rights."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """A program of this interpreter's environment, or of PATH."""
    found = shutil.which(name, path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is not installed: make dev"
    return found


def ran(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    done = ran(tool("hadolint"), DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_a_user_of_its_own_and_is_healthy_when_serve_answers() -> None:
    last = (DEPLOY / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last, re.M) == ["10001:10001"]
    assert "/healthz" in last[last.index("HEALTHCHECK") :]


def composed(**environment: str) -> dict[str, Any]:
    done = ran(tool("docker-compose"), "-f", DEPLOY / "compose.yaml", "config", "--format", "json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_compose_has_every_process_and_none_with_rights() -> None:
    services = composed(POSTGRES_PASSWORD="geheim", ALERTS_INTAKE_TOKENS="prometheus=t")["services"]
    assert set(services) == {"serve", "stream", "webserver", "daemon", "postgres"}
    for name, service in services.items():
        assert service["restart"] == "unless-stopped"
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", "TLS is a proxy's"
        if name != "postgres":
            assert service["cap_drop"] == ["ALL"]
            assert service["depends_on"]["postgres"]["condition"] == "service_healthy"


@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "ALERTS_INTAKE_TOKENS"])
def test_compose_refuses_to_start_without_a_secret(missing: str) -> None:
    given = {"POSTGRES_PASSWORD": "geheim", "ALERTS_INTAKE_TOKENS": "prometheus=t"} | {missing: ""}
    done = ran(tool("docker-compose"), "-f", DEPLOY / "compose.yaml", "config", **given)
    assert done.returncode != 0
    assert missing in done.stderr


def test_the_images_dagster_yaml_is_that_of_a_host_but_for_the_storage() -> None:
    image, host = (yaml.safe_load((DEPLOY / name).read_text()) for name in ("image/dagster.yaml", "dagster.yaml"))
    assert image.pop("storage") == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert image == host


def test_helm_s_values_have_the_concurrency_of_a_host() -> None:
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    host = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    config = values["concurrency"]["config"]
    assert config["pools"] == {"granularity": host["concurrency"]["pools"]["granularity"], "defaultLimit": 1}
    assert config["runs"]["maxConcurrentRuns"] == host["concurrency"]["runs"]["max_concurrent_runs"]
    assert values["dagsterDaemon"]["runRetries"]["maxRetries"] == host["run_retries"]["max_retries"]
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"] == ["--python-module", "alert_assets.definitions"]
    image = f"{deployment['image']['repository']}:{deployment['image']['tag']}"
    pods = [
        document["spec"]["template"]["spec"]
        for document in yaml.safe_load_all((DEPLOY / "helm" / "services.yaml").read_text())
        if "template" in document.get("spec", {})
    ]
    assert {container["image"] for pod in pods for container in pod["containers"]} == {image}
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods)
    assert [container["args"] for pod in pods for container in pod["containers"]] == [
        ["alert-assets", "serve"],
        ["alert-assets", "stream"],
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units() -> None:
    units = [*(DEPLOY / "systemd").glob("*.service"), DEPLOY / "systemd" / "alert-assets.target"]
    done = ran("systemd-analyze", "verify", *units)
    complaints = [
        line for line in done.stderr.splitlines() if "alert-assets" in line and "is not executable" not in line
    ]
    assert complaints == []
    wanted = re.findall(r"alert-assets-\w+\.service", units[-1].read_text())
    assert sorted(wanted) == sorted(unit.name for unit in units[:-1])


def test_a_release_has_notes_and_the_version_of_its_tag() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert any(command.startswith(".ci/release") for command in commands)
    version = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)[0]
    notes = ran(ROOT / ".ci" / "release", f"v{version}", "notes")
    assert notes.returncode == 0, notes.stderr
    assert notes.stdout.strip()
    assert "## " not in notes.stdout.replace("###", "")
    wrong = ran(ROOT / ".ci" / "release", "v99.0.0", "notes")
    assert wrong.returncode == 1
    assert f"pyproject.toml says {version}" in wrong.stderr


@pytest.mark.slow
def test_the_bill_of_materials_names_what_is_installed(tmp_path: Path) -> None:
    bill = tmp_path / "bill.json"
    done = ran(ROOT / ".ci" / "bill", bill, PATH=f"{Path(tool('cyclonedx-py')).parent}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    found = json.loads(bill.read_text())
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "alert-assets")
    locks = "".join((ROOT / f"requirements-{name}lock.txt").read_text() for name in ("", "image-"))
    pins = {(name.lower(), version) for name, version in re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)", locks, re.M)}
    assert {(part["name"].lower(), part["version"]) for part in found["components"]} == pins


@pytest.mark.slow
def test_installed_in_a_clean_environment_as_a_user_without_rights(tmp_path: Path) -> None:
    """What deploy/Dockerfile runs, some minutes long; not in CI."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    home = Path("/tmp") / f"alert-assets-install-{os.getpid()}"
    source, nobody = home / "src", "65534"
    try:
        shutil.copytree(ROOT / "deploy", source / "deploy")
        shutil.copytree(ROOT / "alert_assets", source / "alert_assets", ignore=shutil.ignore_patterns("__pycache__"))
        locks = ("requirements-lock.txt", "requirements-image-lock.txt")
        for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", *locks):
            shutil.copy(ROOT / name, source)
        subprocess.run(["chmod", "-R", "a+rX,go-w", home], check=True)
        (home / "own").mkdir(mode=0o700)
        os.chown(home / "own", int(nobody), int(nobody))
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        environment = pip | {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": f"{home}/own", "TMPDIR": f"{home}/own"}
        become = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]

        def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*become, *command], cwd=home / "own", env=environment, capture_output=True, text=True, check=False
            )

        installed = as_nobody(str(source / "deploy" / "install.sh"), f"{home}/own/venv")
        assert installed.returncode == 0, installed.stderr
        command = f"{home}/own/venv/bin/alert-assets"
        assert as_nobody(command, "--version").stdout.startswith("alert-assets ")
        assert as_nobody(command, "simulate").returncode == 0
        doctor = as_nobody(command, "doctor", "--json")
        broken = [one for one in json.loads(doctor.stdout)["findings"] if one["status"] == "failed"]
        assert broken == [], doctor.stdout
        assert as_nobody(f"{home}/own/venv/bin/dagster-webserver", "--version").returncode == 0
    finally:
        shutil.rmtree(home)
