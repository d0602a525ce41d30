"""The bench of HTTP in runs against a real `alert-assets serve`."""

from __future__ import annotations

import pytest

from benchmarks import intake


@pytest.mark.slow
def test_memory_is_compared_with_what_it_was_after_a_tenth() -> None:
    said: list[str] = []
    found = intake.soak(400, said.append)
    assert found.is_met
    assert len(said) == 21
    assert "400 alerts in" in said[-2]
