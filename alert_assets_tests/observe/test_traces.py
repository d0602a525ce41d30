"""Spans of what is no run by the command, in processes of their own: each settles once whether it sends any."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from alert_assets.kernel.tracing import FLUSH_SECONDS
from alert_assets_tests.checks.lake import T0, Lake, metric
from alert_assets_tests.intake.site import serving
from alert_assets_tests.observe.collector import Collector, collecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_assets.settings import Settings

RUN = "0be46fe1-bdf9-4d68-8c29-7da718570412"

WITHOUT_THE_EXTRA = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
"""
TOUCHED = """
import json, sys
from alert_assets.kernel import tracing
from alert_assets.logs import run_log

with tracing.span("nothing") as opened, tracing.query("nothing", {}):
    assert opened is None
    run_log("0be46fe1-bdf9-4d68-8c29-7da718570412").info("said")
assert tracing.carried() == []
found = [name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "requests")]
print(json.dumps([tracing.is_on(), found]))
"""
EVENTS = """
import dagster as dg
from alert_assets.observe.traces import RunSpans

attempts = []

@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def once_more():
    attempts.append(1)
    if len(attempts) == 1:
        raise ValueError("not yet")
    return dg.MaterializeResult(metadata={"rows_out": 3})

@dg.asset
def fails():
    raise ValueError("never")

spans = RunSpans("0be46fe1-bdf9-4d68-8c29-7da718570412", "nightly")
spans.begin()
for event in dg.materialize([once_more, fails], raise_on_error=False).all_events:
    spans.see(None, event)
spans.end(None)
"""
DERIVED = """
from alert_assets.kernel import tracing

run_id = "0be46fe1-bdf9-4d68-8c29-7da718570412"
run, step = tracing.derived(run_id), tracing.derived(run_id, "bronze", 0)
# The run and the step as their executor has them, and what another process does in the step.
for span in tracing.begin_derived("run", run, None, {}), tracing.begin_derived("step", step, run, {}):
    span.end()
tracing.find_parent(lambda: tracing.derived(run_id, "bronze", 0))
with tracing.query("query", {}):
    pass
"""
CYCLE = """
from alert_assets.breaker.store import circuit_breakers
from alert_assets.settings import load_settings
from alert_assets.stream.resident import ResidentProcess

def said(text):
    if "Nothing new in" in text:
        process.stop.set()

settings = load_settings()
process = ResidentProcess(settings, circuit_breakers(settings), said)
process.run()
"""
SPAN = """
import time
from alert_assets.kernel import tracing

with tracing.span("one"):
    pass
print(time.time())
"""
EXECUTES = """
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
import grpc
from pyspark.sql.connect.client import SparkConnectClient
from pyspark.sql.connect.proto import Command, Relation, Plan
from alert_assets.kernel import tracing
from alert_assets.spark.traced import trace_executions

asked = []

class Server(grpc.GenericRpcHandler):
    def service(self, details):
        asked.append((details.method.rpartition("/")[2], dict(details.invocation_metadata).get("traceparent")))
        return None  # unimplemented

server = grpc.server(ThreadPoolExecutor(2), handlers=[Server()])
port = server.add_insecure_port("127.0.0.1:0")
server.start()
client = SparkConnectClient(f"sc://127.0.0.1:{port}")
trace_executions(SimpleNamespace(client=client))

def attempt(act):
    try:
        act()
    except Exception:
        pass

command = Command(sql_command={"sql": "SELECT 1"})
attempt(lambda: client.execute_command(command))
with tracing.span("stage"):
    attempt(lambda: client.execute_command(command))
    attempt(lambda: client._analyze("spark_version"))
    request = client._execute_plan_request_with_metadata()
    request.plan.root.range.end = 3
    attempt(lambda: client._execute(request))
# It still releases what it executed. A server that is gone would be asked for ten minutes.
client.close()
server.stop(None)
print(json.dumps([one for one in asked if one[0] in ("ExecutePlan", "AnalyzePlan")]))
"""


def python(code: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ALERTS_DATA_DIR": str(folder / "data"), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.mark.parametrize(
    ("before", "variables"),
    [
        ("", {}),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}),
        (WITHOUT_THE_EXTRA, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
    ],
    ids=["no endpoint", "disabled", "no exporter", "no extra"],
)
def test_off_is_off(tmp_path: Path, before: str, variables: dict[str, str]) -> None:
    is_on, imported = json.loads(python(before + TOUCHED, tmp_path, **variables))
    assert not is_on
    # The namespace alone, which looking for the extra opens.
    assert set(imported) <= ({"opentelemetry"} if before else set())


