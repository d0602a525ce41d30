"""The panels and alerting rules that ship in deploy/, from one table each.

`python -m alert_assets.observe.panels` writes the files anew: Grafana's dashboards, Prometheus' rules, Datadog's
monitors. A test holds the files against this, every expression against the names of
:mod:`alert_assets.observe.metrics`, every monitor against those of :mod:`alert_assets.observe.statsd`, and promtool
reads what is Prometheus'.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

#: Where the files are, below the project's root.
DEPLOY = Path("deploy")

#: Prometheus' job that scrapes `serve`, in the rules and in docs/observe.md.
JOB = "alert_assets"


@dataclass(frozen=True)
class Panel:
    """A panel of a dashboard.

    Attributes:
        kind: Grafana's type of panel.
        queries: by the legend of a query its PromQL.
        unit: Grafana's name of it.
        steps: colour by the value from which it holds, the first from everywhere.
        width: of 24.
    """

    title: str
    kind: str
    queries: dict[str, str]
    unit: str = "short"
    steps: dict[float, str] = field(default_factory=dict)
    width: int = 12
    about: str = ""


#: What a pipeline's owner looks at.
PIPELINE = (
    Panel(
        "Pipeline status",
        "stat",
        {"{{job}}": "alert_assets_pipeline_status"},
        steps={0: "red", 1: "green"},
        width=8,
        about="Whether the last run of each job succeeded.",
    ),
    Panel("Run duration", "timeseries", {"{{job}}": "alert_assets_pipeline_run_duration_seconds"}, "s", width=16),
    Panel(
        "Success rate of a day",
        "gauge",
        {
            "{{job}}": 'sum by (job) (increase(alert_assets_pipeline_runs_total{status="success"}[1d])) '
            '/ sum by (job) (increase(alert_assets_pipeline_runs_total{status=~"success|failure"}[1d]))'
        },
        "percentunit",
        {0: "red", 0.95: "yellow", 0.99: "green"},
        width=8,
    ),
    Panel(
        "SLO: error budget left",
        "bargauge",
        {"{{slo}}": "alert_assets_slo_budget_remaining_ratio"},
        "percentunit",
        {-100: "red", 0: "yellow", 0.25: "green"},
        width=16,
        about="Below 0 it is overspent. What is missing is warming up, or has no data.",
    ),
    Panel(
        "Quality score",
        "timeseries",
        {"{{table}} {{dimension}}": "alert_assets_quality_score"},
        steps={0: "red", 95: "yellow", 98: "green"},
    ),
    Panel(
        "Freshness",
        "heatmap",
        {"{{table}}": "alert_assets_table_freshness_seconds"},
        "s",
        about="Age of the newest row of each table.",
    ),
    Panel(
        "Alerts: messages of a day",
        "table",
        {"{{channel}} {{outcome}}": "sum by (channel, outcome) (increase(alert_assets_notifications_total[1d]))"},
        about="What was sent through which channel, what waits, and what nobody took.",
    ),
    Panel(
        "Circuit breakers",
        "state-timeline",
        {"{{breaker}} {{state}}": "alert_assets_breaker_state == 1"},
        steps={0: "green", 1: "orange"},
    ),
)

#: What who is on call looks at.
PROBLEMS = (
    Panel(
        "Problems that fire",
        "stat",
        {"{{severity}}": "alert_assets_problems_open"},
        steps={0: "green", 1: "orange"},
        width=24,
    ),
    Panel(
        "Landed to notified",
        "timeseries",
        {
            f"p{100 * share:.0f}": f"histogram_quantile({share}, "
            "sum by (le) (rate(alert_assets_landed_to_notified_seconds_bucket[1h])))"
            for share in (0.5, 0.95)
        },
        "s",
        about="From landing to the first message that a person got.",
    ),
    Panel("Problems over time", "timeseries", {"{{severity}}": "alert_assets_problems_open"}),
    Panel(
        "Events a second",
        "timeseries",
        {"{{event_type}}": "sum by (event_type) (rate(alert_assets_events_total[5m]))"},
        "ops",
    ),
    Panel(
        "Requests by answer",
        "timeseries",
        {"{{sender}} {{code}}": "sum by (sender, code) (rate(alert_assets_intake_requests_total[5m]))"},
        "reqps",
    ),
    Panel(
        "Lines refused, by reason",
        "timeseries",
        {"{{reason}}": "sum by (reason) (increase(alert_assets_quarantined_total[1h]))"},
    ),
    Panel(
        "Burn rate",
        "timeseries",
        {"{{slo}} {{window}}": "alert_assets_slo_burn_rate"},
        steps={0: "green", 1: "yellow", 6: "red"},
    ),
    Panel("Rows", "timeseries", {"{{table}}": "alert_assets_table_rows"}),
)

DASHBOARDS = {"pipeline": ("Alert pipeline", PIPELINE), "problems": ("Problems", PROBLEMS)}


@dataclass(frozen=True)
class Monitor:
    """The same of Datadog, over what StatsD is told.

    Attributes:
        query: of the last minutes, without what it is compared with.
        critical: the value from which it alerts, which `comparison` is with.
        warning: from which it warns.
        says: one sentence; may have Datadog's `{{TAG.name}}` and `{{value}}`.
        options: further ones of Datadog's.
    """

    name: str
    query: str
    comparison: str
    critical: float
    says: str
    warning: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """An alerting rule: for what watches the watcher, so nothing that the product notifies of better itself.

    Attributes:
        lasts: how long the expression has to hold.
        says: one sentence; may have Prometheus' `{{ $labels.NAME }}` and `{{ $value }}`.
        monitor: what Datadog has of it.
    """

    name: str
    expression: str
    lasts: str
    severity: str
    says: str
    monitor: Monitor | None = None


RULES = (
    Rule(
        "AlertAssetsIsAway",
        f'absent(up{{job="{JOB}"}}) or up{{job="{JOB}"}} == 0',
        "5m",
        "critical",
        "`alert-assets serve` does not answer: nothing is taken in over HTTP, and these figures are blind.",
    ),
    Rule(
        "AlertAssetsRunFails",
        "alert_assets_pipeline_status == 0",
        "15m",
        "warning",
        "The last run of {{ $labels.job }} failed, and none has succeeded since.",
        Monitor(
            "Pipeline failure",
            "sum(last_15m):sum:pipeline.runs{status:failure} by {pipeline}.as_count()",
            ">",
            0,
            "Runs of {{pipeline.name}} failed: {{value}} in 15 minutes.",
            options={"notify_no_data": False},
        ),
    ),
    Rule(
        "AlertAssetsIsStale",
        'alert_assets_table_freshness_seconds{table=~"bronze_events|silver_alerts"} > 86400',
        "10m",
        "warning",
        "The newest row of {{ $labels.table }} is {{ $value | humanizeDuration }} old.",
        Monitor(
            "Data staleness",
            "avg(last_10m):avg:data.freshness_hours{table:bronze_events OR table:silver_alerts} by {table}",
            ">",
            24,
            "The newest row of {{table.name}} is {{value}} hours old.",
            warning=12,
            # Nothing is sent where nothing runs any more.
            options={"notify_no_data": True, "no_data_timeframe": 1_440},
        ),
    ),
    Rule(
        "AlertAssetsScoreDrops",
        "alert_assets_quality_score < 95",
        "10m",
        "warning",
        "{{ $labels.dimension }} of {{ $labels.table }} is {{ $value }} of 100.",
        Monitor(
            "Quality score drop",
            "avg(last_10m):avg:dq.overall_score{*} by {table}",
            "<",
            95,
            "The quality score of {{table.name}} is {{value}} of 100.",
            warning=98,
        ),
    ),
    Rule(
        "AlertAssetsBudgetIsSpent",
        "alert_assets_slo_budget_remaining_ratio < 0",
        "5m",
        "warning",
        "The error budget of {{ $labels.slo }} is overspent.",
    ),
    Rule(
        "AlertAssetsBreakerIsOpen",
        'alert_assets_breaker_state{state="OPEN"} == 1',
        "15m",
        "critical",
        "The circuit breaker {{ $labels.breaker }} refuses to materialize.",
    ),
    Rule(
        "AlertAssetsNobodyHears",
        'increase(alert_assets_notifications_total{outcome="dead",channel!="log"}[30m]) > 0',
        "0m",
        "critical",
        "{{ $labels.channel }} did not take messages: they went another way, or nobody has them.",
    ),
    Rule(
        "AlertAssetsEventsStay",
        "sum(rate(alert_assets_events_total[30m])) < 0.1 * sum(rate(alert_assets_events_total[30m] offset 1d))",
        "15m",
        "warning",
        "A tenth, or less, of the events of the same time yesterday arrive: {{ $value | humanize }} a second.",
        Monitor(
            "Row count anomaly",
            "avg(last_4h):anomalies(avg:table.row_count{*} by {table}, 'agile', 3, direction='both', interval=60, "
            "alert_window='last_15m', count_default_zero='true', seasonality='daily')",
            ">=",
            1,
            "{{table.name}} has {{value}} rows, which is unusual for it at this time.",
            options={"threshold_windows": {"trigger_window": "last_15m", "recovery_window": "last_15m"}},
        ),
    ),
)


def dashboard(name: str) -> dict[str, Any]:
    """Return one of DASHBOARDS as Grafana imports it; the Prometheus is chosen there."""
    title, panels = DASHBOARDS[name]
    laid_out: list[dict[str, Any]] = []
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > 24:
            x, y = 0, y + 8
        laid_out.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": 8}))
        x += panel.width
    source = {"type": "datasource", "name": "prometheus", "label": "Prometheus", "query": "prometheus"}
    return {
        "uid": f"alert-assets-{name}",
        "title": title,
        "tags": ["alert-assets"],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [source]},
        "panels": laid_out,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${prometheus}"}
    is_table = panel.kind == "table"
    steps = [{"color": color, "value": value if at else None} for at, (value, color) in enumerate(panel.steps.items())]
    defaults: dict[str, Any] = {"unit": panel.unit}
    if steps:
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}, "color": {"mode": "thresholds"}}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
                **({"format": "table", "instant": True} if is_table else {}),
            }
            for at, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def rules() -> dict[str, Any]:
    """Return RULES as Prometheus reads them."""
    alerts = [
        {
            "alert": rule.name,
            "expr": rule.expression,
            "for": rule.lasts,
            "labels": {"severity": rule.severity, "service": "alert_assets"},
            "annotations": {"summary": rule.says},
        }
        for rule in RULES
    ]
    return {"groups": [{"name": "alert_assets", "rules": alerts}]}


def monitors() -> list[dict[str, Any]]:
    """Return the rules' monitors as Datadog's API and Terraform take them."""
    return [_monitor(rule, rule.monitor) for rule in RULES if rule.monitor]


def _monitor(rule: Rule, of: Monitor) -> dict[str, Any]:
    limits = {"critical": of.critical, **({} if of.warning is None else {"warning": of.warning})}
    return {
        "name": of.name,
        "type": "query alert",
        "query": f"{of.query} {of.comparison} {of.critical}",
        "message": of.says,
        "tags": ["service:alert_assets", f"severity:{rule.severity}"],
        "options": {"thresholds": limits, "include_tags": True, **of.options},
    }


def files() -> dict[Path, str]:
    """Return what ships, by its path below the project's root."""
    made = "# Made by `python -m alert_assets.observe.panels`; changes belong there.\n"
    found = {DEPLOY / f"grafana/{name}.json": json.dumps(dashboard(name), indent=1) + "\n" for name in DASHBOARDS}
    listed = {"prometheus/alert_assets.rules.yml": rules(), "datadog/monitors.yaml": monitors()}
    for name, content in listed.items():
        found[DEPLOY / name] = made + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return found


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(path)
