"""`alert-assets cost`: what runs cost, by job and step, and which alert rules are worth less than their noise."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption, since
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.wording import NONE
from alert_assets.reports.cost import cost_by_day, cost_by_step, daily_budget_usd
from alert_assets.reports.noise import RuleNoise, noise_by_rule, to_tune_or_delete
from alert_assets.settings import load_settings
from alert_assets.state.database import State

app = typer.Typer(add_completion=False)

#: Steps that the table names; the others are one line.
_STEPS = 15


@app.command(epilog="Example: alert-assets cost --since 30d")
def cost(
    begin: Annotated[
        datetime | None,
        typer.Option("--since", parser=since, metavar="WHEN", help="6h, 2d or a time in RFC 3339; default: 7d."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what runs cost by job and step, the days against the budget, and alert rules to tune or delete."""
    settings, start = load_settings(), begin or utc_now() - timedelta(days=7)
    with reading(settings) as lakehouse:
        steps, days = cost_by_step(lakehouse, start), cost_by_day(lakehouse, start)
    rules, budget = noise_by_rule(State(settings.state_url), start), daily_budget_usd(settings)
    if as_json:
        found = {"steps": steps, "days": days, "rules": list(map(_described, rules))}
        return output.print_json({"since": start, "daily_budget_usd": budget, **found})
    _print_steps(steps)
    if days:
        spent = max(days, key=lambda day: day["cost_usd"])
        limit = "no budget" if budget is None else f"budget {_usd(budget)} a day (SLO)"
        output.say(
            f"\n{_usd(sum(day['cost_usd'] for day in days))} since {output.stamp(start)}; the dearest day was "
            f"{spent['day']:%Y-%m-%d} with {_usd(spent['cost_usd'])}; {limit}."
        )
    return _print_rules(to_tune_or_delete(rules))


def _described(noise: RuleNoise) -> dict[str, Any]:
    return {
        **asdict(noise),
        "acknowledged_percent": noise.acknowledged_percent,
        "advice": noise.advice,
        "reason": noise.reason,
    }


def _print_steps(steps: list[dict[str, Any]]) -> None:
    if not steps:
        return output.say(
            "No run has been priced yet. The asset run_cost does it, with the runs that have ended: "
            "dagster asset materialize --select run_cost -m alert_assets.definitions"
        )
    numbers = ("Cost", "Runs", "CPU", "Read", "Written", "Tokens")
    table = output.rows("Job", "Step", *numbers, right=numbers, keep=("Job", "Step"))
    rest = steps[_STEPS:]
    names = ("cost_usd", "runs", "cpu_seconds", "bytes_read", "bytes_written", "prompt_tokens", "completion_tokens")
    others = {name: sum(step[name] for step in rest) for name in names}
    for step in [*steps[:_STEPS], *([{"job": f"{len(rest)} others", "step": NONE, **others}] if rest else [])]:
        table.add_row(
            output.line(step["job"]),
            output.line(step["step"]),
            _usd(step["cost_usd"]),
            f"{step['runs']:,}",
            f"{step['cpu_seconds']:,.1f} s",
            output.size(step["bytes_read"]),
            output.size(step["bytes_written"]),
            f"{step['prompt_tokens'] + step['completion_tokens']:,}",
        )
    return output.Output().table(table)


def _print_rules(rules: list[RuleNoise]) -> None:
    if not rules:
        return output.say("\nNo alert rule stands out by its noise.")
    output.say("\nAlert rules to tune or delete:")
    table = output.rows("Rule", "Source", "Advice", "Time to ack", "Because", right=("Time to ack",), keep=("Advice",))
    for noise in rules:
        waited = noise.median_acknowledge_seconds
        table.add_row(
            output.line(noise.rule),
            output.line(noise.source),
            noise.advice,
            NONE if waited is None else f"{waited / 60:,.0f} min",
            noise.reason,
        )
    return output.Output().table(table)


def _usd(amount: float) -> str:
    """Dollars; below ten cents with as many digits as say something."""
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.4f}"
