"""Copies of frozen dataclasses."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import pytest

from alert_assets.kernel.frozen import replace


@dataclasses.dataclass(frozen=True)
class Span:
    begin: int
    end: int = 10

    @cached_property
    def length(self) -> int:
        return self.end - self.begin


@pytest.mark.parametrize("changes", [{}, {"end": 7}, {"begin": 1, "end": 2}])
def test_a_copy_is_what_the_standard_library_makes(changes: dict[str, int]) -> None:
    span = Span(3)
    assert span.length == 7
    copy = replace(span, **changes)
    assert copy == dataclasses.replace(span, **changes)
    assert copy.length == copy.end - copy.begin, "worked out anew"
    assert span == Span(3)


def test_a_field_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TypeError, match="Span has no field middle"):
        replace(Span(3), middle=5)  # type: ignore[call-arg]
    span = Span(3)
    assert span.length == 7
    with pytest.raises(TypeError, match="Span has no field length"):
        replace(span, length=5)  # type: ignore[call-arg]


def test_every_class_of_the_rules_can_be_copied_so() -> None:
    from alert_assets.notify.alert import Alert
    from alert_assets.notify.episode import Episode, Occurrence, Step
    from alert_assets.notify.routing.rules import Destination, EscalationStep, Policy
    from alert_assets.notify.stages.stage import Notification

    for made in (Alert, Episode, Occurrence, Step, Destination, EscalationStep, Policy, Notification):
        assert not hasattr(made, "__post_init__"), made
        assert not hasattr(made, "__slots__"), made
        assert all(field.init for field in dataclasses.fields(made)), made
