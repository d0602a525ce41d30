"""`alert-assets contracts`, as people and CI use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from alert_assets.contracts import ALL_CONTRACTS

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run


@pytest.fixture
def exported(run: Run, tmp_path: Path) -> Path:
    """A folder of all contracts as they are."""
    folder = tmp_path / "contracts"
    assert run("contracts", "export", "--output", str(folder)).code == 0
    return folder


def change(file: Path, old: str, new: str, times: int = 1) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, times), encoding="utf-8")


def test_list(run: Run) -> None:
    result = run("contracts", "list")
    lines = {line.split()[0]: line for line in result.out.splitlines() if line[0] != " "}
    assert list(lines) == ["Contract", *ALL_CONTRACTS]
    assert lines["gold_incidents"].split()[1:3] == ["2.0.0", "team:on-call"]
    assert "15 min" in lines["gold_incidents"]
    assert lines["gold_incidents"].endswith("host, labels, message, url, top_messages, incident_context_text")


def test_list_as_json(run: Run) -> None:
    facts = {fact["name"]: fact for fact in run("contracts", "list", "--json").json["contracts"]}
    assert list(facts) == list(ALL_CONTRACTS)
    bronze = facts["bronze_events"]
    assert bronze["pii_columns"] == ["host", "labels", "url", "message", "depends_on_host", "_rescued"]
    assert (bronze["freshness_minutes"], bronze["consumers"]) == (
        10,
        ["silver_alerts", "silver_dependencies", "silver_baselines", "gold_incidents", "gold_problems"],
    )
    assert bronze["columns"][0] == "event_id"


def test_show(run: Run) -> None:
    result = run("contracts", "show", "silver_alerts")
    severity = next(line for line in result.out.splitlines() if line.startswith("severity"))
    assert severity.split()[:3] == ["severity", "string", "yes"]
    assert "is one of INFO, LOW, MEDIUM, HIGH, CRITICAL" in severity
    assert "fingerprint, window_start" in result.out
    assert run("contracts", "show", "silver_alerts", "--json").json["name"] == "silver_alerts"


def test_show_on_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, run("contracts", "show", "gold_incidents").out.splitlines())) <= 80


def test_export_of_one_goes_to_stdout(run: Run, settings: Settings, exported: Path) -> None:
    result = run("contracts", "export", "gold_incidents")
    assert (result.code, result.out) == (0, (exported / "gold_incidents.odcs.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(result.out)["servers"][0]["path"] == f"{settings.lake_dir}/gold_incidents"
    assert yaml.safe_load(run("contracts", "export", "event").out)["servers"][0]["path"] == settings.landing_dir


def test_export_into_a_folder(run: Run, exported: Path, tmp_path: Path) -> None:
    assert sorted(file.name for file in exported.iterdir()) == sorted(f"{name}.odcs.yaml" for name in ALL_CONTRACTS)
    two = run("contracts", "export", "event", "silver_alerts", "-o", str(tmp_path / "two"))
    assert two.out == f"2 contracts written to {tmp_path / 'two'}.\n"
    assert len(list((tmp_path / "two").iterdir())) == 2


def test_export_leaves_credentials_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_LAKE_DIR", "s3://key:hunter2@bucket/lake")
    result = run("contracts", "export", "gold_incidents")
    assert "s3://bucket/lake/gold_incidents" in result.out
    assert "hunter2" not in result.out


def test_nothing_changed(run: Run, exported: Path) -> None:
    for arguments in ((exported,), (exported, exported), (exported / "event.odcs.yaml",), ("event", "event")):
        result = run("contracts", "diff", *map(str, arguments))
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith("No change in")


def test_a_breaking_change_exits_1_and_names_everything(run: Run, exported: Path) -> None:
    file = exported / "silver_alerts.odcs.yaml"
    change(file, "value: 15", "value: 5")
    result = run("contracts", "diff", str(file), "silver_alerts")
    assert result.code == 1
    found = next(line for line in result.out.splitlines() if " freshness " in line)
    assert found.split()[:8] == ["silver_alerts", "-", "freshness", "5", "minutes", "15", "minutes", "consumers"]
    assert "1 change, 1 breaking." in result.out
    assert "silver_alerts has a breaking change, but its version was 2.0.0 and is 2.0.0" in result.out
    # The other way round it is a promise that got stronger.
    assert run("contracts", "diff", "silver_alerts", str(file)).code == 0


def test_a_new_version_may_break(run: Run, exported: Path) -> None:
    file = exported / "silver_alerts.odcs.yaml"
    change(file, "value: 15", "value: 20")
    change(file, "version: 2.0.0", "version: 3.0.0")
    result = run("contracts", "diff", "silver_alerts", str(file), "--json")
    assert result.code == 1
    assert (result.json["breaking"], result.json["contracts_without_new_version"]) == (1, [])
    (contract,) = result.json["contracts"]
    (found,) = contract["changes"]
    assert (found["what"], found["was"], found["now"]) == ("freshness", "15 minutes", "20 minutes")
    assert (found["breaking"], found["breaks"], found["column"]) == (True, ["consumers"], None)


def test_folders(run: Run, exported: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    run("contracts", "export", "-o", str(newer))
    change(newer / "event.odcs.yaml", "required: false", "required: true")
    (newer / "slo_status.odcs.yaml").unlink()
    result = run("contracts", "diff", str(exported), str(newer), "--json")
    assert result.code == 1
    changes = {c["contract"]: (c["what"], c["breaks"]) for d in result.json["contracts"] for c in d["changes"]}
    assert changes == {"event": ("required", ["producers"]), "slo_status": ("contract removed", ["consumers"])}
    assert result.json["contracts_without_new_version"] == ["event"]


def test_text_from_a_file_cannot_steer_a_terminal(run: Run, exported: Path) -> None:
    file = exported / "event.odcs.yaml"
    change(file, "description: Host, pod or instance.", r'description: "\e[31mred"')
    result = run("contracts", "diff", str(file))
    assert result.code == 0
    assert "\x1b" not in result.out
    assert "red" in result.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "gold"), "'gold' is no contract; there are event, bronze_events"),
        (("export", "gold"), "'gold' is no contract"),
        (("export",), "--output FOLDER"),
        (("diff", "missing.yaml"), "'missing.yaml' is neither a file or folder nor a contract"),
        (("diff", "event", "silver_alerts"), "different contracts"),
        (("diff", "FOLDER", "event"), "is a folder and event is none"),
        (("diff", "event", "FOLDER"), "is a folder and event is none"),
        (("diff", "."), "has no *.odcs.yaml file"),
    ],
)
def test_wrong_use_exits_2(run: Run, exported: Path, arguments: tuple[str, ...], says: str) -> None:
    result = run("contracts", *(str(exported) if argument == "FOLDER" else argument for argument in arguments))
    assert (result.code, result.out) == (2, "")
    assert says in result.err


def test_an_invalid_file_exits_2_with_its_line(run: Run, exported: Path) -> None:
    file = exported / "event.odcs.yaml"
    change(file, "kind: DataContract", "kind: Contract")
    for arguments in ((str(file),), (str(exported),)):
        result = run("contracts", "diff", *arguments)
        assert (result.code, result.out) == (2, "")
        assert f"{file}, line 2: kind: Input should be 'DataContract', not 'Contract'." in result.err


def test_a_contract_that_the_code_does_not_have(run: Run, exported: Path) -> None:
    file = exported / "event.odcs.yaml"
    change(file, "name: event", "name: orders", times=3)
    result = run("contracts", "diff", str(file))
    assert result.code == 2
    assert f"{file} is the contract 'orders'" in result.err
    assert "as NEW" in result.err
