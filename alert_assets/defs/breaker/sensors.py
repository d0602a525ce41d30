"""What the breakers hear from Dagster, and what Dagster hears from them.

The gate reports how a run ended when it ends. A run whose process was killed reports nothing;
Dagster's run monitoring finds out that it is gone and marks it, and the run-status sensors here pass that on.
They look at every code location, because a run from the command line belongs to none that the
instance has loaded. Whoever reports first, it counts once.

`circuit_breaker_transitions` shows every step of every breaker in the UI, as an observation of the asset
`circuit_breakers`.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from alert_assets.breaker.gate import breaker_of
from alert_assets.breaker.guard import REFUSED_TAGS
from alert_assets.breaker.rules import Outcome, Transition
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.defs.metadata import rows_shown
from alert_assets.errors import UserError
from alert_assets.logs import run_log

if TYPE_CHECKING:
    from tenacity import Retrying

CIRCUIT_BREAKERS = dg.AssetSpec(
    "circuit_breakers",
    group_name="reliability",
    owners=["team:data-platform"],
    description="Every step of every circuit breaker, as observations. `alert-assets breaker` has them too.",
)

Breakers = dg.ResourceParam[CircuitBreakers]

#: Steps shown in one tick.
_STEPS_PER_TICK = 100

_OUTCOMES: dict[dg.DagsterRunStatus, Outcome] = {
    dg.DagsterRunStatus.SUCCESS: "success",
    dg.DagsterRunStatus.FAILURE: "failure",
    dg.DagsterRunStatus.CANCELED: "neutral",
}


def run_status_sensors() -> list[dg.SensorDefinition]:
    """A sensor for each way a run ends."""
    return [_run_status_sensor(status, outcome) for status, outcome in _OUTCOMES.items()]


def _run_status_sensor(status: dg.DagsterRunStatus, outcome: Outcome) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=f"circuit_breaker_run_{status.value.lower()}",
        monitor_all_code_locations=True,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells the circuit breakers of runs that ended as {status.value} and could not say so themselves.",
    )
    def sensor(context: dg.RunStatusSensorContext, breakers: Breakers) -> None:
        # Nothing is returned: a result would end the tick, and an exception would lose the event.
        run = context.dagster_run
        keys = run.asset_selection or planned_assets(context.instance, run.run_id)
        report_run(breakers, run, keys, outcome, context.dagster_event.message)

    return sensor


def planned_assets(instance: dg.DagsterInstance, run_id: str) -> set[dg.AssetKey]:
    """The assets that a run set out to materialize."""
    planned = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED).records
    events = [record.event_log_entry.dagster_event for record in planned]
    return {event.asset_key for event in events if event is not None and event.asset_key is not None}


def report_run(
    breakers: CircuitBreakers,
    run: dg.DagsterRun,
    keys: Iterable[dg.AssetKey],
    outcome: Outcome,
    message: str | None,
) -> None:
    """Record how a run over these assets ended with their breakers, unless that is known already."""
    names = breakers_of(keys)
    if not names or REFUSED_TAGS.items() <= run.tags.items():
        return
    error = message if outcome == "failure" else None
    try:
        _recording()(breakers.record, run.run_id, outcome, names, reported_by="sensor", error=error, job=run.job_name)
    except Exception as problem:  # noqa: BLE001  (the event would be lost without a word)
        run_log(run.run_id).error("outcome_not_recorded", breakers=names, outcome=outcome, problem=str(problem))


def _recording() -> "Retrying":
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    return Retrying(
        stop=stop_after_attempt(5),
        wait=wait_exponential(multiplier=0.2, max=3),
        retry=retry_if_exception_type((UserError, OSError)),
        reraise=True,
    )


def breakers_of(keys: Iterable[dg.AssetKey]) -> list[str]:
    """The breakers that guard these assets."""
    return sorted({name for key in keys if (name := breaker_of(key)) is not None})


@dg.sensor(
    name="circuit_breaker_transitions",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Shows every step of every circuit breaker as an observation of the asset circuit_breakers.",
)
def circuit_breaker_transitions(
    context: dg.SensorEvaluationContext, breakers: Breakers
) -> dg.SensorResult | dg.SkipReason:
    """The cursor is the id of the last step shown."""
    steps = breakers.history_after(int(context.cursor or 0), _STEPS_PER_TICK)
    if not steps:
        return dg.SkipReason("No circuit breaker has moved.")
    now = rows_shown(map(asdict, breakers.all()), "name", "state", "since", "reason", "retry_at", "who", "until")
    return dg.SensorResult(
        asset_events=[_observation(step, now) for _, step in steps],
        cursor=str(steps[-1][0]),
    )


def _observation(step: Transition, breakers: dg.MetadataValue) -> dg.AssetObservation:
    facts: dict[str, Any] = {
        "breaker": step.breaker,
        "at": step.at.isoformat(),
        "from": step.from_state,
        "to": step.to_state,
        "cause": step.cause,
        "reason": step.reason,
        "who": step.who,
        "until": step.until and step.until.isoformat(),
    }
    metadata: dict[str, Any] = {name: value for name, value in facts.items() if value is not None}
    metadata["breakers"] = breakers
    if step.run_id:
        metadata["run"] = dg.MetadataValue.dagster_run(step.run_id)
    return dg.AssetObservation(
        CIRCUIT_BREAKERS.key,
        description=f"{step.breaker}: {step.from_state} to {step.to_state} ({step.cause}). {step.reason}",
        metadata=metadata,
    )
