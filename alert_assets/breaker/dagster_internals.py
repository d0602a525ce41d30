"""Everything that the gate uses of Dagster and Dagster does not promise to keep: an executor is no public interface.

`test_dagster_internals.py` lists the names and the release they were read from, and fails by the name that a new
release has moved. What has to be mended then is in this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


def executor_around(default_mode: str, wrap: Any) -> dg.ExecutorDefinition:
    """The executor `gated`: one process or one a step, by run config, inside what `wrap` makes of it.

    Args:
        default_mode: in_process or multiprocess.
        wrap: from a `dg.Executor` to a `dg.Executor`.
    """
    modes = {
        "in_process": dg.in_process_executor.config_schema.as_field(),
        "multiprocess": dg.multiprocess_executor.config_schema.as_field(),
    }

    def requirements(config: Mapping[str, Any]) -> Sequence[Any]:
        return dg.multiprocess_executor.get_requirements(config) if "multiprocess" in config else []

    def create(init_context: dg.InitExecutorContext) -> dg.Executor:
        made: dg.Executor = wrap(dg.multi_or_in_process_executor.executor_creation_fn(init_context))  # type: ignore[misc]
        return made

    return dg.ExecutorDefinition(
        name="gated",
        config_schema=dg.Field(dg.Selector(modes), default_value={default_mode: {}}),
        requirements=requirements,
        executor_creation_fn=create,
        description="Refuses runs whose circuit breaker is open; runs the others in one process, or one a step.",
    )


class WrappedExecutor(dg.Executor):
    """An executor around another; `execute` is what makes the difference."""

    def __init__(self, inner: dg.Executor) -> None:
        self.inner = inner

    @property
    def retries(self) -> Any:
        """The inner executor's."""
        return self.inner.retries

    @property
    def step_dependency_config(self) -> Any:
        """The inner executor's."""
        return self.inner.step_dependency_config


def selected_assets(plan_context: Any) -> tuple[dg.RepositoryDefinition, set[dg.AssetKey]]:
    """What a run is of, and which assets it materializes."""
    job = plan_context.job
    return job.get_repository_definition(), set(job.get_definition().asset_layer.selected_asset_keys)


def assets_of_step(plan_context: Any, event: dg.DagsterEvent) -> set[dg.AssetKey]:
    """The assets that a step materializes or checks; empty for a step of none."""
    layer = plan_context.job.get_definition().asset_layer
    made = layer.get_assets_def_for_node(event.node_handle) if event.node_handle else None
    return set() if made is None else {*made.keys, *(key.asset_key for key in made.check_keys)}


def materialized(event: dg.DagsterEvent) -> dg.AssetKey | None:
    """The asset that an event says was materialized."""
    return event.step_materialization_data.materialization.asset_key if event.is_step_materialization else None


def metadata_value(event: dg.DagsterEvent, name: str) -> Any:
    """What a materialization says under a name; None if nothing."""
    found = event.step_materialization_data.materialization.metadata.get(name)
    return None if found is None else found.value


#: Events with which a step begins, its process's start included, and ends.
_BEGINS = frozenset({"STEP_WORKER_STARTING", "STEP_START"})
_ENDS = frozenset({"STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED", "STEP_UP_FOR_RETRY"})


def step_begun(event: dg.DagsterEvent) -> str | None:
    """The step that an event says begins."""
    return event.step_key if event.event_type_value in _BEGINS else None


def step_ended(event: dg.DagsterEvent) -> str | None:
    """The step that an event says is over."""
    return event.step_key if event.event_type_value in _ENDS else None


def number_of(event: dg.DagsterEvent, name: str) -> int:
    """A number among the metadata of a materialization; 0 when it is not there."""
    value = metadata_value(event, name) if event.is_step_materialization else None
    return value if isinstance(value, int) else 0


def cause_of(event: dg.DagsterEvent) -> str:
    """The message of a step's failure: the user's own words where there are some."""
    data: Any = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.message).strip() if error else "failed"


def trace_of(event: dg.DagsterEvent) -> str | None:
    """The stack trace of what made a step fail."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return "".join(error.stack) if error else None


def current_step() -> tuple[str, str, int] | None:
    """The run, step and attempt that this process works on at the moment."""
    try:
        step: Any = dg.OpExecutionContext.get().get_step_execution_context()
    except dg.DagsterInvariantViolationError:
        return None
    return step.run_id, step.step.key, step.previous_attempt_count


def storage_id(instance: dg.DagsterInstance) -> str:
    """What distinguishes the runs of an instance from those of another."""
    storage: Any = instance.run_storage
    return str(storage.get_run_storage_id())


def metadata_of(repository: dg.RepositoryDefinition, key: dg.AssetKey) -> Mapping[str, Any]:
    """An asset's metadata."""
    return repository.asset_graph.get(key).metadata


def upstream_of(repository: dg.RepositoryDefinition, keys: Iterable[dg.AssetKey]) -> set[dg.AssetKey]:
    """All assets above these, however far."""
    graph = repository.asset_graph
    return {above for key in keys for above in graph.get_ancestor_asset_keys(key)}


def blocking_checks_of(
    repository: dg.RepositoryDefinition, keys: set[dg.AssetKey]
) -> Iterator[tuple[dg.AssetKey, str]]:
    """Asset and name of each check of these assets that blocks."""
    graph = repository.asset_graph
    return (
        (key.asset_key, key.name) for key in graph.asset_check_keys if key.asset_key in keys and graph.get(key).blocking
    )
