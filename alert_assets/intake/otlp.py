"""OTLP over HTTP: logs, metrics and traces of OpenTelemetry, as protobuf and as JSON.

Logs are logs. Data points become one metric event for each service, host and time, with well-known names where the
contract has a field of its own. Spans become no rows of their own: the calls between services are counted by minute,
as `dependency` events.

A request in JSON is read here and not by protobuf's own reader, which takes ids for base64; ids are hex, 64-bit
numbers are text or numbers, enums are numbers or names.
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.vocabulary import LOG_LEVEL_ALIASES, LOG_LEVELS
from alert_assets.intake.json_lines import load
from alert_assets.intake.senders.fields import digest, event, first, labels, number, without_port
from alert_assets.intake.senders.sender import UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from alert_assets.intake.senders.sender import Event

#: Path of the request to the message it holds.
SIGNALS = ("logs", "metrics", "traces")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_NS = 60_000_000_000

#: Attributes that name the application and the host, the best first.
_APPLICATION = ("service.name", "k8s.deployment.name", "k8s.statefulset.name", "k8s.pod.name", "faas.name")
_HOST = ("host.name", "k8s.pod.name", "service.instance.id", "container.id")
_CODE = ("exception.type", "error.type", "error.code", "k8s.event.reason")

#: Data points that the contract has a field for, and by what they are multiplied: utilizations are shares of one.
_MEASURED = {
    "system.cpu.utilization": ("cpu_percent", 100.0),
    "process.cpu.utilization": ("cpu_percent", 100.0),
    "container.cpu.utilization": ("cpu_percent", 100.0),
    "k8s.pod.cpu_limit_utilization": ("cpu_percent", 100.0),
    "system.memory.utilization": ("memory_percent", 100.0),
    "process.memory.utilization": ("memory_percent", 100.0),
    "k8s.pod.memory_limit_utilization": ("memory_percent", 100.0),
}

#: Kinds of spans: both ends of a call.
_SERVER, _CLIENT, _PRODUCER, _CONSUMER = 2, 3, 4, 5
_KINDS = {"SPAN_KIND_SERVER": 2, "SPAN_KIND_CLIENT": 3, "SPAN_KIND_PRODUCER": 4, "SPAN_KIND_CONSUMER": 5}
_ERROR = (2, "STATUS_CODE_ERROR")
#: Attributes of a client's span that name whom it calls.
_PEER = ("peer.service", "db.system.name", "db.system", "messaging.system", "rpc.service")
_PEER_ADDRESS = ("server.address", "net.peer.name", "http.host")


def parse(signal: str, body: bytes, *, is_json: bool) -> dict[str, Any]:
    """Return the request as objects with the names that JSON has; ids are hex.

    Raises:
        ValueError: it is no such request.
    """
    if is_json:
        found = load(body)
        if not isinstance(found, dict):
            raise ValueError("a JSON object is expected")
        return found
    from google.protobuf.message import DecodeError

    message = _message(signal)
    try:
        message.ParseFromString(body)
    except DecodeError:
        raise ValueError(f"the body is no {message.DESCRIPTOR.name}") from None
    return _objects(message)


def _message(signal: str) -> Any:
    if signal == "logs":
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest as Request
    elif signal == "metrics":
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (  # type: ignore[assignment]
            ExportMetricsServiceRequest as Request,
        )
    else:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # type: ignore[assignment]
            ExportTraceServiceRequest as Request,
        )
    return Request()


def _objects(message: Any) -> dict[str, Any]:
    """A protobuf message as JSON of OTLP has it: names in camel case, bytes as hex, unset fields left out."""
    found: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            repeated = not hasattr(value, "ListFields")
            found[descriptor.json_name] = [_objects(each) for each in value] if repeated else _objects(value)
        elif isinstance(value, bytes):
            found[descriptor.json_name] = value.hex()
        elif hasattr(value, "append"):
            found[descriptor.json_name] = list(value)
        else:
            found[descriptor.json_name] = value
    return found


def to_events(signal: str, request: dict[str, Any], received_at: datetime) -> list[Event]:
    """Return the events of a request.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is not what it says.
    """
    make = {"logs": _logs, "metrics": _metrics, "traces": _dependencies}[signal]
    return list(make(request, received_at))


# Logs


def _logs(request: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    for resource, _, records in _scopes(request, "resourceLogs", "scopeLogs", "logRecords"):
        for place, record in enumerate(records):
            own = _attributes(record.get("attributes"))
            nanos = _int(record.get("timeUnixNano")) or _int(record.get("observedTimeUnixNano"))
            message = _text(_value(record.get("body")))
            level = _level(record)
            yield event(
                "otlp",
                "log",
                # A batch that is sent again is the same batch.
                (
                    "log",
                    sorted(resource.items()),
                    sorted(own.items()),
                    nanos,
                    message,
                    level,
                    record.get("spanId"),
                    place,
                ),
                _time(nanos, received_at),
                application_id=_application(resource, own),
                host=first(*(resource.get(name) for name in _HOST), own.get("k8s.pod.name")),
                log_level=level,
                error_code=first(*(own.get(name) for name in _CODE)),
                message=first(message, own.get("exception.message"), record.get("eventName")),
                labels=labels(
                    _carried(resource), own, {"trace_id": record.get("traceId"), "span_id": record.get("spanId")}
                ),
            )


def _level(record: dict[str, Any]) -> str:
    """By number: 1 to 4 are TRACE, 5 to 8 DEBUG, and so on; by text where there is none."""
    severity = record.get("severityNumber")
    if isinstance(severity, str) and severity.startswith("SEVERITY_NUMBER_"):
        name = severity.removeprefix("SEVERITY_NUMBER_").rstrip("234")
        return name if name in LOG_LEVELS else "INFO"
    rank = _int(severity)
    if 1 <= rank <= 24:
        return LOG_LEVELS[(rank - 1) // 4]
    said = (first(record.get("severityText")) or "").upper()
    said = {"WARNING": "WARN", **LOG_LEVEL_ALIASES}.get(said, said)
    return said if said in LOG_LEVELS else "INFO"


# Metrics


@dataclass
class _Sample:
    """What one service and host measured at one time."""

    measured: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def _metrics(request: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    samples: dict[tuple[str, str | None, int], _Sample] = defaultdict(_Sample)
    carried: dict[tuple[str, str | None, int], dict[str, str]] = {}
    for resource, _, metrics in _scopes(request, "resourceMetrics", "scopeMetrics", "metrics"):
        host = first(*(resource.get(name) for name in _HOST))
        for metric in metrics:
            for name, nanos, value in _points(metric):
                key = (_application(resource, {}), host, nanos)
                _add(samples[key], str(metric["name"]), name, value)
                carried[key] = _carried(resource)
    for (application, host, nanos), sample in samples.items():
        yield event(
            "otlp",
            "metric",
            ("metric", application, host, nanos, *sorted(sample.measured), *sorted(sample.metrics)),
            _time(nanos, received_at),
            application_id=application,
            host=host,
            labels=carried[(application, host, nanos)],
            metrics=sample.metrics,
            **sample.measured,
        )


def _add(sample: _Sample, metric: str, name: str, value: float) -> None:
    if metric in _MEASURED and value >= 0:
        measure, factor = _MEASURED[metric]
        # Of several, as one a core, the highest: it is what alerts are about.
        sample.measured[measure] = max(sample.measured.get(measure, 0.0), round(value * factor, 6))
    else:
        sample.metrics[name] = value


def _points(metric: dict[str, Any]) -> Iterator[tuple[str, int, float]]:
    """Name with attributes, time and value of each data point; of a histogram its count and mean."""
    name = str(metric["name"])
    for kind in ("gauge", "sum"):
        for point in (metric.get(kind) or {}).get("dataPoints") or []:
            value = number(point["asDouble"] if "asDouble" in point else point.get("asInt"))
            if value is not None:
                yield _labelled(name, point), _int(point.get("timeUnixNano")), value
    for kind in ("histogram", "exponentialHistogram", "summary"):
        for point in (metric.get(kind) or {}).get("dataPoints") or []:
            count, total = number(point.get("count")), number(point.get("sum"))
            when = _int(point.get("timeUnixNano"))
            if count is None:
                continue
            yield _labelled(f"{name}.count", point), when, count
            if count and total is not None:
                yield _labelled(f"{name}.mean", point), when, total / count


def _labelled(name: str, point: dict[str, Any]) -> str:
    own = _attributes(point.get("attributes"))
    return f"{name}{{{','.join(f'{key}={value}' for key, value in sorted(own.items()))}}}" if own else name


# Traces


@dataclass
class _Calls:
    """Calls from one service to another within a minute."""

    requests: int = 0
    errors: int = 0
    client_ms: list[float] = field(default_factory=list)
    server_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Span:
    service: str
    host: str | None
    kind: int
    minute: int
    milliseconds: float
    is_error: bool
    peer: str | None
    parent: str


def _dependencies(request: dict[str, Any], received_at: datetime) -> Iterator[Event]:
    """Count the calls of a request's spans.

    The spans of one call seldom come in one request. A client's span that names whom it calls is a call by itself;
    a server's span is one if its parent is in the request; where both ends are, they are one call.
    """
    spans = dict(_spans(request))
    calls: dict[tuple[str, str, str | None, int], _Calls] = defaultdict(_Calls)
    served = {span.parent: span for span in spans.values() if span.kind in (_SERVER, _CONSUMER) and span.parent}
    for identity, span in spans.items():
        if span.kind in (_CLIENT, _PRODUCER):
            callee = served.get(identity)
            name = callee.service if callee else span.peer
            if name and name != span.service:
                found = calls[(span.service, name, callee.host if callee else None, span.minute)]
                found.requests += 1
                found.errors += span.is_error or bool(callee and callee.is_error)
                found.client_ms.append(span.milliseconds)
                if callee:
                    found.server_ms.append(callee.milliseconds)
        elif span.kind in (_SERVER, _CONSUMER):
            caller = spans.get(span.parent)
            # Counted above where the parent is the client's end.
            if caller and caller.kind not in (_CLIENT, _PRODUCER) and caller.service != span.service:
                found = calls[(caller.service, span.service, span.host, span.minute)]
                found.requests += 1
                found.errors += span.is_error
                found.server_ms.append(span.milliseconds)
    batch = digest(*sorted(spans))
    for (caller_name, callee_name, host, minute), found in calls.items():
        latency = {
            "client_latency_ms": _mean(found.client_ms),
            "server_latency_ms": _mean(found.server_ms),
        }
        yield event(
            "otlp",
            "dependency",
            # Other requests of the same minute hold other calls.
            ("trace", caller_name, callee_name, host, minute, batch),
            _time(minute * _MINUTE_NS, received_at),
            application_id=caller_name,
            depends_on=callee_name,
            depends_on_host=host,
            metrics={
                "requests": float(found.requests),
                "errors": float(found.errors),
                **{name: value for name, value in latency.items() if value is not None},
            },
        )


def _spans(request: dict[str, Any]) -> Iterator[tuple[str, _Span]]:
    for resource, _, spans in _scopes(request, "resourceSpans", "scopeSpans", "spans"):
        for span in spans:
            own = _attributes(span.get("attributes"))
            begun, ended = _int(span.get("startTimeUnixNano")), _int(span.get("endTimeUnixNano"))
            kind = span.get("kind")
            trace = str(span.get("traceId"))
            yield (
                f"{trace}/{span.get('spanId')}",
                _Span(
                    service=_application(resource, {}),
                    host=first(*(resource.get(name) for name in _HOST)),
                    kind=_KINDS.get(kind, 0) if isinstance(kind, str) else _int(kind),
                    minute=begun // _MINUTE_NS,
                    milliseconds=max(0, ended - begun) / 1e6,
                    is_error=(span.get("status") or {}).get("code") in _ERROR,
                    peer=first(*(own.get(name) for name in _PEER)) or _named_by(own),
                    parent=f"{trace}/{span['parentSpanId']}" if span.get("parentSpanId") else "",
                ),
            )


def _named_by(own: dict[str, str]) -> str | None:
    """The service that an address names: of a name in the cluster its first part; an IP address names none."""
    address = without_port(first(*(own.get(name) for name in _PEER_ADDRESS)))
    if not address or address == "localhost":
        return None
    try:
        ipaddress.ip_address(address)
    except ValueError:
        is_internal = "." not in address or ".svc" in address
        return address.split(".")[0] if is_internal else address
    return None


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None


# What the signals share


def _scopes(request: dict[str, Any], outer: str, inner: str, items: str) -> Iterator[tuple[dict[str, str], Any, Any]]:
    """Attributes of the resource, scope, and items of each scope."""
    if outer not in request and request:
        raise UnmappedError(f"{outer} is missing")
    for of_resource in request.get(outer) or []:
        resource = _attributes((of_resource.get("resource") or {}).get("attributes"))
        for of_scope in of_resource.get(inner) or []:
            yield resource, of_scope.get("scope"), of_scope.get(items) or []


def _attributes(found: Iterable[dict[str, Any]] | None) -> dict[str, str]:
    return {str(each["key"]): value for each in found or [] if (value := _text(_value(each.get("value"))))}


def _value(found: Any) -> Any:
    """The value that an AnyValue holds."""
    if not isinstance(found, dict):
        return found
    if "arrayValue" in found:
        return [_value(each) for each in (found["arrayValue"] or {}).get("values") or []]
    if "kvlistValue" in found:
        pairs = (found["kvlistValue"] or {}).get("values") or []
        return {str(each["key"]): _value(each.get("value")) for each in pairs}
    return next(iter(found.values()), None)


def _text(value: Any) -> str | None:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return first(value)


def _application(resource: dict[str, str], own: dict[str, str]) -> str:
    # What has no name is at least from one place: SDKs say unknown_service themselves.
    return first(*(resource.get(name) or own.get(name) for name in _APPLICATION)) or "unknown_service"


def _carried(resource: dict[str, str]) -> dict[str, str]:
    """Attributes of a resource that tell more than what runs there."""
    return {name: value for name, value in resource.items() if not name.startswith(("telemetry.", "process.", "os."))}


def _int(value: Any) -> int:
    """A 64-bit number, which JSON has as text; 0 for none."""
    if isinstance(value, str) and value.strip().lstrip("-").isdigit() and len(value) < 24:
        return int(value)
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0


def _time(nanos: int, received_at: datetime) -> datetime:
    return _EPOCH + timedelta(microseconds=nanos // 1000) if nanos > 0 else received_at
