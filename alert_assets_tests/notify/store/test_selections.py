"""What a state database and the memory of a replay answer is the same, whatever they hold."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.notify.alert import SEVERITIES
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import PROBLEM, SUMMARY, Episode, Occurrence
from alert_assets.notify.store.digests import GROUPED, RATE_LIMITED
from alert_assets.notify.store.memory import MemoryStore
from alert_assets.notify.store.selections import Selection
from alert_assets.notify.store.transaction import Store, Transaction
from alert_assets.state.database import State
from alert_assets_tests.notify.desk import HOUR, MANAGER, MINUTE, SLACK, T0, alert

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.notify.episode import Outcome
    from alert_assets.notify.episode import State as EpisodeState

_NUMBER = 150
_REPORTED = [(f"f{number // 2}", f"{number % 3}") for number in range(_NUMBER)]


def an_episode(chance: Random, number: int, now: datetime) -> Episode:
    """An episode in any state, some minutes ago; those of odd numbers were followed by others of their fingerprint."""

    def moment(*, earlier: bool = True) -> datetime | None:
        minutes = chance.choice([1, 2, 60, 2_000]) * MINUTE
        return chance.choice([None, now - minutes if earlier else now + minutes, now - minutes])

    states: tuple[EpisodeState, ...] = ("resolved",) if number % 2 else ("open", "open", "acknowledged", "resolved")
    state = chance.choice(states)
    is_summary = number % 10 == 0
    severity = chance.choice(SEVERITIES)
    notified_at = moment()
    outcomes: tuple[Outcome, ...] = ("notified", "notified", "grouped", "rate_limited")
    group = [None, "P1 application=shop", *[f"{PROBLEM}p{number % 74}"] * 3]
    of = {"application": chance.choice([None, "shop", "database"]), "table": chance.choice([None, "orders"])}
    return Episode(
        id=f"{number:016x}",
        fingerprint=f"{SUMMARY if is_summary else ''}f{number // 2}",
        severity=severity,
        state=state,
        opened_at=T0 + chance.randrange(9) * MINUTE,
        last_at=now,
        count=1,
        alert=alert(f"f{number // 2}", now, severity=severity, **of),
        resolved_at=now - chance.choice([MINUTE, 30 * HOUR]) if state == "resolved" else None,
        group_key=chance.choice(group),
        notified_at=notified_at,
        notified_as=chance.choice(outcomes) if notified_at else None,
        owed=chance.choice([None, None, "grouped", "silenced", "recorded"]),
        grouped_under=chance.choice([None, f"{chance.randrange(0, _NUMBER + 9, 2):016x}"]),
        look_at=moment(earlier=False),
        review_at=moment(earlier=False),
        fired_at=moment(),
        over_at=moment(),
        flapping_since=chance.choice([None, None, now]),
    )


def change(transaction: Transaction, chance: Random) -> None:
    """Write some episodes anew, and do with digests what stages do."""
    now = transaction.now
    for number in chance.sample(range(_NUMBER), _NUMBER // 3):
        kept = an_episode(chance, number, now)
        transaction.episode(kept.id)
        occurrence = Occurrence(f"{number % 3}", 1, kept.fired_at, kept.fired_at, kept.over_at, kept.severity)
        transaction.episodes.keep(kept, occurrence if chance.random() < 0.5 else None)
    for number in chance.sample(range(_NUMBER), 9):
        name, action = f"{number:016x}", chance.choice([Action.OPEN, Action.RESOLVE])
        if transaction.episode(name) is not None:
            transaction.deliveries.add(name, action, chance.choice([SLACK, MANAGER]), alert(at=now))
    digests = transaction.digests
    for digest in (*digests.due(GROUPED), *digests.due(RATE_LIMITED)):
        if chance.random() < 0.3:
            digests.put_off(digest["id"], now + 2 * MINUTE)
        else:
            digests.sent(digest["id"], digest["episode"] or f"{chance.randrange(0, _NUMBER, 10):016x}")
    for to in (SLACK, MANAGER):
        for number in chance.sample(range(_NUMBER), chance.randint(1, 2)):
            digests.summarize(to, now + chance.choice([-MINUTE, MINUTE]), f"{number:016x}")
    for number in chance.sample(range(_NUMBER), 3):
        digests.join_group(f"{number:016x}", now, now + chance.choice([-MINUTE, MINUTE]), f"{number ^ 1:016x}")


def answers(transaction: Transaction) -> dict[str, Any]:
    """All that the rules ask of what is stored."""
    transaction.load_latest(_REPORTED, HOUR)
    due = [dict(row) for kind in (GROUPED, RATE_LIMITED) for row in transaction.digests.due(kind)]
    return {
        **{one.name: transaction.select(one) for one in Selection},
        **{f"any {one.name}": transaction.has_any(one) for one in Selection},
        "the oldest": transaction.select(Selection.TO_REVIEW, limit=5),
        "latest": [transaction.episodes.latest(name) for name, _ in _REPORTED],
        "homes": [transaction.episodes.home(name, key, None) for name, key in _REPORTED],
        "openers": transaction.episodes.openers(10 * MINUTE, PROBLEM),
        "down": transaction.episodes.down,
        "sent": [transaction.deliveries.sent[to] for to in (SLACK, MANAGER)],
        "notified": [transaction.deliveries.notified(one.id) for one in transaction.select(Selection.OWED)],
        "due": due,
        "members": [transaction.digests.members(row["id"]) for row in due],
        "waiting": [transaction.digests.waiting_of(f"{number:016x}") for number in range(_NUMBER)],
    }


def test_memory_selects_what_a_state_database_selects(state_url: str) -> None:
    stores: list[Store] = [Store(State(state_url), 24 * HOUR), MemoryStore(24 * HOUR)]
    selected: set[str] = set()
    for tick in range(6):
        now = T0 + tick * MINUTE
        found = []
        for store in stores:
            with store.writing(now) as transaction:
                change(transaction, Random(tick))
            with store.reading(now) as transaction:
                found.append(answers(transaction))
        for question, answer in found[0].items():
            assert found[1][question] == answer, (tick, question)
        selected |= {question for question, answer in found[0].items() if answer}
    assert selected >= {*(one.name for one in Selection), "openers", "down", "sent", "notified", "due", "members"}


def test_a_transaction_that_fails_has_changed_nothing(state_url: str) -> None:
    memory = MemoryStore(24 * HOUR)
    memory.enqueue([alert("a"), alert("b"), alert("c")])
    stores: list[Store] = [Store(State(state_url), 24 * HOUR), memory]
    for store in stores:
        with store.writing(T0) as transaction:
            change(transaction, Random(1))
        now = T0 + 2 * MINUTE
        with store.reading(now) as transaction:
            before = answers(transaction)
        messages = list(memory.messages)
        with pytest.raises(ZeroDivisionError), store.writing(now) as transaction:
            for seed in (2, 3):
                change(transaction, Random(seed))
                transaction.flush()
            transaction.outbox.mark([1, 2], "dispatched")
            raise ZeroDivisionError
        with store.reading(now) as transaction:
            assert answers(transaction) == before
        assert memory.messages == messages
    assert [one.number for one in memory.pending] == [1, 2, 3]
