"""What producers really write, as the values that they mean: JSON text to members, members to values.

Pure functions; what may be read how is in docs/rules.md. Pickled by value with :mod:`alert_assets.ingest.judge`.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from alert_assets.contracts.rules import BLANKS
from alert_assets.contracts.vocabulary import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOM = "\ufeff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)

_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: A number as people write it in a text.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_MAX_OFFSET_MINUTES = 18 * 60
_SINCE_EPOCH = re.compile(r"([0-9]{9,19})(?:\.([0-9]{1,30}))?|([0-9])(?:\.([0-9]{1,30}))?[eE]\+?([0-9]{1,2})")
#: Microseconds since the epoch of the first moment that an event may be from, and of the first one after the last.
_FIRST, _AFTER = ((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND for year in (FIRST_YEAR, LAST_YEAR + 1))
#: By how many digits a unit's numbers are longer than those of seconds.
_UNIT_DIGITS = (0, 3, 6, 9)


class Number(str):
    """A JSON number, spelled as the producer did."""

    __slots__ = ()


class Unreadable(ValueError):
    """A line, or a field's value, cannot mean anything."""


class Read(NamedTuple):
    """A field's value as it is stored.

    Attributes:
        is_adapted: the producer wrote it in another way.
        rest: what of the producer's value cannot be understood, and is not in `value`; None when nothing.
    """

    value: Any
    is_adapted: bool = False
    rest: Any = None


def members_of(line: str, max_depth: int) -> tuple[dict[str, Any], set[str]]:
    """Return a JSON object's members, and the names of those that held half of a surrogate pair.

    Numbers are :class:`Number`. Half a pair, which is no text, becomes U+FFFD.

    Raises:
        Unreadable: it is not one JSON object, has a name twice, or is nested too deeply: the reason.
    """
    text = line.removeprefix(_BOM)
    if _is_deeper(text, max_depth):
        raise Unreadable("too_deep")
    try:
        members = json.loads(
            text, object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_no_constant
        )
        if not isinstance(members, dict):
            raise Unreadable("not an object")
        return _without_surrogates(members) if _ESCAPED_SURROGATE.search(text) else (members, set())
    except ValueError:
        raise Unreadable("malformed_json") from None


def _is_deeper(text: str, max_depth: int) -> bool:
    if text.count("{") + text.count("[") <= max_depth:
        return False
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > max_depth:
            return True
    return False


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise Unreadable("a name is there twice")
    return found


def _no_constant(name: str) -> None:
    raise Unreadable(f"{name} is no JSON")


def _without_surrogates(members: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    cleaned = [(_cleaned(name), _cleaned(value)) for name, value in members.items()]
    changed = {
        new for (new, value), name in zip(cleaned, members, strict=True) if (new, value) != (name, members[name])
    }
    return _object(cleaned), changed


def _cleaned(value: Any) -> Any:
    if type(value) is str:
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return _object([(_cleaned(name), _cleaned(item)) for name, item in value.items()])
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def as_json(value: Any) -> str:
    """Return a value of :func:`members_of` as JSON text, numbers as they were spelled, names in order."""
    if isinstance(value, Number):
        return value
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quoted(name)}:{as_json(value[name])}" for name in sorted(value)]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([as_json(item) for item in value]) + "]"
    return _quoted(value)


_quoted = json.JSONEncoder(ensure_ascii=False).encode


def text(value: Any, *, keeps_blanks: bool = False) -> Read:
    """Read a text, or a number or truth value as the text of it.

    Args:
        keeps_blanks: blanks around the text belong to it.

    Raises:
        Unreadable: it is an object or an array.
    """
    if type(value) is str:
        found = value if keeps_blanks else value.strip(BLANKS)
        return Read(found, found != value)
    if isinstance(value, (Number, bool)):
        return Read(_spelled(value), True)
    raise Unreadable("no text")


def _spelled(value: Number | bool) -> str:
    return str.__str__(value) if isinstance(value, Number) else "true" if value else "false"


