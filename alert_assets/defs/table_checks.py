"""The checks as Dagster knows them: one op a table, any of its checks alone or all together.

No `from __future__ import annotations`: Dagster reads the ops' annotations.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from alert_assets.breaker.store import CircuitBreakers
from alert_assets.checks.check import Check, Finding
from alert_assets.checks.evaluate import Evaluation, evaluate, record
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import Contract
from alert_assets.defs.metadata import plain
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import escape_invisible
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings

#: Beginnings of the names of limits among a finding's numbers.
_LIMITS = ("min_", "max_", "freshness_")


class ChecksConfig(dg.Config):
    """Run config of the checks."""

    full: bool = False
    """Look at every row of the table, not only at those since a check last passed."""


def table_checks(tables: Iterable[str]) -> list[dg.AssetChecksDefinition]:
    """One op of checks for each of these tables."""
    return [_table_checks(contract, checks()) for contract, checks in map(CHECKS.__getitem__, tables)]


def _table_checks(contract: Contract, checks: list[Check]) -> dg.AssetChecksDefinition:
    by_name = {check.name: check for check in checks}

    @dg.multi_asset_check(
        name=f"{contract.name}_checks",
        description=f"The checks of {contract.name}; they read the Delta log and need no Spark.",
        specs=[_spec(contract, check) for check in checks],
        can_subset=True,
    )
    def run_checks(
        context: dg.AssetCheckExecutionContext,
        config: ChecksConfig,
        lakehouse: dg.ResourceParam[Lakehouse],
        settings: dg.ResourceParam[Settings],
        breakers: dg.ResourceParam[CircuitBreakers],
    ) -> Iterator[dg.AssetCheckResult]:
        selected = [by_name[key.name] for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name)]
        now = utc_now()
        done = list(evaluate(lakehouse, settings, breakers, contract, selected, now=now, full=config.full))
        record(breakers.state, contract, done, at=now, run_id=context.run.run_id)
        if skipped := [evaluation for evaluation in done if evaluation.skipped]:
            context.log.warning(f"{len(skipped)} checks are skipped: {skipped[0].finding.description}")
        for evaluation in done:
            if not evaluation.skipped:
                yield check_result(contract.name, evaluation)

    return run_checks


def check_result(table: str, evaluation: Evaluation) -> dg.AssetCheckResult:
    """An evaluation as Dagster has it."""
    return dg.AssetCheckResult(
        asset_key=table,
        check_name=evaluation.check.name,
        passed=evaluation.finding.passed,
        severity=dg.AssetCheckSeverity[evaluation.severity],
        description=escape_invisible(evaluation.finding.description),
        metadata=_metadata(evaluation.finding, evaluation.mark),
    )


def _spec(contract: Contract, check: Check) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        check.name,
        asset=contract.name,
        description=check.description,
        blocking=check.gating,
        metadata={"dimension": check.dimension},
    )


def _metadata(finding: Finding, mark: int) -> dict[str, Any]:
    """What the UI shows and plots of a finding; text from outside cannot steer a terminal or a page."""
    # A limit stays what it is: as a number it would be a flat line among the plots.
    found: dict[str, Any] = {
        name: f"{value:,}" if name.startswith(_LIMITS) else value for name, value in finding.numbers.items()
    }
    found |= {"checked_batch_id": mark, **{name: plain(value) for name, value in finding.facts.items()}}
    if finding.samples:
        found["samples"] = dg.MetadataValue.json([plain(sample) for sample in finding.samples])
    return found
