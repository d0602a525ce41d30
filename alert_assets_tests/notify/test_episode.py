"""The life of an episode, for any alerts in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.alert import SEVERITIES, Alert, Severity
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import Episode, Rules, is_quiet, is_worse, observe

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

RULES = Rules(quiet_after={"incident": 60 * MINUTE})

#: Minutes since the alert before, how many minutes late it is, severity, status.
ALERTS = st.lists(
    st.tuples(
        st.integers(0, 90), st.integers(0, 5), st.sampled_from(SEVERITIES), st.sampled_from(["firing", "resolved"])
    ),
    max_size=30,
)


def alert(at: datetime = T0, **fields: object) -> Alert:
    given = {"kind": "incident", "episode": "disk", "severity": "HIGH", "title": "t", "at": at, "since": at, **fields}
    return Alert(**given)  # type: ignore[arg-type]


def opened(at: datetime = T0) -> Episode:
    step = observe(None, alert(at), 1, at, RULES)
    assert step.episode is not None
    assert step.action is Action.OPEN
    return step.episode


@given(ALERTS)
def test_what_is_told_makes_sense(alerts: list[tuple[int, int, Severity, str]]) -> None:
    """Openings and resolutions take turns, updates only say worse, and the count is that of what was let in."""
    worst: Severity = "INFO"
    now, episode, is_open = T0, None, False
    for number, (wait, late, severity, status) in enumerate(alerts):
        now += wait * MINUTE
        step = observe(episode, alert(now - late * MINUTE, severity=severity, status=status), number, now, RULES)
        if step.action is Action.OPEN:
            assert not is_open
            assert status == "firing"
            assert step.episode is not None
            is_open, worst = True, severity
        elif step.action is Action.UPDATE:
            assert is_open
            assert is_worse(severity, worst)
            worst = severity
        elif step.action is Action.RESOLVE:
            assert is_open
            assert status == "resolved"
            is_open = False
        episode = step.episode
        if step.action in (Action.OPEN, Action.UPDATE):
            assert episode is not None
            episode = episode.notified("notified", now)
        if episode is not None:
            assert episode.is_over is not is_open
            assert not is_open or episode.severity == episode.notified_severity == worst


@given(ALERTS)
def test_every_firing_of_an_open_episode_is_counted(alerts: list[tuple[int, int, str, str]]) -> None:
    episode, now = opened(), T0
    for number, (_, late, severity, _) in enumerate(alerts):
        step = observe(episode, alert(now - late * MINUTE, severity=severity), number, now, RULES)
        assert step.episode is not None
        episode = step.episode
        assert episode.count == number + 2
        assert episode.last_at == T0
        assert not is_worse(severity, episode.severity)  # type: ignore[arg-type]


def test_an_episode_has_the_same_name_whoever_opens_it() -> None:
    assert opened().id == opened(T0 + MINUTE).id
    other = observe(None, alert(episode="cpu"), 1, T0, RULES).episode
    later = observe(None, alert(), 2, T0, RULES).episode
    assert other is not None
    assert later is not None
    assert len({opened().id, other.id, later.id}) == 3


def test_soon_after_its_end_it_is_the_same_one() -> None:
    over = replace(opened().notified("notified", T0).resolved("ana", T0 + MINUTE), steps_done=("manager",))
    soon = observe(over, alert(T0 + 31 * MINUTE), 2, T0 + 31 * MINUTE, RULES)
    assert soon.episode is not None
    assert soon.action is Action.OPEN
    assert (soon.episode.id, soon.episode.reopened, soon.episode.steps_done) == (over.id, 1, ())
    assert soon.episode.notified_at is None
    assert soon.episode.count == 2
    late = observe(over, alert(T0 + 32 * MINUTE), 2, T0 + 32 * MINUTE, RULES)
    assert late.episode is not None
    assert late.episode.id != over.id
    assert late.action is Action.OPEN


def test_an_acknowledged_episode_is_told_only_when_it_gets_worse() -> None:
    taken = opened().notified("notified", T0).acknowledged("ana", T0 + MINUTE)
    same = observe(taken, alert(T0 + 2 * MINUTE), 2, T0 + 2 * MINUTE, RULES)
    assert same.action is None
    assert same.episode is not None
    assert same.episode.state == "acknowledged"
    assert observe(taken, alert(severity="CRITICAL"), 2, T0, RULES).action is Action.UPDATE


def test_one_that_is_taken_before_it_was_told_is_not_told() -> None:
    taken = opened().notified("silenced", T0).acknowledged("ana", T0)
    assert taken.owed is None
    assert observe(taken, alert(), 2, T0, RULES).action is None


def test_quiet() -> None:
    episode = opened()
    assert not is_quiet(episode, T0 + 59 * MINUTE, RULES)
    assert is_quiet(episode, T0 + 60 * MINUTE, RULES)
    assert not is_quiet(episode.resolved("ana", T0), T0 + 60 * MINUTE, RULES)
    assert not is_quiet(replace(episode, alert=alert(kind="run_failure")), T0 + 600 * MINUTE, RULES)
