"""OTLP: what the OpenTelemetry SDK sends, as protobuf and as JSON."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from alert_assets.intake import otlp
from alert_assets_tests.intake.test_server import new_lines

NOW = datetime(2026, 2, 14, 10, 7, 12, tzinfo=UTC)
AT = 1_771_063_500_000_000_000  # 10:05:00


def attributes(**values):
    return [KeyValue(key=key.replace("__", "."), value=AnyValue(string_value=value)) for key, value in values.items()]


def resource(service, host="web-1"):
    return Resource(attributes=attributes(service__name=service, host__name=host, telemetry__sdk__language="python"))


LOGS = ExportLogsServiceRequest(
    resource_logs=[
        ResourceLogs(
            resource=resource("checkout"),
            scope_logs=[
                ScopeLogs(
                    log_records=[
                        LogRecord(
                            time_unix_nano=AT + 250_000_000,
                            severity_number=17,  # type: ignore[arg-type]
                            severity_text="Error",
                            body=AnyValue(string_value="cart is gone"),
                            attributes=attributes(exception__type="KeyError"),
                            trace_id=bytes(range(16)),
                            span_id=bytes(range(8)),
                        ),
                        LogRecord(observed_time_unix_nano=AT, severity_text="warning", body=AnyValue(int_value=7)),
                    ]
                )
            ],
        )
    ]
)
METRICS = ExportMetricsServiceRequest(
    resource_metrics=[
        ResourceMetrics(
            resource=resource("checkout"),
            scope_metrics=[
                ScopeMetrics(
                    metrics=[
                        Metric(
                            name="system.cpu.utilization",
                            gauge=Gauge(
                                data_points=[
                                    NumberDataPoint(
                                        time_unix_nano=AT, as_double=share, attributes=attributes(cpu=str(core))
                                    )
                                    for core, share in enumerate((0.25, 0.75))
                                ]
                            ),
                        ),
                        Metric(name="queue", sum=Sum(data_points=[NumberDataPoint(time_unix_nano=AT, as_int=12)])),
                        Metric(
                            name="http.server.duration",
                            histogram=Histogram(
                                data_points=[HistogramDataPoint(time_unix_nano=AT, count=4, sum=100.0)]
                            ),
                        ),
                    ]
                )
            ],
        )
    ]
)


def span(number, kind, milliseconds, parent=0, error=False, **own):
    return Span(
        trace_id=bytes(15) + b"\1",
        span_id=bytes(7) + bytes([number]),
        parent_span_id=bytes(7) + bytes([parent]) if parent else b"",
        kind=kind,
        start_time_unix_nano=AT + 1_000_000_000,
        end_time_unix_nano=AT + 1_000_000_000 + milliseconds * 1_000_000,
        status=Status(code=Status.STATUS_CODE_ERROR) if error else None,
        attributes=attributes(**own),
    )


TRACES = ExportTraceServiceRequest(
    resource_spans=[
        ResourceSpans(
            resource=resource("web"),
            scope_spans=[
                ScopeSpans(
                    spans=[
                        span(1, Span.SPAN_KIND_SERVER, 90),
                        span(2, Span.SPAN_KIND_CLIENT, 50, 1, server__address="checkout.shop.svc.cluster.local"),
                        span(3, Span.SPAN_KIND_CLIENT, 30, 1, error=True, server__address="checkout"),
                        span(4, Span.SPAN_KIND_CLIENT, 5, 1, db__system="redis", server__address="10.0.0.9"),
                        span(5, Span.SPAN_KIND_CLIENT, 5, 1, server__address="10.0.0.10"),
                        span(6, Span.SPAN_KIND_INTERNAL, 1, 1),
                    ]
                )
            ],
        ),
        ResourceSpans(
            resource=resource("checkout", "pod-7"),
            scope_spans=[ScopeSpans(spans=[span(7, Span.SPAN_KIND_SERVER, 40, 2)])],
        ),
    ]
)

REQUESTS: dict[str, Any] = {"logs": LOGS, "metrics": METRICS, "traces": TRACES}


def as_json(message):
    """What a client sends that speaks JSON: ids in hex, which protobuf's own writer does not do."""
    found = MessageToDict(message)

    def hexed(value):
        if isinstance(value, dict):
            return {
                name: _hex(each) if name in ("traceId", "spanId", "parentSpanId") else hexed(each)
                for name, each in value.items()
            }
        return [hexed(each) for each in value] if isinstance(value, list) else value

    return json.dumps(hexed(found)).encode()


