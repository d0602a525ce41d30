"""Silver alerts to gold incidents: each with everything that happened to its application before it.

The rules are in docs/rules.md, gold_incidents. How an application's incidents meet its events is in
:mod:`alert_assets.transforms.lookback`.

What a row may hold is bounded, whatever producers send: 2,000 alerts and 3,000 logs with as many error codes in one
application once were six million map entries.

Few incidents are correlated in this process, many by Spark's workers, who get this module sent along
(:mod:`alert_assets.transforms.distributed`).
"""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alert_assets.contracts.vocabulary import SUMMARIES
from alert_assets.kernel.arrow import MOMENT, codes, is_in, micros, numbered, smallest, starts, where
from alert_assets.transforms.context import BLANKS, context_text
from alert_assets.transforms.deduplicate import UNIT_SEPARATOR, fingerprints, names
from alert_assets.transforms.lookback import EVIDENCE, evidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: The longest text, in characters, that evidence quotes of an event, and how much of a message is looked at for it.
LONGEST_TEXT, LONGEST_MESSAGE = 200, 10_000
#: Key of the errors whose code is not listed; a code of this name is counted here too.
OTHER_CODES = "other"

#: Levels of the logs that are errors.
ERROR_LEVELS = ("ERROR", "FATAL")

#: Measured fields, each once.
_MEASURED = tuple(dict.fromkeys(summary.field for summary in SUMMARIES))

_DEPLOYMENT_TEXTS = ("deployment_id", "version", "change_type")
_AS_IT_IS = ("application_id", "event_id", "timestamp", "event_type", "status", "alert_id", "log_level", *_MEASURED)


_IS_DEPLOYMENT, _IS_ERROR = "event_type = 'deployment'", f"event_type = 'log' AND log_level IN {ERROR_LEVELS}"


def _beginning(column: str, length: int, where: str) -> str:
    return f"CASE WHEN {where} THEN substr({column}, 1, {length}) END"


#: Columns of events that evidence is made of, but for those of the fingerprint: the part that is looked at, as SQL that
#: DataFusion and Spark both read. Most of what is stored are the texts of logs that are no errors.
LOOKED_AT = {
    **{name: name for name in _AS_IT_IS},
    **{name: _beginning(name, LONGEST_TEXT, _IS_DEPLOYMENT) for name in _DEPLOYMENT_TEXTS},
    "error_code": _beginning("error_code", LONGEST_TEXT, _IS_ERROR),
    "message": _beginning("message", LONGEST_MESSAGE, _IS_ERROR),
}

_TEXT, _COUNT, _DOUBLE = pa.string(), pa.int64(), pa.float64()

#: What a silver row gains.
_GAINED = pa.schema(
    [
        ("alert_timestamp", MOMENT),
        ("incident_id", _TEXT),
        ("correlated_deployments", EVIDENCE.field("deployments").type),
        ("error_summary", pa.map_(_TEXT, _COUNT)),
        ("metric_summary", pa.struct([(summary.name, _DOUBLE) for summary in SUMMARIES])),
        ("top_messages", EVIDENCE.field("messages").type),
        ("prior_alert_count", _COUNT),
        ("other_alert_count", _COUNT),
        ("evidence_count", _COUNT),
        ("incident_context_text", _TEXT),
        ("context_hash", _TEXT),
    ]
)


def columns_looked_at(dedup_fields: Sequence[str]) -> dict[str, str]:
    """The columns of events that :func:`correlate` needs, and of each the part that it looks at, as SQL."""
    return {**LOOKED_AT, **{name: name for name in (field.partition(".")[0] for field in dedup_fields)}}


def correlate(incidents: pa.Table, events: pa.Table, *, dedup_fields: Sequence[str], lookback_minutes: int) -> pa.Table:
    """Gather each alert's evidence.

    Args:
        incidents: silver_alerts' rows with alert_count > 0, `_batch_id` apart.
        events: bronze's columns of :data:`LOOKED_AT` and of the fingerprint; at least the events of the alerts'
            applications in the alerts' lookbacks.
        dedup_fields: what the alerts' fingerprints were made of.
        lookback_minutes: evidence is in [first_seen - lookback, first_seen], both ends included.

    Returns:
        gold_incidents' columns but `_batch_id`.
    """
    nothing = pa.schema([*incidents.schema, *_GAINED]).empty_table()
    if not incidents.num_rows:
        # Of most stretches of time Spark's workers have events alone.
        return nothing
    applications = pc.unique(incidents["application_id"])
    whose, of_whom = (_places(table["application_id"], applications) for table in (incidents, events))
    content = _content(events, dedup_fields)
    once = _once(content, of_whom, events["event_id"])
    seen, bounds = content.take(once), np.searchsorted(of_whom[once], np.arange(len(applications) + 1))
    parts = [nothing]
    for number, (begin, end) in enumerate(pairwise(bounds.tolist())):
        theirs = incidents.filter(pa.array(whose == number))
        parts.append(_with_evidence(theirs, seen.slice(begin, end - begin), lookback_minutes))
    return pa.concat_tables(parts)


