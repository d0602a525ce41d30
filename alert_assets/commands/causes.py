"""`alert-assets causes`: which application causes what hurts at a moment, from the tables alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from alert_assets.analysis.causes import Edge, Node, Ranking, Window, rank
from alert_assets.analysis.causes.bronze import History, Sources
from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption, duration, since
from alert_assets.contracts.topology import calls_written_down
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import one_line
from alert_assets.settings import load_settings

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: alert-assets causes --at 2026-02-14T10:05:00Z --application storefront")
def causes(
    at: Annotated[
        datetime | None,
        typer.Option(parser=since, metavar="AGE|RFC3339", help="The moment: a time, or 10m, 2h ago. Default: now."),
    ] = None,
    application: Annotated[
        str | None, typer.Option(help="Where it hurts; without it, all applications are ranked.", show_default=False)
    ] = None,
    lookback: Annotated[
        timedelta, typer.Option(parser=duration, metavar="DURATION", help="How long before it a change counts.")
    ] = "60m",  # type: ignore[assignment]  # typer parses it
    as_json: JsonOption = False,
) -> None:
    """Rank the applications that may cause what happens at a moment, whether or not an alert fired.

    Four intervals of each series before the moment and two after it are compared with the week before.
    """
    settings, moment = load_settings(), at or utc_now()
    written_down = calls_written_down(settings.topology_file)
    with reading(settings) as lakehouse:
        edges = [Edge(Node(caller), Node(callee)) for caller, callee in written_down]
        seen = History(Sources.of(lakehouse), [(moment, moment)], lookback=lookback).seen_from(
            moment, moment, edges=edges
        )
    if application is not None and application not in seen.applications:
        raise UserError(
            f"Nothing is known of application {one_line(application, 60)!r} in the week before "
            f"{output.stamp(moment)}: no metrics, logs or calls. {_similar(application, seen.applications)}"
        )
    instant = moment.timestamp()
    ranking = rank(seen, Window(instant, instant), symptom=application, lookback_seconds=lookback.total_seconds())
    if as_json:
        output.print_json(_as_json(ranking, moment, lookback))
    else:
        _print(ranking, moment, bool(seen.applications))


def _similar(application: str, known: frozenset[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(application, sorted(known), n=3, cutoff=0.5)
    names = ", ".join(one_line(name, 60) for name in close)
    return f"Did you mean {names}?" if names else "Leave --application out to rank all that are known."


def _as_json(ranking: Ranking, moment: datetime, lookback: timedelta) -> dict[str, object]:
    return {
        "at": moment,
        "application": ranking.symptom,
        "lookback_seconds": lookback.total_seconds(),
        "answer": ranking.answer.application_id if ranking.answer else None,
        "confidence": round(ranking.confidence, 4),
        "causes": [cause.as_row() for cause in ranking.causes],
    }


def _print(ranking: Ranking, moment: datetime, is_anything_known: bool) -> None:
    where = f" for {output.line(ranking.symptom)}" if ranking.symptom else ""
    when = output.stamp(moment)
    if not ranking.causes:
        why = "nothing measured is unusual" if is_anything_known else "no metrics, logs or calls in the week before"
        return output.say(f"No cause{where} at {when}: {why}.")
    if ranking.answer:
        answer = output.line(ranking.answer.application_id)
        output.say(f"Cause{where} at {when}: {answer}, confidence {ranking.confidence:.0%}.")
    else:
        output.say(f"Cause{where} at {when}: unknown, confidence {ranking.confidence:.0%}. Candidates:")
    table = output.rows("Application", "Host", "Share", "Because", right=["Share"])
    for cause in ranking.causes:
        table.add_row(
            output.line(cause.application_id), output.line(cause.host), f"{cause.share:.0%}", output.line(cause.because)
        )
    output.Output().table(table)
    return None
