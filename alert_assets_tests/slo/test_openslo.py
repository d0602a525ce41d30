"""OpenSLO files: what ships is valid, and what is wrong in a file is named by line and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, timedelta
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
import yaml

from alert_assets.contracts import CONTRACTS
from alert_assets.errors import UserError
from alert_assets.slo.budget import evaluate, windows_within
from alert_assets.slo.openslo import PACKAGED, OpenSloError, load_slos
from alert_assets.slo.sli import Availability, DailyCost, Freshness, Latency, QualityScore, RunSuccess, ValidLines

SCHEMA = json.loads(Path(__file__).with_name("openslo_v1.schema.json").read_text("utf-8"))

#: One SLO of each form; the line numbers in the tests are counted from here.
FILE = """\
apiVersion: openslo/v1
kind: DataSource
metadata:
  name: lakehouse
spec:
  type: alert-assets
  connectionDetails: {}
---
apiVersion: openslo/v1
kind: Service
metadata:
  name: alerts
spec: {}
---
apiVersion: openslo/v1
kind: SLI
metadata:
  name: gold-latency
spec:
  thresholdMetric:
    metricSource:
      metricSourceRef: lakehouse
      spec:
        measure: latency
        stage: event_to_gold
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: gold-latency
spec:
  service: alerts
  indicatorRef: gold-latency
  timeWindow:
    - duration: 4w
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - op: lte
      value: 60
      targetPercent: 99.9
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: runs
  annotations:
    alert-assets.internal/opens-breaker: pipeline
    alert-assets.internal/min-events: "7"
spec:
  service: alerts
  indicator:
    metadata:
      name: runs
    spec:
      ratioMetric:
        counter: false
        good:
          metricSource:
            type: alert-assets
            spec: {measure: runs, count: succeeded, job: lake}
        total:
          metricSource:
            type: alert-assets
            spec: {measure: runs, count: all, job: lake}
  timeWindow:
    - duration: 7d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - target: 0.9
