"""Evaluates checks: finds where each stopped, looks at what is new, and writes down what came out.

Each check has a mark: the `_batch_id` it last passed at. Checks with one mark, which is usually all of a
table's, share one pass over the rows above it. A check that fails keeps its mark and looks at the same
rows again, so it fails until the data is right, also when the rows that were wrong are no longer new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding
from alert_assets.checks.new_rows import NewRows
from alert_assets.kernel.text import one_line
from alert_assets.notify.facts import check_alert
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.check_results import latest_checks, record_check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.contracts import Contract
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings
    from alert_assets.state.database import State


@dataclass(frozen=True)
class Evaluation:
    """A check evaluated; `mark` is the `_batch_id` it has got to."""

    check: Check
    finding: Finding
    mark: int

    @property
    def severity(self) -> str:
        """ERROR for a check that gates, WARN for another."""
        return "ERROR" if self.check.gating else "WARN"


def evaluate(
    lakehouse: Lakehouse,
    settings: Settings,
    breakers: CircuitBreakers,
    contract: Contract,
    checks: Iterable[Check],
    *,
    now: datetime,
    full: bool = False,
) -> Iterator[Evaluation]:
    """Evaluate checks of a table. Nothing is written down.

    Args:
        full: look at every row, not only at those above a check's mark.
    """
    checks = list(checks)
    marks = {} if full else _marks(breakers.state, contract)
    by_mark: dict[int, list[Check]] = {}
    for check in checks:
        by_mark.setdefault(marks.get(check.name, 0), []).append(check)
    for mark, group in sorted(by_mark.items()):
        rows = NewRows(lakehouse, settings, breakers, contract, after=mark, now=now)
        rows.measure(_measures(group, rows))
        for check in group:
            finding = _judge(check, rows)
            moves_on = finding.passed or (check.judges_arrivals and "error" not in finding.facts)
            yield Evaluation(check, finding, rows.last if moves_on else marks.get(check.name, 0))


def _marks(state: State, contract: Contract) -> dict[str, int]:
    with state.reading() as connection:
        return {
            result.check_name: result.checked_batch_id or 0 for result in latest_checks(connection, [contract.name])
        }


def _measures(checks: Iterable[Check], rows: NewRows) -> Mapping[str, str]:
    wanted: dict[str, str] = {}
    for check in checks:
        try:
            wanted |= check.measures(rows)
        except Exception:  # noqa: BLE001, S112  the check misses its measures, and fails by that alone
            continue
    return wanted


def _judge(check: Check, rows: NewRows) -> Finding:
    if not rows.exists():
        return Finding(True, f"{rows.contract.name} is not there yet: nothing to check.", {"rows": 0})
    try:
        return check.judge(rows)
    except Exception as error:  # noqa: BLE001  one check that cannot be evaluated must not hide the others
        cause = one_line(f"{type(error).__name__}: {error}", 500)
        return Finding(False, f"The check could not be evaluated, so nothing is known. {cause}", facts={"error": cause})


def record(state: State, contract: Contract, evaluations: Iterable[Evaluation], *, at: datetime, run_id: str) -> None:
    """Keep the results where the breaker, the command line and the next evaluation find them, and tell people.

    Told is what fails, and what passes again. Staleness that an open breaker causes is not told: the breaker was.
    """
    with state.writing() as connection:
        failed_before = {
            result.check_name for result in latest_checks(connection, [contract.name]) if not result.passed
        }
        for done in evaluations:
            finding, name = done.finding, done.check.name
            is_news = not finding.passed or name in failed_before
            if is_news and not finding.facts.get("attributed_to_breaker"):
                alert = check_alert(
                    contract.name,
                    name,
                    passed=finding.passed,
                    blocking=done.check.gating,
                    description=finding.description,
                    run_id=run_id,
                    at=at,
                )
                raise_alert(connection, alert, f"{alert.episode}/{at.isoformat()}")
            record_check(
                connection,
                table_name=contract.name,
                check_name=done.check.name,
                passed=done.finding.passed,
                severity=done.severity,
                blocking=done.check.gating,
                at=at,
                run_id=run_id,
                description=done.finding.description,
                checked_batch_id=done.mark,
            )
