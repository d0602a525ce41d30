"""The names of Dagster's own that the gate and the pruning of its history lean on.

A release that moves one is known by that name, not by a crash.
"""

from __future__ import annotations

from importlib import import_module

import dagster
import pytest

#: The release that breaker/dagster_internals.py and defs/maintenance/history.py were read from.
READ_FROM = "1.13.27"

#: By where it is found: attributes that the functions there read.
NAMES = {
    "dagster:Executor": ("execute", "retries", "step_dependency_config"),
    "dagster:ExecutorDefinition": ("config_schema", "executor_creation_fn", "get_requirements"),
    "dagster:DagsterEvent": (
        "node_handle",
        "is_step_materialization",
        "step_materialization_data",
        "step_failure_data",
        "step_key",
        "event_type_value",
    ),
    "dagster._core.execution.context.system:PlanOrchestrationContext": ("job", "job_name", "run_id", "instance"),
    "dagster._core.definitions.job_base:IJob": ("get_definition", "get_repository_definition"),
    "dagster._core.definitions.job_definition:JobDefinition": ("asset_layer",),
    "dagster._core.definitions.assets.job.asset_layer:AssetLayer": ("selected_asset_keys", "get_assets_def_for_node"),
    "dagster._core.definitions.assets.graph.base_asset_graph:BaseAssetGraph": (
        *("get", "get_ancestor_asset_keys", "asset_check_keys"),
    ),
    "dagster:OpExecutionContext": ("get", "get_step_execution_context"),
    "dagster._core.execution.context.system:StepExecutionContext": ("run_id", "step", "previous_attempt_count"),
    "dagster._core.storage.runs.sql_run_storage:SqlRunStorage": ("get_run_storage_id", "connect"),
    "dagster._core.storage.runs.schema:RunTagsTable": ("c",),
    "dagster._core.storage.event_log.schema:AssetCheckExecutionsTable": ("c",),
    "dagster._core.storage.event_log.schema:AssetEventTagsTable": ("c",),
    "dagster._core.storage.event_log.schema:SqlEventLogStorageTable": ("c",),
    "dagster._core.storage.event_log.sql_event_log:SqlEventLogStorage": ("index_connection", "run_connection"),
    "dagster._core.storage.event_log.sqlite.sqlite_event_log:SqliteEventLogStorage": ("path_for_shard",),
    "dagster._core.storage.compute_log_manager:ComputeLogManager": ("delete_logs",),
    "dagster._core.execution.plan.objects:StepFailureData": ("user_failure_data", "error"),
    "dagster._utils.error:SerializableErrorInfo": ("message", "cause", "stack"),
}


@pytest.mark.parametrize(("where", "name"), [(where, name) for where, names in NAMES.items() for name in names])
def test_dagster_has_the_name(where: str, name: str) -> None:
    module, _, owner = where.partition(":")
    found = getattr(import_module(module), owner, None)
    assert found is not None and (hasattr(found, name) or name in found.__annotations__), (  # noqa: PT018
        f"Dagster {dagster.__version__} has no {where}.{name}; breaker/dagster_internals.py was read from {READ_FROM}. "
        "Find out what has taken its place, mend that file (of storage: defs/maintenance/history.py) and run its tests."
    )


def test_the_release_is_one_that_was_read() -> None:
    assert dagster.__version__.split(".")[:2] == READ_FROM.split(".")[:2], (
        f"Dagster {dagster.__version__} is installed; breaker/dagster_internals.py was read from {READ_FROM}. "
        "Read the functions there against the new release, run test_gate.py and test_dagster_dev.py, then this name."
    )