def _content(events: pa.Table, dedup_fields: Sequence[str]) -> pa.Table:
    """What evidence is made of, null where it is no business of the event's type; `at` in microseconds.

    The order of the columns is also the fixed order that picks one content of an event that came with two.
    """
    kind = events["event_type"]
    firing = is_in(kind, "alert") & is_in(events["status"], "firing")
    failed = is_in(kind, "log") & is_in(events["log_level"], *ERROR_LEVELS)
    deployed, measured = is_in(kind, "deployment"), is_in(kind, "metric")

    def cut(name: str, holds: np.ndarray, most: int = LONGEST_TEXT) -> pa.ChunkedArray:
        return pc.utf8_slice_codeunits(where(holds, events[name]), 0, most)

    code = cut("error_code", failed)
    columns = {
        "is_firing": firing,
        "alert_id": where(firing, events["alert_id"]),
        "code": code,
        **{name: cut(name, deployed) for name in _DEPLOYMENT_TEXTS},
        **{name: where(measured, events[name]) for name in _MEASURED},
        "message": _templates(cut("message", failed, LONGEST_MESSAGE)),
        "alert": where(firing, _alert_fingerprints(events, firing, dedup_fields)),
        "at": micros(events["timestamp"]),
        "listed_code": where(~is_in(code, OTHER_CODES), code),
    }
    return pa.table(columns)


def _alert_fingerprints(events: pa.Table, firing: np.ndarray, dedup_fields: Sequence[str]) -> pa.Array:
    """Of the alerts that fire; of other events any text."""
    places = np.cumsum(firing) - 1
    found = fingerprints(names(events.filter(pa.array(firing)), dedup_fields))
    return pa.concat_arrays([found, pa.array([""])]).take(pa.array(np.where(firing, places, len(found))))


def _templates(messages: pa.ChunkedArray) -> pa.ChunkedArray:
    """What messages that differ in their numbers have in common, on one line, numbers as `#`; null for nothing."""
    lines = pc.utf8_trim(pc.replace_substring_regex(messages, f"[{BLANKS}]+", " "), " ")
    texts = pc.utf8_slice_codeunits(pc.replace_substring_regex(lines, "[0-9]+", "#"), 0, LONGEST_TEXT)
    return where(~is_in(texts, ""), texts)


def _once(content: pa.Table, whose: np.ndarray, event_ids: pa.ChunkedArray) -> np.ndarray:
    """The places of events, each once by application, time and id, by application; those of none (-1) are left out.

    Texts are compared where times are the same, and nowhere else.
    """
    at = np.asarray(content["at"].to_numpy())
    order = np.lexsort((at, whose))
    order = order[np.searchsorted(whose[order], 0) :]
    first = np.zeros(len(order), bool)
    first[starts(whose[order], at[order])] = True
    alone = first & np.append(first, True)[1:]
    several = order[~alone]
    ids = codes(event_ids.take(several))
    in_order = np.lexsort((ids, at[several], whose[several]))
    several, ids = several[in_order], ids[in_order]
    begins = starts(whose[several], at[several], ids)
    chosen = smallest(content.take(several), numbered(begins, len(several)))
    found = np.concatenate([order[alone], several[chosen]])
    return found[np.argsort(whose[found], kind="stable")]


def _with_evidence(incidents: pa.Table, events: pa.Table, lookback_minutes: int) -> pa.Table:
    """Gold's rows of one application."""
    first_seen = micros(incidents["first_seen_timestamp"])
    looking = incidents.select(["fingerprint"])
    looking = looking.append_column("own_alert_id", incidents["alert_id"])
    looking = looking.append_column("from", pa.array(first_seen - lookback_minutes * 60_000_000))
    found = evidence(looking.append_column("to", pa.array(first_seen)), events)
    summaries = list(map(_error_summary, found["codes"].to_pylist(), found["coded_count"].to_pylist()))
    ids = map(_incident_id, incidents["fingerprint"].to_pylist(), incidents["first_seen_timestamp"].to_pylist())
    rows = {
        **dict(zip(incidents.column_names, incidents.columns, strict=True)),
        "alert_timestamp": incidents["first_seen_timestamp"],
        "incident_id": pa.array(ids, _TEXT),
        "correlated_deployments": found["deployments"],
        "error_summary": pa.array(summaries, _GAINED.field("error_summary").type),
        "metric_summary": found.select([summary.name for summary in SUMMARIES]).to_struct_array(),
        "top_messages": found["messages"],
        **{name: found[name] for name in ("prior_alert_count", "other_alert_count", "evidence_count")},
    }
    texts = [context_text(row, lookback_minutes) for row in pa.table(rows).to_pylist()]
    hashes = [sha256(text.encode()).hexdigest() for text in texts]
    said = {**rows, "incident_context_text": pa.array(texts, _TEXT), "context_hash": pa.array(hashes, _TEXT)}
    return pa.table(said).cast(pa.schema([*incidents.schema, *_GAINED]))


def _error_summary(listed: Sequence[dict[str, Any]], coded_count: int) -> list[tuple[str, int]]:
    """The listed codes by name, and behind them the errors whose code is not among them."""
    counts = sorted((one["code"], one["count"]) for one in listed)
    rest = coded_count - sum(count for _, count in counts)
    return [*counts, (OTHER_CODES, rest)] if rest > 0 else counts


def _incident_id(fingerprint: str, first_seen: datetime) -> str:
    return sha256(f"{fingerprint}{UNIT_SEPARATOR}{first_seen:%Y-%m-%dT%H:%M:%S.%fZ}".encode()).hexdigest()[:16]


def _places(texts: pa.ChunkedArray, among: pa.Array) -> np.ndarray:
    """The place of each text among others; -1 for one that is not among them."""
    return np.asarray(pc.fill_null(pc.index_in(texts, value_set=among), -1).to_numpy())
