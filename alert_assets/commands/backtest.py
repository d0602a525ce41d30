"""`alert-assets backtest`: who would have been notified of the history under other rules."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption, duration, since, timestamp
from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.durations import spell_duration
from alert_assets.kernel.garbage import uncollected
from alert_assets.kernel.sql import literal
from alert_assets.kernel.text import escape_invisible
from alert_assets.notify.backtest import (
    Comparison,
    History,
    Replay,
    Sent,
    compare,
    read_history,
    replay_both,
)
from alert_assets.notify.routing.file import load_routing
from alert_assets.notify.stack import NotificationStack, over_channels
from alert_assets.settings import Settings, load_settings
from alert_assets.state.database import State

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.notify.routing.rules import Routing

app = typer.Typer(add_completion=False)

#: A replay that is shorter says nothing meanwhile.
_QUIET_SECONDS = 5

#: What people read in a pull request; `--json` has all.
_ROWS = 50


@app.command(epilog="Example, in a pull request: alert-assets backtest --routing new.yaml --since 30d >backtest.md")
def backtest(
    routing: Annotated[
        Path | None, typer.Option(help="The other routing file; default: the one in force, with the other options.")
    ] = None,
    begin: Annotated[
        datetime, typer.Option("--since", parser=since, metavar="WHEN", help="Begin: 30d, 6h or a time in RFC 3339.")
    ] = "30d",  # type: ignore[assignment]
    until: Annotated[
        datetime | None, typer.Option(parser=timestamp, metavar="TIME", help="End, in RFC 3339; default: now.")
    ] = None,
    dedup_window: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="TIME", help="Another dedup window, e.g. 15m."),
    ] = None,
    tick: Annotated[
        timedelta, typer.Option(parser=duration, metavar="TIME", help="How exact the moments are; 1m takes longer.")
    ] = "5m",  # type: ignore[assignment]
    limit: Annotated[int, typer.Option(min=0, help="Rows of each list at most; 0 is all.")] = _ROWS,
    as_json: JsonOption = False,
) -> None:
    """Replay history through other routing, dedup, grouping and escalation; print what differs, as Markdown.

    Messages lost come first. Exit 1 when nobody would have heard of something that a person acknowledged or resolved.
    50,000 dedup windows take about 15 s on one core.
    """
    settings, end = load_settings(), until or utc_now()
    if not timedelta(seconds=1) <= tick <= timedelta(hours=1):
        raise UserError(f"--tick {spell_duration(tick)} is not between 1s and 1h.")
    if begin >= end:
        raise UserError(f"--since {begin:%Y-%m-%d %H:%M:%SZ} is not before the end, {end:%Y-%m-%d %H:%M:%SZ}.")
    stack = NotificationStack(settings)
    now_in_force = _over_channels(load_routing(settings.routing_file or None), stack)
    other = _over_channels(load_routing(routing), stack) if routing else now_in_force
    state = State(settings.state_url)
    with uncollected():
        with reading(settings) as lakehouse:
            history = read_history(lakehouse, state, begin, end, tick=tick)
            changed = history
            if dedup_window is not None:
                windows = _deduplicated(lakehouse, settings, begin, end, dedup_window)
                changed = read_history(lakehouse, state, begin, end, tick=tick, windows=windows)
        before, after = replay_both(history, now_in_force, changed, other, stack.rules, _progress(begin, end))
        found = compare(history, before, after)
    if as_json:
        output.print_json(_as_json(history, before, after, found))
    else:
        name = str(routing) if routing else "the routing in force"
        typer.echo(escape_invisible(_markdown(name, dedup_window, history, before, after, found, limit)))
    if found.unheard:
        raise typer.Exit(1)


def _progress(begin: datetime, end: datetime) -> Callable[[datetime], None]:
    """Say on standard error how far a long replay has come: every tenth of it, and not sooner than five seconds."""
    said_at, tenth = time.monotonic(), 0

    def say(at: datetime) -> None:
        nonlocal said_at, tenth
        done = int(10 * ((at - begin) / (end - begin)))
        if done > tenth and time.monotonic() - said_at >= _QUIET_SECONDS:
            typer.echo(f"Replayed up to {at:%Y-%m-%d %H:%M}Z, {done * 10} %.", err=True)
            said_at, tenth = time.monotonic(), done

    return say


def _over_channels(routing: Routing, stack: NotificationStack) -> Routing:
    """The routing over the channels that are configured; where none is, as in CI, over all that it names."""
    return over_channels(routing, stack.channels) if len(stack.channels) > 1 else routing


def _deduplicated(
    lakehouse: Lakehouse, settings: Settings, begin: datetime, end: datetime, window: timedelta
) -> pa.Table:
    """Silver as it would be with another dedup window, made by the code that makes silver."""
    minutes = window / timedelta(minutes=1)
    if minutes != int(minutes) or not 1 <= minutes <= 10_080:
        raise UserError(f"--dedup-window {spell_duration(window)} is not a whole number of minutes up to 7d.")
    from alert_assets.transforms.deduplicate import deduplicate

    bronze = lakehouse.snapshot(BRONZE_EVENTS)
    if bronze.table is None:
        raise UserError("There is no bronze_events, so nothing to deduplicate: `alert-assets run` makes it.")
    alerts = bronze.rows(f"event_type = 'alert' AND timestamp >= {literal(begin)} AND timestamp < {literal(end)}")
    return deduplicate(alerts, dedup_fields=settings.dedup_fields, window_minutes=int(minutes))


# What is printed


def _markdown(
    name: str,
    window: timedelta | None,
    history: History,
    before: Replay,
    after: Replay,
    found: Comparison,
    limit: int,
) -> str:
    with_window = f", dedup window {spell_duration(window)}" if window else ""
    lines = [
        f"# Backtest: {_cell(name)}{with_window}",
        "",
        f"{history.since:%Y-%m-%d %H:%M}Z to {history.until:%Y-%m-%d %H:%M}Z: {history.windows:,} dedup windows, "
        f"{history.others:,} alerts of the pipeline's own, {len(history.acts):,} acts by hand, "
        f"{len(history.silences):,} silences. Moments are exact to {spell_duration(history.tick)}. "
        "It begins with nothing open, and each window counts with its highest severity from its beginning.",
        "",
    ]
    if not history.reports:
        lines += ["**Nothing was replayed:** there is no history in this time, so nothing is shown by it.", ""]
    lines += ["| | in force | other |", "|---|--:|--:|", f"| messages | {len(before.sent):,} | {len(after.sent):,} |"]
    lines += [
        f"| alerts that people hear of | {len(before.heard):,} | {len(after.heard):,} |",
        *_by_channel(before, after),
        "",
    ]
    if found.is_same:
        return "\n".join([*lines, "Nothing differs."])
    if found.unheard:
        lines += ["## Acknowledged, and nobody would have heard", ""]
        told = [f"{act.at:%Y-%m-%d %H:%M}Z {_cell(act.title)}, by {_cell(act.who)}" for act in found.unheard]
        lines += _shown(told, limit)
    if found.silent:
        titles = {sent.fingerprint: sent.title for sent in before.sent}
        lines += [f"## Nobody would have heard ({len(found.silent):,})", ""]
        lines += _shown([_cell(titles[one]) for one in found.silent], limit)
    for title, messages in (("Lost", found.lost), ("New", found.new)):
        lines += _listed(title, [(sent, None) for sent in messages], limit)
    for title, shifted in (("Earlier", found.earlier), ("Later", found.later)):
        lines += _listed(title, list(shifted), limit)
    return "\n".join(lines).rstrip()


def _by_channel(before: Replay, after: Replay) -> list[str]:
    was, now = (Counter(sent.to.partition(":")[0] for sent in replayed.sent) for replayed in (before, after))
    return [f"| {channel} | {was[channel]:,} | {now[channel]:,} |" for channel in sorted({*was, *now})]


def _listed(title: str, messages: list[tuple[Sent, timedelta | None]], limit: int) -> list[str]:
    if not messages:
        return []
    rows = [
        f"| {sent.at:%Y-%m-%d %H:%M}Z | {sent.action} | {_cell(sent.to)} | {sent.severity} | {_cell(sent.title)} |"
        + ("" if by is None else f" {spell_duration(abs(by))} |")
        for sent, by in messages
    ]
    shift = "" if messages[0][1] is None else " by |"
    head = f"| when | what | to | severity | alert |{shift}"
    kept = rows[:limit] if limit else rows
    more = [f"\nand {len(rows) - len(kept):,} more"] if len(kept) < len(rows) else []
    return [f"## {title} ({len(rows):,})", "", head, "|---" * head[:-1].count("|") + "|", *kept, *more, ""]


def _shown(items: list[str], limit: int) -> list[str]:
    kept = items[:limit] if limit else items
    more = [f"- and {len(items) - len(kept):,} more"] if len(kept) < len(items) else []
    return [*(f"- {item}" for item in kept), *more, ""]


def _cell(text: str) -> str:
    """Text from outside as a cell: no markup, one line."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>#|!" else letter for letter in flat)


def _as_json(history: History, before: Replay, after: Replay, found: Comparison) -> dict[str, Any]:
    return {
        "since": history.since,
        "until": history.until,
        "replayed": {"windows": history.windows, "others": history.others, "acts": len(history.acts)},
        "messages": {"in_force": len(before.sent), "other": len(after.sent)},
        "heard": {"in_force": len(before.heard), "other": len(after.heard)},
        "unheard": [asdict(act) for act in found.unheard],
        "silent": list(found.silent),
        **{name: [sent._asdict() for sent in getattr(found, name)] for name in ("lost", "new")},
        **{
            name: [{**sent._asdict(), "by_seconds": by.total_seconds()} for sent, by in getattr(found, name)]
            for name in ("earlier", "later")
        },
    }
