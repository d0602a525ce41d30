"""What a silence covers, and how it is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.errors import UserError
from alert_assets.notify.alert import Alert
from alert_assets.notify.silence import Silence, parse_matcher, silenced_by

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALERT = Alert(
    "incident", "disk", "HIGH", "disk is full", T0, T0, application="payments-api", labels={"team": "web", "a.b": "c"}
)


@pytest.mark.parametrize(
    ("texts", "covers"),
    [
        ([], True),
        (["application=payments-api"], True),
        (["application=payments"], False),
        (["application=~payments-.*", "severity=HIGH"], True),
        (["application=~payments-.*", "severity=LOW"], False),
        (["severity=LOW", "severity=HIGH"], True),
        (["labels.team=web"], True),
        (["labels.a.b=c"], True),
        (["labels.other="], True),
        (["table="], True),
        (["title=~.*full"], True),
        (["title=~disk"], False),
        (["title=disk = full"], False),
    ],
)
def test_what_it_covers(texts: list[str], covers: bool) -> None:
    assert parse_matcher(texts).matches(ALERT) is covers


@pytest.mark.parametrize("text", ["", "payments", "=x", "colour=red", "labels.=x", "title=~[", "labels=x", "at=x"])
def test_what_is_no_matcher(text: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_matcher([text])
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("severity=critical", "Write severity=CRITICAL."),
        ("severity=P1", "severity is of CRITICAL, HIGH, MEDIUM, LOW, INFO; or a regular expression after =~"),
        ("severity=", "severity is of CRITICAL"),
        ("severity=~crit.*", "severity is of CRITICAL"),
        ("kind=Incident", "Write kind=incident."),
        ("table=gold", "table is of event, bronze_events"),
        ('application="x"', "write application=x"),
        ("application='x y'", "write application=x y"),
        ("application==x", "write application=x"),
        ('title=~"disk.*"', "write title=~disk.*"),
        ("environment=production", "a label is labels.environment=production"),
        ('labels.environment="production"', "write labels.environment=production"),
    ],
)
def test_what_can_never_match_is_refused_with_the_right_form(text: str, remedy: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_matcher([text])
    assert repr(text) in str(raised.value)
    assert remedy in str(raised.value)


def silence(number: int, **fields: object) -> Silence:
    known = {"kind": "silence", "match": parse_matcher([]), "starts_at": T0, "until": T0 + HOUR, **fields}
    return Silence(id=number, who="ana", why="x", **known)  # type: ignore[arg-type]


@given(st.integers(-7200, 7200))
def test_it_holds_from_its_beginning_up_to_its_end(seconds: int) -> None:
    now = T0 + timedelta(seconds=seconds)
    assert (silenced_by(ALERT, [silence(1)], now) is not None) is (0 <= seconds < 3600)


def test_which_of_several_is_named() -> None:
    longer, window = silence(2, until=T0 + 2 * HOUR), silence(3, kind="maintenance")
    assert silenced_by(ALERT, [silence(1), longer], T0) == longer
    assert silenced_by(ALERT, [longer, window], T0) == window
    other = silence(4, match=parse_matcher(["severity=LOW"]), until=T0 + 9 * HOUR)
    assert silenced_by(ALERT, [other], T0) is None
