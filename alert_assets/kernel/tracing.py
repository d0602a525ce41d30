"""Spans by OpenTelemetry, off unless the extra `otel` is installed and an endpoint is set: then nothing is imported.

The standard's variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, ...) configure it.
Spans are sent by a thread of their own; what an endpoint does not take in time is lost, and nothing waits for it but
the end of the process, :data:`FLUSH_SECONDS` at most.

The processes of a run share no memory, so ids are derived instead of handed over: a run's trace has the run's id, and
the span of a step that of its key and attempt. Any process that knows its step knows its parent.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Tracer, TracerProvider
    from opentelemetry.trace import Span, SpanContext

    Attributes = Mapping[str, str | bool | int | float]

#: The longest that the end of a process waits for an endpoint to take the last spans.
FLUSH_SECONDS = 1.0

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXTRA = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")

_making = threading.Lock()
_parents: list[Callable[[], SpanContext | None]] = []


@cache
def is_on() -> bool:
    """Whether spans are sent: asked once in a process."""
    variables = os.environ
    if not any(variables.get(name) for name in _ENDPOINTS) or variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if variables.get("OTEL_TRACES_EXPORTER", "otlp") not in ("otlp", ""):
        return False
    try:
        return all(find_spec(name) for name in _EXTRA)
    except ImportError:
        return False


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, headers: Mapping[str, str] | None = None
) -> Iterator[Span | None]:
    """Open a span, below the current one if there is one; None where tracing is off.

    Args:
        headers: of the request that is answered, whose `traceparent` is then the parent.
    """
    tracer = _tracer() if is_on() else None
    if tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    context = _parent() if headers is None else _told(headers)
    kind = SpanKind.INTERNAL if headers is None else SpanKind.SERVER
    with tracer.start_as_current_span(name, context, kind, attributes) as opened:
        yield opened


def begin_query(name: str, attributes: Attributes) -> Span | None:
    """Begin the span of what another program is asked for; the caller ends it.

    None too where no span is open: the queries of every page and scrape would be traces of their own.
    """
    tracer = _tracer() if is_on() else None
    if tracer is None:
        return None
    from opentelemetry.trace import SpanKind, get_current_span

    context = _parent()
    if not get_current_span(context).get_span_context().is_valid:
        return None
    return tracer.start_span(name, context, SpanKind.CLIENT, attributes)


@contextmanager
def query(name: str, attributes: Attributes) -> Iterator[None]:
    """Trace a query, as :func:`begin_query` does."""
    opened = begin_query(name, attributes)
    if opened is None:
        yield
        return
    from opentelemetry.trace import use_span

    with use_span(opened, end_on_exit=True):
        yield


def begin_derived(name: str, own: SpanContext, parent: SpanContext | None, attributes: Attributes) -> Span | None:
    """Begin the span of a run or a step, whose ids :func:`derived` gave."""
    tracer = _tracer()
    if tracer is None:
        return None
    from opentelemetry.context import Context

    _given.ids = (own.trace_id, own.span_id)
    try:
        return tracer.start_span(name, _below(parent) if parent else _outer() or Context(), attributes=attributes)
    finally:
        _given.ids = None


def derived(run_id: str, *step: object) -> SpanContext | None:
    """Return the ids of a run's span, or of a step's by its key and attempt; None of what is no run of Dagster's."""
    from opentelemetry import trace

    tracer, outer = _tracer(), _outer()
    try:
        trace_id = UUID(run_id).int
    except ValueError:
        return None
    if tracer is None:
        return None
    if outer is not None:
        trace_id = trace.get_current_span(outer).get_span_context().trace_id
    span_id = int.from_bytes(sha256("/".join([run_id, *map(str, step)]).encode()).digest()[:8]) or 1
    is_sampled: bool = tracer.sampler.should_sample(outer, trace_id, "run").decision.is_sampled()  # type: ignore[no-untyped-call]
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if is_sampled else trace.TraceFlags.DEFAULT)
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)


def find_parent(find: Callable[[], SpanContext | None]) -> None:
    """Ask `find` for the parent of a span where none is open in this process."""
    if find not in _parents:
        _parents.append(find)


def ids(run_id: str = "") -> dict[str, str]:
    """Return `trace_id` and `span_id` of the current span, else of the run's; empty where tracing is off."""
    if not is_on():
        return {}
    from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

    found = get_current_span(_parent()).get_span_context()
    if not found.is_valid:
        found = derived(run_id) or found
    if not found.is_valid:
        return {}
    return {"trace_id": format_trace_id(found.trace_id), "span_id": format_span_id(found.span_id)}


def carried(over: Span | None = None) -> list[tuple[str, str]]:
    """Return the headers that carry a span's context, or that of the current one, to another process."""
    if not is_on():
        return []
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, set_span_in_context(over) if over else _parent())
    return list(headers.items())


def failed(of: Span, error: BaseException | str) -> None:
    """Say of a span that what it stands for failed."""
    from opentelemetry.trace import Status, StatusCode

    of.set_status(Status(StatusCode.ERROR, error if isinstance(error, str) else f"{type(error).__name__}: {error}"))


def _parent() -> Context | None:
    """The context of the open span, else of the step that this process works on."""
    from opentelemetry.trace import get_current_span

    if get_current_span().get_span_context().is_valid:
        return None  # OpenTelemetry's own
    return next((_below(found) for find in _parents if (found := find())), None)


def _below(parent: SpanContext) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(parent), Context())


def _told(headers: Mapping[str, str]) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(headers, Context())


@cache
def _outer() -> Context | None:
    """The context of what started this process, by the variable TRACEPARENT."""
    from opentelemetry.trace import get_current_span

    told = _told({"traceparent": os.environ.get("TRACEPARENT", ""), "tracestate": os.environ.get("TRACESTATE", "")})
    return told if get_current_span(told).get_span_context().is_valid else None


def _tracer() -> Tracer | None:
    with _making:
        return _made()


@cache
def _made() -> Tracer | None:
    """The tracer of this process; None where the variables make no exporter, which is no reason to fail a run."""
    try:
        provider = _provider()
    except Exception as error:  # noqa: BLE001  whatever the variables are
        print(f"No traces are sent: OTEL_* cannot be used: {error}", file=sys.stderr)
        return None
    _flush_at_exit(provider)
    return provider.get_tracer("alert_assets")  # type: ignore[return-value]


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            given = getattr(_given, "ids", None)
            return given[0] if given else super().generate_trace_id()

        def generate_span_id(self) -> int:
            given = getattr(_given, "ids", None)
            return given[1] if given else super().generate_span_id()

    told = Resource.create()
    if str(told.attributes[SERVICE_NAME]).startswith("unknown_service"):
        told = told.merge(Resource({SERVICE_NAME: "alert-assets"}))
    provider = TracerProvider(resource=told, id_generator=Ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


#: Ids of the span that this thread begins, where they are derived.
_given = threading.local()


def _flush_at_exit(provider: TracerProvider) -> None:
    """Send what is left when the process ends, be it a child of multiprocessing's, which runs no `atexit`."""
    from multiprocessing.util import Finalize

    ends = threading.Event()

    def flush() -> None:
        ends.wait()
        provider.shutdown()

    # Begun now: an interpreter that shuts down begins no threads. Nobody waits for it longer than is said here.
    flusher = threading.Thread(target=flush, name="alert-assets-spans", daemon=True)
    flusher.start()

    def end() -> None:
        ends.set()
        flusher.join(FLUSH_SECONDS)

    Finalize(None, end, exitpriority=100)
