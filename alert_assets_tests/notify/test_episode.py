"""The life of an episode, for any alerts in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.alert import SEVERITIES, Alert, Severity
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import Episode, Occurrence, Review, Rules, Step, is_worse, observe, review
from alert_assets.notify.routing.rules import Plan, Policy

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


def take(episode: Episode | None, given: Alert, number: int = 1, now: datetime | None = None) -> Step:
    """What an alert without an occurrence of its own does."""
    return observe(episode, None, given, number, now or given.at, RULES)


def opened(at: datetime = T0) -> Episode:
    step = take(None, alert(at))
    assert step.action is Action.OPEN
    return step.episode


def ended(step: Step, now: datetime) -> Episode:
    return step.episode.resolved("alert_assets", now) if step.ends else step.episode


@given(ALERTS)
def test_what_is_told_makes_sense(alerts: list[tuple[int, int, Severity, str]]) -> None:
    """Openings and ends take turns, updates only say worse, and it fires as its firings and resolutions say."""
    now, episode, fired, over = T0, None, None, None
    for number, (wait, late, severity, status) in enumerate(alerts):
        now += wait * MINUTE
        was_open = episode is not None and not episode.is_over
        given_alert = alert(now - late * MINUTE, severity=severity, status=status)
        step = take(episode, given_alert, number, now)
        if step.action is Action.UPDATE:
            assert was_open or step.episode.flapping_since
            assert step.episode.flapping_since or is_worse(severity, episode.notified_severity)  # type: ignore
        elif step.action is Action.OPEN:
            assert not was_open
            assert status == "firing"
        if step.ends:
            assert was_open or step.action is Action.OPEN
        if step.action:
            step = replace(step, episode=step.episode.notified("notified", now))
        episode = ended(step, now)
        fired = max(filter(None, (fired, given_alert.at if status == "firing" else None)), default=None)
        over = max(filter(None, (over, given_alert.at if status == "resolved" else None)), default=None)
        fires = fired is not None and (over is None or fired > over)
        assert episode.is_firing is fires
        assert episode.is_over is not fires or episode.flapping_since


@given(ALERTS)
def test_every_firing_of_an_open_episode_is_counted(alerts: list[tuple[int, int, str, str]]) -> None:
    episode, now = opened(), T0
    for number, (_, late, severity, _) in enumerate(alerts):
        episode = take(episode, alert(now - late * MINUTE, severity=severity), number, now).episode
        assert episode.count == number + 2
        assert episode.last_at == T0
        assert not is_worse(severity, episode.severity)  # type: ignore[arg-type]


@given(st.permutations([(0, None, 1), (3, None, 2), (3, 4, 2), (None, 9, 0), (12, None, 1)]))
def test_the_order_of_reports_does_not_matter(reports: list[tuple[int | None, int | None, int]]) -> None:
    """Reports of three windows, the second reported twice."""
    episode, known = None, dict[str, Occurrence]()
    for number, (fired, over, count) in enumerate(reports):
        window = str(max(minute for minute in (fired, over) if minute is not None) // 5)
        given_alert = alert(
            occurrence=window,
            fired_at=None if fired is None else T0 + fired * MINUTE,
            resolved_at=None if over is None else T0 + over * MINUTE,
            count=count,
        )
        step = observe(episode, known.get(window), given_alert, number, T0 + 20 * MINUTE, RULES)
        episode, known[window] = ended(step, T0 + 20 * MINUTE), step.occurrence
    assert episode is not None
    assert episode.is_firing
    assert not episode.is_over
    assert (episode.count, episode.fired_at, episode.over_at) == (3, T0 + 12 * MINUTE, T0 + 9 * MINUTE)


def test_an_episode_has_the_same_name_whoever_opens_it() -> None:
    assert opened().id == opened(T0 + MINUTE).id
    other, later = take(None, alert(episode="cpu")).episode, take(None, alert(), 2).episode
    assert len({opened().id, other.id, later.id}) == 3


def test_soon_after_its_end_it_is_the_same_one() -> None:
    over = opened().notified("notified", T0).resolved("ana", T0 + MINUTE, T0 + MINUTE)
    over = replace(over, steps_done=("manager",))
    soon = take(over, alert(T0 + 31 * MINUTE), 2)
    assert soon.action is Action.OPEN
    assert (soon.episode.id, soon.episode.reopened, soon.episode.steps_done) == (over.id, 1, ())
    assert soon.episode.notified_at is None
    assert soon.episode.count == 2
    late = take(over, alert(T0 + 32 * MINUTE), 2)
    assert late.episode.id != over.id
    assert late.action is Action.OPEN


def test_an_acknowledged_episode_is_told_only_when_it_gets_worse() -> None:
    taken = opened().notified("notified", T0).acknowledged("ana", T0 + MINUTE)
    same = take(taken, alert(T0 + 2 * MINUTE), 2)
    assert same.action is None
    assert same.episode.state == "acknowledged"
    assert take(taken, alert(severity="CRITICAL"), 2).action is Action.UPDATE


def test_one_that_is_taken_before_it_was_told_is_not_told() -> None:
    taken = opened().notified("silenced", T0).acknowledged("ana", T0)
    assert taken.owed is None
    assert take(taken, alert(), 2).action is None


def plan(**policy: object) -> Plan:
    return Plan("P2", (), Policy(**policy), "", ())  # type: ignore[arg-type]


def test_what_time_does() -> None:
    known = opened().notified("notified", T0)
    assert review(known, plan(), T0 + 59 * MINUTE, RULES).next_at == T0 + 60 * MINUTE
    assert review(known, plan(), T0 + 60 * MINUTE, RULES).action is Action.UPDATE
    said = replace(known, quiet_at=T0 + 60 * MINUTE)
    assert review(said, plan(), T0 + 600 * MINUTE, RULES).action is None
    brief = plan(expire_after=90 * MINUTE)
    assert review(said, brief, T0 + 89 * MINUTE, RULES) == Review(None, next_at=T0 + 90 * MINUTE)
    assert review(said, brief, T0 + 90 * MINUTE, RULES).by == "expired"
    other = replace(known, alert=alert(kind="run_failure"))
    assert review(other, brief, T0 + 600 * MINUTE, RULES) == Review(None)
