"""An OTLP endpoint on loopback that keeps the spans it is sent."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Received:
    """A span as it came; ids in hex, `parent` empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    began: int
    ended: int
    attributes: dict[str, Any]
    events: tuple[str, ...]
    service: str


@dataclass
class Collector:
    url: str
    spans: list[Received] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}

    def named(self, beginning: str) -> list[Received]:
        return [span for span in self.spans if span.name.startswith(beginning)]

    def one(self, name: str) -> Received:
        [found] = [span for span in self.spans if span.name == name]
        return found

    def below(self, parent: Received) -> list[Received]:
        return [span for span in self.spans if span.parent == parent.id and span.trace == parent.trace]

    def path(self, span: Received) -> list[str]:
        """Names from the root to the span; every parent has to be there."""
        if not span.parent:
            return [span.name]
        [parent] = [one for one in self.spans if one.id == span.parent]
        assert parent.trace == span.trace
        return [*self.path(parent), span.name]

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            about = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            for scope in of_resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Received(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.kind,
                            span.status.code == 2,
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            {
                                one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
                                for one in span.attributes
                            },
                            tuple(event.name for event in span.events),
                            about["service.name"],
                        )
                    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A running endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