def test_a_run_that_fails_and_a_step_that_is_repeated(collector: Collector, tmp_path: Path) -> None:
    python(EVENTS, tmp_path, **collector.environment)
    run = collector.one("run nightly")
    steps = {(step.name, step.attributes["dagster.attempt"]): step for step in collector.below(run)}
    assert run.trace == RUN.replace("-", "")
    assert {key: step.failed for key, step in steps.items()} == {
        ("step once_more", 0): True,
        ("step once_more", 1): False,
        ("step fails", 0): True,
    }
    assert run.failed
    assert steps["step once_more", 1].events == ("materialized",)
    assert len(collector.spans) == 4


def test_what_started_a_run_is_its_parent(collector: Collector, tmp_path: Path) -> None:
    outer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    python(DERIVED, tmp_path, TRACEPARENT=outer, **collector.environment)
    run, step = collector.one("run"), collector.one("step")
    assert (run.trace, run.parent) == tuple(outer.split("-")[1:3])
    assert (step.trace, step.parent) == (run.trace, run.id)


@pytest.mark.parametrize(("share", "sent"), [("0", 0), ("1", 3)])
def test_a_sampler_decides_for_the_whole_run(collector: Collector, tmp_path: Path, share: str, sent: int) -> None:
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": share}
    python(DERIVED, tmp_path, **sampler, **collector.environment)
    assert len(collector.spans) == sent


def test_a_cycle_has_a_span_a_stage(collector: Collector, settings: Settings, tmp_path: Path) -> None:
    """Bronze has rows that the tables after it have not seen; nothing lands, so Spark is not needed."""
    Lake(settings).land(metric("m1", T0, cpu_percent=12.5))
    python(CYCLE, tmp_path, OTEL_SERVICE_NAME="stream", **collector.environment)
    cycle = collector.one("cycle")
    stages = [span.name for span in sorted(collector.below(cycle), key=lambda span: span.began)]
    assert {"stage silver_alerts", "stage silver_baselines"} <= set(stages)
    assert stages[0] == "stage silver_alerts"
    assert cycle.parent == ""
    assert cycle.attributes["alert_assets.run_id"].startswith("stream/")
    [baselines] = [span for span in collector.below(cycle) if span.name == "stage silver_baselines"]
    assert "datafusion query" in {span.name for span in collector.below(baselines)}
    assert {span.service for span in collector.spans} == {"stream"}
    assert {collector.path(span)[0] for span in collector.spans} == {"cycle"}


def test_a_request_is_below_its_senders_span(collector: Collector, tmp_path: Path) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with serving(tmp_path / "data", **collector.environment) as site:
        body = b'{"event_id": "e"}'
        httpx.post(f"{site.url}/intake/events", content=body, headers={"traceparent": f"00-{trace}-{parent}-01"})
        httpx.post(f"{site.url}/intake/events", content=b"x", headers={"content-encoding": "gzip"})
        # What brings spans leaves none behind.
        httpx.post(f"{site.url}/v1/traces", content=b"{}", headers={"content-type": "application/json"})
        httpx.get(f"{site.url}/metrics")
    [told, alone] = sorted(collector.named("POST"), key=lambda span: span.began)
    assert (told.trace, told.parent, told.kind) == (trace, parent, 2)
    assert told.attributes["http.response.status_code"] == 202
    assert told.attributes["http.route"] == "/intake/{sender}"
    assert alone.parent == ""
    assert alone.attributes["http.response.status_code"] == 400
    [landed] = collector.below(told)
    assert (landed.name, landed.attributes["alert_assets.lines"]) == ("land", 1)
    assert len(collector.spans) == 3


def test_spark_is_told_the_context_and_each_execution_has_a_span(collector: Collector, tmp_path: Path) -> None:
    asked = json.loads(python(EXECUTES, tmp_path, **collector.environment))
    stage = collector.one("stage")
    executions = sorted(collector.below(stage), key=lambda span: span.began)
    assert [span.name for span in executions] == ["spark sql_command", "spark collect"]
    assert all(span.failed and span.kind == 3 for span in executions)

    carried = [(call, parent and parent.split("-")[1:3]) for call, parent in asked]
    assert carried == [
        ("ExecutePlan", None),
        ("ExecutePlan", [stage.trace, executions[0].id]),
        ("AnalyzePlan", [stage.trace, stage.id]),
        ("ExecutePlan", [stage.trace, executions[1].id]),
    ]
    assert len(collector.spans) == 3


@pytest.mark.parametrize("endpoint", ["hangs", "refuses", "is no URL"])
def test_an_endpoint_holds_up_no_process(tmp_path: Path, endpoint: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as hangs, socket.socket() as refuses:
        refuses.bind(("127.0.0.1", 0))  # bound, and not listening
        port = (hangs if endpoint == "hangs" else refuses).getsockname()[1]
        url = "::nonsense::" if endpoint == "is no URL" else f"http://127.0.0.1:{port}"
        done = float(python(SPAN, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="100").split()[-1])
        assert time.time() - done < FLUSH_SECONDS + 1.5
