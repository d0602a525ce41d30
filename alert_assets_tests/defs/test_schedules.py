"""The schedules of every five minutes: when a tick launches a run, when it is skipped, and what it says then."""

from collections.abc import Iterator

import dagster as dg
import pytest

from alert_assets.breaker.store import CircuitBreakers, circuit_breakers
from alert_assets.contracts import PLATINUM_INCIDENTS
from alert_assets.defs.schedules import every_5_minutes
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings


@dg.asset
def platinum_incidents() -> None: ...


@pytest.fixture
def breakers(settings: Settings) -> CircuitBreakers:
    return circuit_breakers(settings)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def tick(
    instance: dg.DagsterInstance, settings: Settings, breakers: CircuitBreakers, why: str | None
) -> dg.RunRequest | dg.SkipReason:
    job = dg.define_asset_job("platinum", selection="platinum_incidents")
    schedule = every_5_minutes(
        job, [PLATINUM_INCIDENTS.name], lambda *_: why, idle="Nothing to do.", description="Often."
    )
    repository = dg.Definitions(assets=[platinum_incidents], jobs=[job], schedules=[schedule]).get_repository_def()
    resources = {"breakers": breakers, "settings": settings, "lakehouse": Lakehouse(settings)}
    found = schedule(dg.build_schedule_context(instance=instance, repository_def=repository, resources=resources))
    assert isinstance(found, (dg.RunRequest, dg.SkipReason))
    return found


def test_it_runs_when_there_is_a_reason_and_says_it(
    instance: dg.DagsterInstance, settings: Settings, breakers: CircuitBreakers
) -> None:
    request = tick(instance, settings, breakers, "Incidents wait.")
    assert isinstance(request, dg.RunRequest)
    assert request.tags["alert_assets/because"] == "Incidents wait."
    idle = tick(instance, settings, breakers, None)
    assert isinstance(idle, dg.SkipReason)
    assert idle.skip_message == "Nothing to do."


def test_it_skips_what_the_gate_would_refuse(
    instance: dg.DagsterInstance, settings: Settings, breakers: CircuitBreakers
) -> None:
    breakers.trip("analysis", "the model is off")
    skipped = tick(instance, settings, breakers, "Incidents wait.")
    assert isinstance(skipped, dg.SkipReason)
    assert "Circuit breaker analysis" in (skipped.skip_message or "")
