"""What a sender's mapping could make nothing of, mapped again: from quarantine to bronze, without Spark.

An envelope (:mod:`alert_assets.intake.envelope`) moves whole: when its mapping makes events of every part of its
payload, and the contract takes them all. Else it stays open, for the next replay.

Two tables cannot change in one commit. Bronze goes first, and its commit names the lines it took. If the process dies
before they are marked in quarantine, the next replay sees the number missing there and marks them before anything else:
it maps nothing again, so a mapping that has changed meanwhile does no harm.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.intake.envelope import joined, part_of
from alert_assets.intake.payload import all_senders
from alert_assets.intake.remap import remap
from alert_assets.intake.settings import load_intake_settings
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.filesystems import filesystem_of
from alert_assets.kernel.sql import literal, one_of
from alert_assets.lake.lakehouse import Lakehouse, records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from alert_assets.ingest.plain_lines import PlainLines
    from alert_assets.intake.senders.sender import Sender
    from alert_assets.settings import Settings

#: Application transaction that numbers these replays, in bronze and in quarantine.
REMAP_APP = "alert_assets/remap"

#: Whether a line of quarantine could not be mapped, as SQL: it has no other reason.
IS_UNMAPPED = "starts_with(reasons[1], 'unmapped:')"
_WAITS = f"replayed_at IS NULL AND {IS_UNMAPPED}"

_TIME = pa.timestamp("us", "UTC")

#: Lines and bytes that are mapped, and committed, together.
_LINES, _BYTES = 1_000, 64 << 20


@dataclass(frozen=True)
class _Envelope:
    """An envelope in quarantine: the digests of its line, or of its parts in order."""

    digests: tuple[str, ...]
    size_bytes: int


def replay_unmapped(
    lakehouse: Lakehouse, settings: Settings, plain_lines: Callable[[str, int], PlainLines], reason: str | None = None
) -> tuple[int, int]:
    """Map the open lines `unmapped:SENDER` again and move the events of those that can be by now to bronze, once.

    Bronze is held by the caller.

    Args:
        plain_lines: the judge of a folder of bronze and a batch, without a watermark.
        reason: only lines with this reason.

    Returns:
        lines tried, and lines that moved.

    Raises:
        MappingError: a mapping file is wrong; nothing is changed.
    """
    _finish(lakehouse)
    envelopes = _envelopes(lakehouse, reason)
    if not envelopes:
        return 0, 0
    senders, moved = all_senders(load_intake_settings()), 0
    for some in _at_a_time(envelopes):
        moved += _replay(lakehouse, settings, senders, plain_lines, some)
    return sum(len(each.digests) for each in envelopes), moved


def _envelopes(lakehouse: Lakehouse, reason: str | None) -> list[_Envelope]:
    asked = f"AND array_has(reasons, {literal(reason)})" if reason else ""
    found = records(
        lakehouse.rows(
            BRONZE_QUARANTINE,
            f"SELECT DISTINCT md5(raw) AS digest, left(raw, 200) AS beginning, octet_length(raw) AS size "
            f"FROM t WHERE {_WAITS} {asked} ORDER BY digest",
        )
    )
    whole: list[_Envelope] = []
    cut: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row in found:
        if (part := part_of(row["beginning"])) is None:
            whole.append(_Envelope((row["digest"],), row["size"]))
        else:
            cut[part.whole][part.number] = row
    # One that lacks a part makes no JSON, and stays. All came in one request, so that it was forged.
    for parts in cut.values():
        ordered = [parts[number] for number in sorted(parts)]
        whole.append(_Envelope(tuple(row["digest"] for row in ordered), sum(row["size"] for row in ordered)))
    return whole


def _at_a_time(envelopes: Sequence[_Envelope]) -> Iterator[list[_Envelope]]:
    some: list[_Envelope] = []
    for envelope in envelopes:
        together = [*some, envelope]
        if some and (
            sum(len(each.digests) for each in together) > _LINES or sum(each.size_bytes for each in together) > _BYTES
        ):
            yield some
            together = [envelope]
        some = together
    yield some


def _replay(
    lakehouse: Lakehouse,
    settings: Settings,
    senders: Mapping[str, Sender],
    plain_lines: Callable[[str, int], PlainLines],
    envelopes: Sequence[_Envelope],
) -> int:
    """Commit what can be mapped of these envelopes; returns how many lines moved."""
    now = utc_now()
    rows = _rows(lakehouse, [digest for each in envelopes for digest in each.digests])
    number = lakehouse.transaction(BRONZE_EVENTS, REMAP_APP) + 1
    with lakehouse.stage(BRONZE_EVENTS) as events:
        plain = plain_lines(events.folder, events.batch_id)
        tables: list[pa.Table] = []
        moved: list[str] = []
        for each in envelopes:
            lines = remap(_line([rows[digest]["raw"] for digest in each.digests]), senders, settings)
            if lines is None:
                continue
            accepted, refused = plain.judged(_landed(lines, rows[each.digests[0]], now))
            if not refused.num_rows:
                tables.append(accepted)
                moved += each.digests
        if not moved:
            return 0
        if found := [table for table in tables if table.num_rows]:
            filesystem, folder = filesystem_of(events.folder)
            filesystem.create_dir(folder, recursive=True)
            pq.write_table(
                pa.concat_tables(found), f"{folder}/remapped.parquet", filesystem=filesystem, compression="zstd"
            )
        events.commit({REMAP_APP: number}, {"remap": {"at": now.isoformat(), "digests": moved}})
    _mark(lakehouse, number, now, moved)
    return len(moved)


def _rows(lakehouse: Lakehouse, digests: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = lakehouse.rows(
        BRONZE_QUARANTINE,
        "SELECT md5(raw) AS digest, raw, _source_file, _landed_at FROM t "
        f"WHERE {_WAITS} AND {one_of('md5(raw)', digests)}",
    )
    return {row["digest"]: row for row in records(found)}


def _line(parts: Sequence[str]) -> str:
    if len(parts) == 1 and part_of(parts[0]) is None:
        return parts[0]
    try:
        return joined(parts)
    except (LookupError, TypeError, ValueError):
        return ""  # of no sender


def _landed(lines: Sequence[bytes], row: Mapping[str, Any], now: datetime) -> pa.Table:
    """The lines as if they had landed where and when the envelope did."""
    count = len(lines)
    columns = (
        pa.array([line.rstrip(b"\n") for line in lines], pa.binary()).view(pa.string()),
        pa.array([row["_source_file"]] * count, pa.string()),
        pa.array([row["_landed_at"]] * count, _TIME),
        pa.array([now] * count, _TIME),
    )
    return pa.Table.from_arrays([*columns], names=["raw", "_source_file", "_landed_at", "_ingested_at"])


def _finish(lakehouse: Lakehouse) -> None:
    """Mark the lines of a replay that was cut short."""
    begun = lakehouse.transaction(BRONZE_EVENTS, REMAP_APP)
    if begun > lakehouse.transaction(BRONZE_QUARANTINE, REMAP_APP):
        done = next(commit["remap"] for commit in reversed(lakehouse.commits(BRONZE_EVENTS)) if "remap" in commit)
        _mark(lakehouse, begun, datetime.fromisoformat(done["at"]), done["digests"])


def _mark(lakehouse: Lakehouse, number: int, now: datetime, digests: Sequence[str]) -> None:
    is_moved = f"{_WAITS} AND {one_of('md5(raw)', digests)}"
    lakehouse.update(BRONZE_QUARANTINE, is_moved, {"replayed_at": now}, {REMAP_APP: number})
