"""JSON in, one value a line out, each value as it was written.

Values are cut out of the text rather than parsed and written anew: a number keeps its digits, a key that is there
twice stays there twice, and the judge sees what the producer sent.
"""

from __future__ import annotations

import json
import re
from typing import Any

_BLANK = re.compile(r"[ \t\r\n]*")
_BREAKS = re.compile(r"[\r\n]+")
#: Values are only looked at to find where they end; numbers need not be computed.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def lines_of(body: bytes) -> list[bytes]:
    """Split a body of events into lines: a JSON array, JSON values one after the other, or JSON lines.

    What is no JSON stays lines as they came, for the quarantine; blank ones go.
    """
    text = body.decode("utf-8", "surrogateescape")
    begin = text.lstrip(" \t\r\n")[:1]
    if begin == "[":
        values = _elements(text)
    elif begin == "{" and _is_spread(text):
        values = _values(text)
    else:
        values = None
    if values is None:
        values = text.split("\n")
    return [line.encode("utf-8", "surrogateescape") for value in values if (line := _BREAKS.sub(" ", value).strip())]


def load(body: bytes) -> Any:
    """Parse a JSON document.

    Raises:
        ValueError: it is none, is nested too deep, or holds a number nobody can hold.
    """
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def dump(value: Any) -> bytes:
    """Write a value as one line of JSON, with its line feed."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Half a surrogate pair is no UTF-8; as an escape, which this writes, it is JSON.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _is_spread(text: str) -> bool:
    """Whether the first line is no whole value: an object over several lines."""
    first = text.lstrip(" \t\r\n").split("\n", 1)[0].strip()
    try:
        _, end = _DECODER.raw_decode(first)
    except (ValueError, RecursionError):
        return True
    return end != len(first)


def _elements(text: str) -> list[str] | None:
    """The elements of an array as they are written; None if it is not one to its end."""
    values: list[str] = []
    position = _skip(text, text.index("[") + 1)
    if text[position : position + 1] == "]":
        return values if _skip(text, position + 1) == len(text) else None
    while True:
        end = _end(text, position)
        if end is None:
            return None
        values.append(text[position:end])
        position = _skip(text, end)
        match text[position : position + 1]:
            case ",":
                position = _skip(text, position + 1)
            case "]":
                return values if _skip(text, position + 1) == len(text) else None
            case _:
                return None


def _values(text: str) -> list[str] | None:
    """Values that follow each other, as they are written; None if something else does."""
    values: list[str] = []
    position = _skip(text, 0)
    while position < len(text):
        end = _end(text, position)
        if end is None:
            return None
        values.append(text[position:end])
        position = _skip(text, end)
    return values


def _end(text: str, position: int) -> int | None:
    try:
        return _DECODER.raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return None


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
