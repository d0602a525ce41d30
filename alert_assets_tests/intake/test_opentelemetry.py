"""The OpenTelemetry SDK sends logs, metrics and traces with its own exporters."""

from __future__ import annotations

import logging
import sys
from typing import Any

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from alert_assets_tests.intake.site import serving

RESOURCE = Resource({"service.name": "checkout", "host.name": "web-1"})


def test_its_logs_metrics_and_traces_arrive(tmp_path):
    with serving(tmp_path / "data", ALERTS_INTAKE_TOKENS="sdk=a-long-token") as site:
        common: dict[str, Any] = {"headers": {"Authorization": "Bearer a-long-token"}, "compression": Compression.Gzip}

        logs = LoggerProvider(RESOURCE)
        logs.add_log_record_processor(
            BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{site.url}/v1/logs", **common))
        )
        try:
            raise TimeoutError("the gateway is slow")
        except TimeoutError:
            record = logging.makeLogRecord({"msg": "payment failed", "levelno": logging.ERROR, "levelname": "ERROR"})
            record.exc_info = sys.exc_info()
            LoggingHandler(logger_provider=logs).emit(record)

        exporter = OTLPMetricExporter(endpoint=f"{site.url}/v1/metrics", **common)
        metrics = MeterProvider([PeriodicExportingMetricReader(exporter)], RESOURCE)
        metrics.get_meter("shop").create_counter("orders").add(3)
        metrics.get_meter("shop").create_histogram("latency").record(40)

        traces = TracerProvider(resource=RESOURCE)
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{site.url}/v1/traces", **common)))
        tracer = traces.get_tracer("shop")
        with (
            tracer.start_as_current_span("pay", kind=SpanKind.SERVER),
            tracer.start_as_current_span("charge", kind=SpanKind.CLIENT, attributes={"peer.service": "gateway"}),
        ):
            pass
        for provider in (logs, metrics, traces):
            provider.shutdown()
    found = {event["event_type"]: event for event in site.landed}
    assert set(found) == {"log", "metric", "dependency"}
    assert {event["application_id"] for event in found.values()} == {"checkout"}
    log, metric, call = found["log"], found["metric"], found["dependency"]
    assert (log["log_level"], log["error_code"], log["message"]) == ("ERROR", "TimeoutError", "payment failed")
    assert metric["metrics"]["orders"] == 3
    assert metric["metrics"]["latency.mean"] == 40
    assert (call["depends_on"], call["metrics"]["requests"], call["metrics"]["errors"]) == ("gateway", 1, 0)