"""

Refused = Callable[[str, str], str]


def write(folder: Path, text: str, name: str = "slos.yaml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """The one problem of the file after a replacement, without the name of the file."""

    def refuse(old: str, new: str) -> str:
        assert FILE.count(old) == 1, old
        path = write(tmp_path, FILE.replace(old, new))
        with pytest.raises(OpenSloError) as caught:
            load_slos(tmp_path)
        lines = [line for line in str(caught.value).splitlines() if line.startswith(f"  {path}:")]
        assert len(lines) == 1, caught.value
        return lines[0].removeprefix(f"  {path}:")

    return refuse


def test_a_file_becomes_slos(tmp_path: Path) -> None:
    write(tmp_path, FILE)
    gold, runs = load_slos(tmp_path)

    assert (gold.name, gold.service, gold.window, gold.target) == (
        "gold-latency", "alerts", timedelta(weeks=4), Fraction("0.999"),
    )  # fmt: skip
    assert gold.indicator == Latency("event_to_gold", 60)
    assert (gold.min_events, gold.opens_breaker) == (20, None)
    assert runs.indicator == RunSuccess("lake")
    assert (runs.min_events, runs.opens_breaker, runs.target) == (7, "pipeline", Fraction("0.9"))


def test_documents_may_be_in_several_files(tmp_path: Path) -> None:
    for number, document in enumerate(FILE.split("---\n")):
        write(tmp_path, document, f"{number}.{'yml' if number % 2 else 'yaml'}")
    write(tmp_path, "not: ours", "README.txt")
    assert [slo.name for slo in load_slos(tmp_path)] == ["gold-latency", "runs"]


# What ships


@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.yaml")), ids=lambda path: path.name)
def test_what_ships_keeps_the_specification(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text("utf-8")):
        jsonschema.validate(document, SCHEMA)


def test_what_ships() -> None:
    slos = {slo.name: slo for slo in load_slos()}

    assert {name: slo.indicator for name, slo in slos.items()} == {
        "ingested-to-bronze-latency": Latency("ingested_to_bronze", 5, max_over_threshold_per_batch=10),
        "landed-to-bronze-latency": Latency("landed_to_bronze", 120),
        "event-to-bronze-latency": Latency("event_to_bronze", 300),
        "event-to-gold-latency": Latency("event_to_gold", 900),
        "landed-to-notified-latency": Latency("landed_to_notified", 300),
        "bronze-freshness": Freshness("bronze_events", 600),
        "gold-freshness": Freshness("gold_incidents", 900),
        "quarantine-ratio": ValidLines(),
        "bronze-quality": QualityScore("bronze_events", 95),
        "run-success": RunSuccess(),
        "daily-cost": DailyCost(5.0),
        **{f"{table.replace('_', '-')}-availability": Availability(table) for table in CONTRACTS},
    }
    assert {name for name, slo in slos.items() if slo.opens_breaker} == {"quarantine-ratio"}


def test_availability_is_promised_as_in_the_contracts() -> None:
    slos = {slo.indicator.table: slo for slo in load_slos() if isinstance(slo.indicator, Availability)}
    promised = {name: contract.availability_percent for name, contract in CONTRACTS.items()}
    assert {name: float(100 * slo.target) for name, slo in slos.items()} == promised


@pytest.mark.parametrize("slo", load_slos(), ids=lambda slo: slo.name)
def test_every_alert_of_what_ships_can_fire(slo) -> None:
    assert all(pair.limit(slo.window) * slo.error_budget < 1 for pair in windows_within(slo.window))
    assert slo.description


# What is wrong in a file


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("targetPercent: 99.9", "target: 1.2", "41: spec.objectives[0].target is 1.2: Input should be less than 1"),
        ("targetPercent: 99.9", "target: '0.9'", "41: spec.objectives[0].target is '0.9': Input should be a valid num"),
        (
            "    - target: 0.9\n",
            "    - displayName: x\n",
            "71: spec.objectives[0] is {'displayName': 'x'}: either target",
        ),
        ("  service: alerts\n  indicatorRef", "  indicatorRef", "32: spec.service: has to be given"),
        (
            "  service: alerts\n  indicatorRef",
            "  service: alarms\n  indicatorRef",
            "32: spec.service is 'alarms': there is",
        ),
        ("indicatorRef: gold-latency", "indicatorRef: gold", "33: spec.indicatorRef is 'gold': there is no SLI"),
        ("indicatorRef: gold-latency", "description: x", "32: spec is {"),
        (
            "      metricSourceRef: lakehouse\n",
            "      metricSourceRef: lake\n",
            "22: spec.thresholdMetric.metricSource.metricS",
        ),
        ("      metricSourceRef: lakehouse\n", "", "22: spec.thresholdMetric.metricSource is {"),
        (
            "stage: event_to_gold",
            "stage: to_gold",
            "25: spec.thresholdMetric.metricSource.spec.stage is 'to_gold': lan",
        ),
        (
            "measure: latency",
            "measure: speed",
            "24: spec.thresholdMetric.metricSource.spec.measure is 'speed': one of latency, freshness, quality_score",
        ),
        ("        measure: latency\n", "", "24: spec.thresholdMetric.metricSource.spec.measure: has to be given"),
        ("        stage: event_to_gold\n", "", "24: spec.thresholdMetric.metricSource.spec.stage: has to be given"),
        (
            "stage: event_to_gold",
            "stage: event_to_gold\n        over: 1",
            "26: spec.thresholdMetric.metricSource.spec.over",
        ),
        ("op: lte", "op: gte", "39: spec.objectives[0].op is 'gte': lte, for latency"),
        ("      value: 60\n", "", "39: spec.objectives[0].value: has to be given"),
        ("duration: 4w", "duration: 1M", "35: spec.timeWindow[0].duration is '1M': a whole number"),
        ("duration: 4w", "duration: 59m", "35: spec.timeWindow[0].duration is '59m': a whole number"),
        (
            "duration: 4w\n      isRolling: true",
            "duration: 4w\n      calendar: {}\n      isRolling: true",
            "36: spec.timeWindow[0].calendar is {}: not used",
        ),
        ("  name: alerts\n", "  name: Alerts!\n", "12: metadata.name is 'Alerts!': up to 63 of"),
        (
            'min-events: "7"',
            "min-events: 7",
            "49: metadata.annotations.alert-assets.internal/min-events is 7: Input should be a valid str",
        ),
        (
            'min-events: "7"',
            'min-events: "few"',
            "49: metadata.annotations.alert-assets.internal/min-events is 'few': a whole number",
        ),
        (
            "opens-breaker: pipeline",
            "opens-breaker: all",
            "48: metadata.annotations.alert-assets.internal/opens-breaker is 'all': one of",
        ),
        (
            "opens-breaker: pipeline",
            "opens_breaker: pipeline",
            "48: metadata.annotations.alert-assets.internal/opens_breaker is 'pipeline': there is no such",
        ),
        (
            "count: succeeded, job: lake",
            "count: all, job: lake",
            "61: spec.indicator.spec.ratioMetric.good.metricSource.spec.count is 'all'",
        ),
        ("count: all, job: lake", "count: all", "61: spec.indicator.spec.ratioMetric.good.metricSource.spec is {"),
        ("        counter: false\n", "", "57: spec.indicator.spec.ratioMetric.counter: has to be given"),
        ("kind: SLI", "kind: AlertPolicy", "16: kind is 'AlertPolicy': not used"),
        ("kind: SLI", "kind: SLIs", "16: kind is 'SLIs': one of DataSource, Service, SLI, SLO"),
        (
            "type: alert-assets\n  connection",
            "type: Prometheus\n  connection",
            "6: spec.type is 'Prometheus': alert-assets",
        ),
        (
            "  indicatorRef: gold-latency\n",
            "  indicatorRef: gold-latency\n  alertPolicies: []\n",
            "34: spec.alertPolicies is []: not used",
        ),
        (
            "  indicatorRef: gold-latency\n",
            "  indicatorRef: gold-latency\n  service: alerts\n",
            "34: service is there twice",
        ),
        ("  connectionDetails: {}\n", "  connectionDetails: {\n", "8: this is no YAML"),
        ("spec: {}\n", "spec: {1: 2}\n", "13: spec[1]: Keys should be strings"),
    ],
)
def test_a_problem_names_line_field_value_and_rule(refused: Refused, old: str, new: str, problem: str) -> None:
    found = refused(old, new)
    assert found.startswith(problem), found


def test_a_fast_burn_that_cannot_fire_opens_no_breaker(refused: Refused) -> None:
    """Over 7 days the fast burn is 3.36 times the budget; with a target of 70 % that is more than everything."""
    found = refused("    - target: 0.9\n", "    - target: 0.7\n")
    assert "can never fire" in found
    assert "above 0.7024" in found


def test_connection_details_are_not_repeated(refused: Refused) -> None:
    found = refused("connectionDetails: {}", "connectionDetails: {secretAccessKey: hunter2}")
    assert found.startswith("7: spec.connectionDetails: {}")
    assert "hunter2" not in found


def test_a_name_and_a_stage_have_one_meaning(tmp_path: Path) -> None:
    write(tmp_path, FILE)
    write(tmp_path, FILE.split("---\n")[3].replace("value: 60", "value: 90"), "more.yaml")
    with pytest.raises(OpenSloError) as caught:
        load_slos(tmp_path)
    assert "another SLO has this name" in str(caught.value)
    assert "another SLO measures event_to_gold with 90 seconds; a stage has one threshold" in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, FILE.replace("value: 60", "value: -1").replace("target: 0.9\n", "target: 9\n"))
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(OpenSloError) as caught:
        load_slos(tmp_path)
    told = str(caught.value)
    assert "latin.yaml:1:" in told
    assert "is -1" in told
    assert "is 9" in told
    assert "slo check" in told


@pytest.mark.parametrize("text", ["- a list", "just text", "a: &a [*a]\n", "? [a]\n: b\n", "", "1: 2"])
def test_any_yaml_is_refused_in_words(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(OpenSloError, match=r"slos\.yaml:1: |No SLO is in"):
        load_slos(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ALERTS_SLO_DIR"):
        load_slos(tmp_path / "nowhere")


def test_the_slos_of_a_new_installation_have_no_data(tmp_path: Path) -> None:
    from datetime import datetime

    from alert_assets.slo.sli import History

    now = datetime(2026, 2, 14, tzinfo=UTC)
    assert {evaluate(slo, slo.indicator.counts(History()), now).state for slo in load_slos()} == {"no_data"}
