"""Text that came from outside: event fields, error codes, a model's answer, an endpoint's error body.

Whoever can write a log line can write into it, so before such text reaches a prompt, a terminal or
a log it loses what people do not see: control characters, terminal escapes, zero-width and
bidirectional marks, tag characters.
"""

from __future__ import annotations

import unicodedata

#: Control, format, surrogate, private use, unassigned, line separator, paragraph separator.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _is_invisible(character: str) -> bool:
    # The supplementary variation selectors are marks by category, but are used to smuggle bytes.
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES or 0xE0100 <= ord(character) <= 0xE01EF


def escape_invisible(text: str) -> str:
    r"""`text` with every invisible character but the line feed written as `\u{hex}`.

    Nothing is lost, so what was hidden becomes evidence; and the line feed is the only thing left
    that breaks a line.
    """
    return "".join(f"\\u{{{ord(c):04x}}}" if c != "\n" and _is_invisible(c) else c for c in text)


def readable(text: str) -> str:
    """`text` for people: line feeds stay, other invisible characters become blanks, ends are trimmed."""
    return "".join(" " if c != "\n" and _is_invisible(c) else c for c in text).strip()


def one_line(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters; a cut is shown as an ellipsis."""
    line = " ".join(readable(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
