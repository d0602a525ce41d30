"""Evaluates checks: finds where each stopped, looks at what is new, and writes down what came out.

Each check has a mark: the `_batch_id` it last passed at. Checks with one mark, which is usually all of a
table's, share one pass over the rows above it. A check that fails keeps its mark and looks at the same
rows again, so it fails until the data is right, also when the rows that were wrong are no longer new.

A check that has nothing to look at says so and changes nothing: what failed is still failed, and goes on blocking,
until rows come that pass it. A table that was there and is not is a failure; one that never was is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding
from alert_assets.checks.common import nothing_new
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
    from alert_assets.state.check_results import CheckResult
    from alert_assets.state.database import State


@dataclass(frozen=True)
class Evaluation:
    """A check evaluated.

    Attributes:
        mark: the `_batch_id` it has got to.
        is_new: false where there was nothing to look at, and the finding repeats what is known.
        skipped: there is no table yet, so there is no result.
    """

    check: Check
    finding: Finding
    mark: int
    is_new: bool = True
    skipped: bool = False

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
    former = _former(breakers.state, contract)
    marks = {} if full else {name: result.checked_batch_id or 0 for name, result in former.items()}
    by_mark: dict[int, list[Check]] = {}
    for check in checks:
        by_mark.setdefault(marks.get(check.name, 0), []).append(check)
    for mark, group in sorted(by_mark.items()):
        rows = NewRows(lakehouse, settings, breakers, contract, after=mark, now=now)
        if not rows.exists():
            yield from (_no_table(check, rows, former.get(check.name)) for check in group)
            continue
        rows.measure(_measures(group, rows))
        for check in group:
            yield _evaluated(check, rows, former.get(check.name), marks.get(check.name, 0))


def _evaluated(check: Check, rows: NewRows, former: CheckResult | None, mark: int) -> Evaluation:
    if check.judges_arrivals and former and 0 < rows.last == rows.after:
        # It has judged every arrival; what it would say of none is no answer.
        return _unchanged(check, nothing_new(rows), former)
    finding = _judge(check, rows)
    if not finding.looked and former:
        return _unchanged(check, finding, former)
    if "error" in finding.facts:
        # The last commit is looked at again when it can be, whether or not another has come.
        return Evaluation(check, finding, min(mark, max(rows.last - 1, 0)))
    return Evaluation(check, finding, rows.last if finding.passed or check.judges_arrivals else mark)


def _unchanged(check: Check, nothing: Finding, former: CheckResult) -> Evaluation:
    """The former result once more, for who asks for one."""
    mark = former.checked_batch_id or 0
    if former.passed:
        return Evaluation(check, nothing, mark, is_new=False)
    since = f"{former.at:%Y-%m-%d %H:%M:%S}Z"
    said = f"{nothing.description} Still failed since {since}: {former.description}"
    return Evaluation(check, replace(nothing, passed=False, description=said), mark, is_new=False)


def _no_table(check: Check, rows: NewRows, former: CheckResult | None) -> Evaluation:
    where = rows.lakehouse.uri(rows.contract)
    if former is None or not former.checked_batch_id:
        return Evaluation(check, Finding(True, f"{where} is not there yet: nothing was checked."), 0, skipped=True)
    said = (
        f"There is no table at {where}, and this check has looked at its commits up to batch "
        f"{former.checked_batch_id}. Look whether ALERTS_LAKE_DIR is right, or restore the table."
    )
    return Evaluation(check, Finding(False, said), former.checked_batch_id)


def _former(state: State, contract: Contract) -> dict[str, CheckResult]:
    with state.reading() as connection:
        return {result.check_name: result for result in latest_checks(connection, [contract.name])}


def _measures(checks: Iterable[Check], rows: NewRows) -> Mapping[str, str]:
    wanted: dict[str, str] = {}
    for check in checks:
        try:
            wanted |= check.measures(rows)
        except Exception:  # noqa: BLE001, S112  the check misses its measures, and fails by that alone
            continue
    return wanted


def _judge(check: Check, rows: NewRows) -> Finding:
    try:
        finding = check.judge(rows)
    except Exception as error:  # noqa: BLE001  one check that cannot be evaluated must not hide the others
        cause = one_line(f"{type(error).__name__}: {error}", 500)
        said = f"The check could not be evaluated, so nothing is known. {cause}"
        finding = Finding(False, said, facts={"error": cause})
    return finding.masked(rows.contract)


def record(state: State, contract: Contract, evaluations: Iterable[Evaluation], *, at: datetime, run_id: str) -> None:
    """Keep the results where the breaker, the command line and the next evaluation find them, and tell people.

    An alert is raised of what fails, and of what passes again; not of staleness that an open breaker causes, which has
    an alert of its own.
    """
    evaluations = [done for done in evaluations if done.is_new and not done.skipped]
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
