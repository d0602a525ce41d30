"""What an error code says by its name: which family of faults, and where to look first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ErrorClass:
    """A family of error codes: what they have in common, and where to look first."""

    pattern: str
    cause: str
    first: str


MEMORY = ErrorClass(
    r"\b(oom|heap|gc|out ?of ?memory|memory)",
    "processes run short of memory and stall or die",
    "check which instances were killed or are collecting garbage, and restart the worst one",
)
_OTHER = ErrorClass(
    "",
    "the application itself fails; the codes do not point to a dependency",
    "read one full stack trace of the most frequent code and find the request that triggers it",
)

#: The first family that matches a code takes it.
ERROR_CLASSES = (
    MEMORY,
    ErrorClass(
        r"throttl|rate ?limit|quota|too many requests|\b429\b",
        "a dependency refuses calls because a rate limit or quota is used up",
        "find the dependency that throttles and the caller whose volume rose; shed or spread that load",
    ),
    ErrorClass(
        r"\b(disk|inode|enospc|no space|read only)\b",
        "a disk is full or read-only",
        "check free space and mount state on the host; remove or rotate what grew",
    ),
    ErrorClass(
        r"\b(auth\w*|unauth\w*|forbidden|token|cert\w*|tls|ssl|x509|permission|access denied|401|403)\b",
        "credentials, a certificate or a permission expired or changed",
        "check expiry dates and the last change of the secret, certificate or policy in use",
    ),
    ErrorClass(
        r"time ?d? ?out|deadline|\bslow",
        "a dependency answers too slowly, or a pool is exhausted while callers wait for it",
        "compare the latency of each downstream call with an hour ago, and look at pool usage",
    ),
    ErrorClass(
        r"connect|\be?conn|refused|\breset\b|socket|\bdns\b|unreachable|broken pipe|no route|unknown host",
        "a dependency or the network to it is down, or its connection limit is reached",
        "test the connection to the dependency from this host, then its connection count against the limit",
    ),
    ErrorClass(
        r"deadlock|lock wait|\b(sql|db|database|jdbc|query|constraint)\b",
        "the database rejects or blocks statements",
        "look for blocking sessions, failed migrations and a failover on the database",
    ),
    ErrorClass(
        r"\b50[0-4]\b|bad gateway|unavailable|upstream|circuit",
        "an upstream service fails or has no healthy instance",
        "check the health and the latest changes of the upstream service",
    ),
)


def error_class(code: str) -> ErrorClass:
    """Return the family of one code; the application itself when no other claims it."""
    said = words(code)
    return next((family for family in ERROR_CLASSES if re.search(family.pattern, said)), _OTHER)


def dominant_class(errors: Mapping[str, int]) -> ErrorClass:
    """Return the family with the most occurrences among `errors` by code; on a tie the one listed first."""
    counts = dict.fromkeys((*ERROR_CLASSES, _OTHER), 0)
    for code, count in errors.items():
        counts[error_class(code)] += count
    return max(counts, key=lambda family: counts[family])


def words(name: str) -> str:
    """`DBConnectionError` and `db-connection_error` both give `db connection error`."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name[:200])
    return " ".join(parts).lower()


def by_count(errors: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return codes and counts, the most frequent first, then by code: the order of the context text."""
    return sorted(errors.items(), key=lambda item: (-item[1], item[0]))
