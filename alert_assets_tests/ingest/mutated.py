"""Mutated lines, archives and file names: what a producer who means harm, or has a broken disk, may land.

Everything is drawn from one seed. The lines come from the committed sample, the oracle's generator and the payloads
that senders were recorded with.
"""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alert_assets_tests.oracle.generate import generate_lines

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 2, 14, 12, tzinfo=UTC)

#: What is put into a line, somewhere.
_TOKENS = (
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\r",
        b"\t",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
    ),
    *(
        b"\\u0000",
        b"\\ud800",
        b"\\udc00",
        b"\\ud83d\\ude00",
        b"\\x",
        b"\xef\xbb\xbf",
        b"\x1b[31m",
        b"\xc2\x9b",
        b"\xe2\x80\xae",
    ),
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"1E-400", b"0x1", b"01", b"9" * 400, b"9" * 5_000),
    *(
        b"[" * 70,
        b'{"a":' * 70,
        b'"labels":{"a":{}}',
        b'"labels":[]',
        b'"event_id":1',
        b'"timestamp":1e18',
        b'"metrics":{"":1e999}',
    ),
    *(b'{"_unmapped":"grafana"', b"2026-02-29T00:00:00Z", b"2026-02-14T10:05:60+18:01", b"x" * 40_000),
)


@cache
def corpus() -> tuple[bytes, ...]:
    """Lines before they are mutated."""
    sample = [
        line for path in sorted(ROOT.glob("data/landing/_sample-*.jsonl")) for line in path.read_bytes().split(b"\n")
    ]
    recorded = [
        json.dumps(payload, ensure_ascii=False).encode()
        for path in sorted(ROOT.glob("alert_assets/intake/senders/*.json"))
        for payload in _objects(json.loads(path.read_bytes()))
    ]
    return (*sample[:2_000], *generate_lines(7, 2_000, now=NOW, future_edges=True, conflicts=True), *recorded)


def _objects(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects(item)


def mutated_lines(rng: random.Random, count: int) -> Iterator[bytes]:
    """Lines without a line feed, two in three of them mutated."""
    lines = corpus()
    for _ in range(count):
        line = rng.choice(lines)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 6))):
            line = _mutated(rng, line, lines)
        yield line.replace(b"\n", b"")


def _mutated(rng: random.Random, line: bytes, lines: tuple[bytes, ...]) -> bytes:
    at, to = sorted((rng.randrange(len(line) + 1), rng.randrange(len(line) + 1)))
    match rng.randrange(6):
        case 0:
            return line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
        case 1:
            return line[:at] + line[min(to, at + 20) :]
        case 2:
            return line[:to] + line[at:]
        case 3:
            return line[:at] + rng.choice(lines)[to:]
        case 4:
            # In the place of a value.
            colon = line.find(b":", at) + 1
            end = line.find(b",", colon)
            return line[:colon] + rng.choice(_TOKENS) + line[end if end > 0 else len(line) :]
        case _:
            return line[:at] + rng.choice(_TOKENS) + line[at:]


def land(rng: random.Random, folder: Path, files: int, lines: int) -> dict[Path, list[bytes] | None]:
    """Fill a landing zone; returns its regular files that are shown, with their lines, None for a broken archive."""
    landed: dict[Path, list[bytes] | None] = {}
    for number in range(files):
        content = b"\n".join(mutated_lines(rng, rng.randrange(lines))) + rng.choice((b"", b"\n", b"\n\n", b"\r\n"))
        *whole, last = content.split(b"\n")
        expected = [*whole, *([last] if last else [])]
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + _name(rng, number)))
        path.parent.mkdir(exist_ok=True)
        match rng.randrange(8):
            case 0:
                path.symlink_to(rng.choice(("/etc/passwd", ".", "nowhere", path.name)))
            case 1:
                os.mkfifo(path)
            case 2:
                path.mkdir()
            case 3 | 4 if path.name.endswith(".gz"):
                packed = gzip.compress(content) + rng.choice((b"", b"\0" * 9))
                bad = rng.choice(
                    (packed[: rng.randrange(1, len(packed) - 12)], b"\x1f" + packed, packed + b"x", content or b"x")
                )
                path.write_bytes(bad)
                landed[path] = None
            case _:
                half = rng.randrange(len(content) + 1)
                parts = (content[:half], content[half:])
                path.write_bytes(b"".join(map(gzip.compress, parts)) if path.name.endswith(".gz") else content)
                landed[path] = expected
    return landed


def _name(rng: random.Random, number: int) -> bytes:
    odd = rng.choice(
        (b"", b" ", b"\xff", b"\n", b"\x1b[2J", b"a:b", b"%41", b"{x,y}", b"*?", "שלום".encode(), b"\xe2\x80\xae")
    )
    folder = rng.choice((b"", b"", b"in/", b"in:/", b"_in/", b"i\xffn/"))
    suffix = rng.choice((b".jsonl", b".jsonl", b".jsonl.gz", b".jsonl.gz", b".json", b".jsonl.part", b".JSONL"))
    return folder + rng.choice((b"", b"", b"", b".", b"_")) + odd + b"%d" % number + suffix
