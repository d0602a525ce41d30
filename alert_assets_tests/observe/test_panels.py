"""What ships in deploy/ for Prometheus and Grafana: made from the tables, of names that there are, and right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, QUALITY_SCORES, SLO_STATUS
from alert_assets.contracts.vocabulary import DIMENSIONS
from alert_assets.kernel.clock import utc_now
from alert_assets.observe import panels
from alert_assets.observe.metrics import Metrics
from alert_assets.observe.statsd import FIGURES
from alert_assets.quality.score import OVERALL
from alert_assets.settings import load_settings
from alert_assets.state.database import State
from alert_assets.state.tables import run_outcomes
from alert_assets_tests.commands.lake import event, quarantined, write
from alert_assets_tests.intake.site import serving
from alert_assets_tests.intake.test_prometheus import free_port, process, until
from alert_assets_tests.web.lake import notify, problem, put, slo_status

if TYPE_CHECKING:
    from alert_assets.settings import Settings

ROOT = Path(__file__).parents[2]
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is needed")

#: By panel or rule its PromQL.
EXPRESSIONS = {
    **{
        f"{panel.title}: {legend}": expression
        for _, listed in panels.DASHBOARDS.values()
        for panel in listed
        for legend, expression in panel.queries.items()
    },
    **{rule.name: rule.expression for rule in panels.RULES},
}


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_what_the_tables_make() -> None:
    for path, text in panels.files().items():
        assert (ROOT / path).read_text("utf-8") == text, "run `python -m alert_assets.observe.panels`"


def test_every_name_and_label_is_one_of_ours(settings: Settings) -> None:
    labels = {}
    for family in Metrics(settings).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels[name] = set(vars(family)["_labelnames"])
        labels[f"{name}_bucket"] = {*labels[name], "le"}
    for title, expression in EXPRESSIONS.items():
        names = set(re.findall(r"alert_assets_\w+", expression))
        assert names <= labels.keys(), title
        used = {label for given in re.findall(r"by \(([^)]*)\)", expression) for label in given.split(", ")}
        used |= {*re.findall(r"\{\{(\w+)\}\}", title), *re.findall(r"[{,](\w+)=", expression)} - {"job"}
        assert used - {"job"} <= set.union(set(), *(labels[name] for name in names)), title


def test_datadog_has_a_monitor_each_for_failure_staleness_scores_and_rows() -> None:
    names = {monitor["name"] for monitor in panels.monitors()}
    assert names == {"Pipeline failure", "Data staleness", "Quality score drop", "Row count anomaly"}


@pytest.mark.parametrize("monitor", panels.monitors(), ids=lambda monitor: monitor["name"])
def test_every_monitor_is_over_what_statsd_is_told(monitor: dict[str, Any]) -> None:
    """As far as a query can be read without Datadog: its names and tags are sent, its limits those of its options."""
    dimensions = [*DIMENSIONS, "overall"]
    tags = {
        figure.name.format(dimension=dimension): set(figure.tags.values())
        for figure in FIGURES.values()
        for dimension in dimensions
    }
    query = monitor["query"]
    [(name, scope, by)] = re.findall(r"(?:avg|sum):([a-z_.]+)\{([^}]*)\} by \{(\w+)\}", query)
    used = {by, *re.findall(r"(\w+):", scope), *re.findall(r"\{\{(\w+)\.name\}\}", monitor["message"])}
    assert used <= tags[name]
    limits = monitor["options"]["thresholds"]
    assert query.endswith(f" {limits['critical']}")
    compared = query.split()[-2]
    if "warning" in limits:
        assert (limits["warning"] < limits["critical"]) == (compared == ">")


@needs_promtool
def test_promtool_reads_every_expression_and_runs_the_rules(tmp_path: Path) -> None:
    listed = [{"record": f"panel:{at}", "expr": expression} for at, expression in enumerate(EXPRESSIONS.values())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": listed}]}))
    promtool("check", "rules", path, panels.DEPLOY / "prometheus/alert_assets.rules.yml")
    promtool("test", "rules", panels.DEPLOY / "prometheus/alert_assets.test.yml")


@pytest.mark.parametrize("name", panels.DASHBOARDS)
def test_panels_fill_rows_without_overlap(name: str) -> None:
    dashboard = json.loads((ROOT / panels.DEPLOY / f"grafana/{name}.json").read_text("utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, at["y"]) for x in range(at["x"], at["x"] + at["w"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def ended(settings: Settings, run_id: str) -> None:
    """A run of a job that has just ended well."""
    now = utc_now()
    run = {"outcome": "success", "reported_by": "executor", "job": "pipeline_job", "breaker": "pipeline"}
    with State(settings.state_url).writing() as connection:
        began = now - timedelta(seconds=9)
        connection.execute(run_outcomes.insert().values(run_id=run_id, at=now, started_at=began, **run))


@pytest.mark.slow
@pytest.mark.skipif(not PROMETHEUS, reason="prometheus is needed")
def test_prometheus_scrapes_serve_and_answers_the_panels(tmp_path: Path) -> None:
    """The real one, over what each part leaves: events, problems, messages, runs, scores, SLOs, breakers."""
    settings = load_settings(data_dir=tmp_path / "data")
    put(settings, problem(1, severity="CRITICAL"))
    notify(settings, problem(2))
    write(settings, BRONZE_EVENTS, event(1), event(2, source="grafana"))
    write(settings, BRONZE_QUARANTINE, quarantined("x", "malformed_json"))
    now = utc_now()
    score = {"table_name": "silver_alerts", "dimension": OVERALL, "evaluated_at": now, "score": 91.25}
    write(settings, QUALITY_SCORES, score)
    write(settings, SLO_STATUS, slo_status(now))
    circuit_breakers(settings).trip("pipeline", "3 failures in a row")
    ended(settings, "first")
    port = free_port()
    with serving(tmp_path / "data") as site:
        httpx.post(f"{site.url}/intake/events", content=b'{"event_id": "e"}')
        scrape = {"job_name": panels.JOB, "static_configs": [{"targets": [site.url.removeprefix("http://")]}]}
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = (
            str(PROMETHEUS),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        )

        def answered(expression: str) -> list[Any]:
            url = f"http://127.0.0.1:{port}/api/v1/query"
            try:
                got = httpx.get(url, params={"query": expression})
            except httpx.TransportError:
                return []
            if got.status_code == 503:  # it is starting
                return []
            answer = got.json()
            assert answer["status"] == "success", answer
            found: list[Any] = answer["data"]["result"]
            return found

        with process(*command, log=tmp_path / "prometheus.log"):
            until(lambda: answered("count_over_time(alert_assets_problems_open[1m]) > 2"), "nothing is scraped")
            ended(settings, "second")
            until(lambda: answered("increase(alert_assets_pipeline_runs_total[1d]) > 0"), "no run is seen")
            values = {title: answered(one) for title, one in EXPRESSIONS.items() if title.count(": ")}
    assert {title for title, found in values.items() if not found} == set()
    # Of what nothing has come within the hour there is no percentile.
    none = {title for title, found in values.items() if {one["value"][1] for one in found} == {"NaN"}}
    assert {title for title in none if not title.startswith("Landed to notified")} == set()
