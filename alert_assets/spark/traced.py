"""A span for each execution that Spark Connect is asked for, and the context of spans in its requests.

The client has no public place for either: the three names of it that are leaned on are in :func:`trace_executions`, and
`test_traced.py` fails by the name that a release of Spark has moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.kernel import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span

#: What executes nothing, but asks how a streaming query is, every other second.
_CONTROL = ("streaming_query_command", "streaming_query_manager_command", "streaming_query_listener_bus_command")


def trace_executions(session: Any) -> None:
    """Trace what a session's client executes from now on."""
    client: Any = session.client
    metadata, execute, fetch = client._builder.metadata, client._execute, client._execute_and_fetch_as_iterator

    def with_context() -> list[tuple[str, str]]:
        return [*metadata(), *tracing.carried()]

    def traced_execute(request: Any) -> None:
        with tracing.query(*_described(request, _command(request))):
            execute(request)

    def traced_fetch(request: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        rows: Iterator[Any] = fetch(request, *arguments, **options)
        if (command := _command(request)) in _CONTROL:
            return rows
        opened = tracing.begin_query(*_described(request, command))
        return rows if opened is None else _fetched(rows, opened)

    client._builder.metadata = with_context
    client._execute, client._execute_and_fetch_as_iterator = traced_execute, traced_fetch


def _fetched(rows: Iterator[Any], opened: Span) -> Iterator[Any]:
    """What is fetched, inside its span, which is not the caller's meanwhile."""
    from opentelemetry.trace import use_span

    end: Any = object()
    try:
        while True:
            with use_span(opened, end_on_exit=False, record_exception=False):
                row = next(rows, end)
            if row is end:
                return
            yield row
    finally:
        opened.end()


def _command(request: Any) -> str:
    return str(request.plan.command.WhichOneof("command_type")) if request.plan.HasField("command") else "collect"


def _described(request: Any, command: str) -> tuple[str, dict[str, str]]:
    """The name and attributes of an execution's span; Spark's server knows it by the same operation id."""
    about = {
        "db.system.name": "spark",
        "db.operation.name": command,
        "spark.operation_id": request.operation_id,
        "spark.session_id": request.session_id,
    }
    return f"spark {command}", about