def number(value: Any) -> Read:
    """Read a finite number, or a text that is one.

    Raises:
        Unreadable: it is neither.
    """
    if isinstance(value, Number):
        found, is_adapted = float(value), False
    elif isinstance(value, str) and _NUMBER.fullmatch(stripped := value.strip(BLANKS)):
        found, is_adapted = float(stripped), True
    else:
        raise Unreadable("no number")
    if not math.isfinite(found):
        raise Unreadable("not finite")
    # -0.0 equals 0.0 but is not the same bytes: adding zero leaves one zero.
    return Read(found + 0.0, is_adapted)


def moment(value: Any) -> Read:
    """Read microseconds since the epoch from RFC 3339, or from a number of seconds, ms, us or ns since then.

    Raises:
        Unreadable: it is none of these, or not from the years that an event may be from.
    """
    if not isinstance(value, str):
        raise Unreadable("no moment")
    stripped = value.strip(BLANKS)
    if written := _RFC_3339.fullmatch(stripped):
        return Read(_of_date(written), stripped != value)
    if written := _SINCE_EPOCH.fullmatch(stripped):
        return Read(_since_epoch(written), True)
    raise Unreadable("no moment")


def _of_date(written: re.Match[str]) -> int:
    *date, fraction, sign, hours, minutes = written.groups()
    try:
        local = datetime(*map(int, date), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        raise Unreadable("no such day or time") from None
    offset = 0 if sign is None else int(hours) * 60 + int(minutes)
    if offset > _MAX_OFFSET_MINUTES or (sign is not None and int(minutes) > 59):
        raise Unreadable("no such offset")
    seconds = (local - _EPOCH) // _SECOND - (-60 if sign == "-" else 60) * offset
    return _in_range(seconds * 1_000_000 + int(f"{fraction or ''}000000"[:6]))


def _since_epoch(written: re.Match[str]) -> int:
    whole, fraction, first, more, exponent = written.groups()
    if whole is None:
        # 1.7710635e+09: some write what is long with an exponent.
        digits, size = first + (more or ""), 1 + int(exponent)
        whole, fraction = digits[:size].ljust(size, "0"), digits[size:]
    for unit in _UNIT_DIGITS:
        # Digits are moved, not divided: no rounding.
        shifted = f"{whole}{fraction or ''}".ljust(len(whole) + 6, "0")[: len(whole) + 6 - unit]
        if _FIRST <= int(shifted or 0) < _AFTER:
            return int(shifted)
    raise Unreadable("in no unit of the years that are allowed")


def _in_range(microseconds: int) -> int:
    if not _FIRST <= microseconds < _AFTER:
        raise Unreadable("not in the years that are allowed")
    return microseconds


def texts(value: Any) -> Read:
    """Read an object of texts; an entry that is null is dropped, one that is no text is the rest.

    Raises:
        Unreadable: it is no object, and not the empty array that some write for an empty one.
    """
    return _entries(value, text)


def numbers(value: Any) -> Read:
    """Read an object of finite numbers, as :func:`texts` does one of texts."""
    return _entries(value, number)


def _entries(value: Any, read: Any) -> Read:
    if value == []:
        return Read({}, True)
    if not isinstance(value, dict):
        raise Unreadable("no object")
    found, rest, is_adapted = {}, {}, False
    for name, item in value.items():
        if item is None:
            is_adapted = True
            continue
        try:
            entry = read(item)
        except Unreadable:
            rest[name] = item
            continue
        found[name] = entry.value
        is_adapted |= entry.is_adapted
    return Read(found, is_adapted or bool(rest), rest or None)


def in_ascii_case(word: str, case: str) -> str:
    """Return a word in upper or lower case, ASCII alone: the Turkish dotless i does not make an INFO."""
    return word.translate(_UPPER if case == "upper" else _LOWER)


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_UPPER = str.maketrans(_LETTERS, _LETTERS.upper())
_LOWER = str.maketrans(_LETTERS.upper(), _LETTERS)
