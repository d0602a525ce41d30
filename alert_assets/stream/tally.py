"""What the resident process has done since it last said so, by table."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: By table, numbers by name.
Numbers = dict[str, dict[str, float]]


class Tally:
    """Adds up the numbers of cycles; one thread adds, another takes."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._sums: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, numbers: Mapping[str, Mapping[str, float]]) -> None:
        """Add what one cycle did."""
        with self._lock:
            for table, of_table in numbers.items():
                self._sums[table].update(of_table)

    def take(self) -> Numbers:
        """Return the sums, and begin anew."""
        with self._lock:
            sums, self._sums = self._sums, defaultdict(Counter)
        return {table: {name: round(value, 3) for name, value in of_table.items()} for table, of_table in sums.items()}