def _hex(text):
    import base64

    return base64.b64decode(text).hex()


@pytest.mark.parametrize("signal", otlp.SIGNALS)
def test_json_and_protobuf_give_the_same_events(signal):
    message = REQUESTS[signal]
    binary = otlp.to_events(signal, otlp.parse(signal, message.SerializeToString(), is_json=False), NOW)
    text = otlp.to_events(signal, otlp.parse(signal, as_json(message), is_json=True), NOW)
    assert binary == text
    assert binary


def events(signal):
    return otlp.to_events(signal, otlp.parse(signal, REQUESTS[signal].SerializeToString(), is_json=False), NOW)


def test_logs():
    error, warning = events("logs")
    assert (error["application_id"], error["host"], error["log_level"]) == ("checkout", "web-1", "ERROR")
    assert (error["error_code"], error["message"]) == ("KeyError", "cart is gone")
    assert error["timestamp"] == "2026-02-14T10:05:00.250000Z"
    assert error["labels"]["trace_id"] == "000102030405060708090a0b0c0d0e0f"
    assert (warning["log_level"], warning["message"]) == ("WARN", "7")
    assert warning["timestamp"] == "2026-02-14T10:05:00Z"


def test_metrics_of_one_time_are_one_event():
    [sample] = events("metrics")
    assert sample["cpu_percent"] == 75
    assert sample["metrics"] == {"queue": 12, "http.server.duration.count": 4, "http.server.duration.mean": 25}
    assert (sample["application_id"], sample["host"]) == ("checkout", "web-1")
    assert "telemetry.sdk.language" not in sample["labels"]


def test_spans_are_calls_between_services_by_minute():
    found = {(event["depends_on"], event.get("depends_on_host")): event for event in events("traces")}
    assert set(found) == {("checkout", "pod-7"), ("checkout", None), ("redis", None)}
    assert all(event["event_type"] == "dependency" for event in found.values())
    assert found["checkout", "pod-7"]["metrics"] == {
        "requests": 1,
        "errors": 0,
        "client_latency_ms": 50,
        "server_latency_ms": 40,
    }
    assert found["checkout", None]["metrics"]["errors"] == 1
    assert {event["application_id"] for event in found.values()} == {"web"}


def test_the_same_request_again_is_the_same_events():
    for signal in otlp.SIGNALS:
        assert events(signal) == events(signal)
        assert len({event["event_id"] for event in events(signal)}) == len(events(signal))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("signal", otlp.SIGNALS)
def test_a_request_lands_and_is_answered_in_kind(site, client, signal, packed):
    for content_type, body in (
        ("application/x-protobuf", REQUESTS[signal].SerializeToString()),
        ("application/json", as_json(REQUESTS[signal])),
    ):

        def send(content_type=content_type, body=body):
            headers = {"Content-Type": content_type} | ({"Content-Encoding": "gzip"} if packed else {})
            answer = client.post(f"/v1/{signal}", content=gzip.compress(body) if packed else body, headers=headers)
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == content_type
            assert answer.content == (b"{}" if "json" in content_type else b"")

        assert len(new_lines(site, send)) == len(events(signal))


@pytest.mark.parametrize(
    ("content_type", "body", "status", "lines"),
    [
        ("application/x-protobuf", b"\xff\xff", 400, 0),
        ("application/x-protobuf", b"", 200, 0),
        ("application/json", b"{}", 200, 0),
        ("application/json", b'{"resourceLogs": 7}', 200, 1),
        ("application/json", b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [7]}]}]}', 200, 1),
        ("application/json", b"[" * 50_000, 200, 1),
        ("text/plain", b"{}", 415, 0),
    ],
)
def test_what_is_none(site, client, content_type, body, status, lines):
    def send():
        answer = client.post("/v1/logs", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == status, answer.text

    landed = new_lines(site, send)
    assert len(landed) == lines
    assert all(json.loads(line)["_unmapped"] == "otlp" for line in landed)
