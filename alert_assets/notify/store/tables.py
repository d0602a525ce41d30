"""The tables of notifications, next to those of :mod:`alert_assets.state.database`.

The outbox has alerts. These have what became of them: episodes, deliveries to each destination, decisions and
their reasons, silences.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, CheckConstraint, Column, Index, Integer, Table, Text, text

from alert_assets.state.database import Id, Utc, Words, append_only, metadata

_IS_OPEN = text("state <> 'resolved'")

#: One row an episode; the columns are those of :class:`~alert_assets.notify.episode.Episode`.
episodes = Table(
    "episodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fingerprint", Words, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("title", Words, nullable=False),
    Column("application", Words),
    Column("table_name", Words),
    Column("state", Text, CheckConstraint("state IN ('open', 'acknowledged', 'resolved')"), nullable=False),
    Column("opened_at", Utc, nullable=False),
    Column("last_at", Utc, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("alert", JSON, nullable=False),
    Column("acknowledged_at", Utc),
    Column("acknowledged_by", Words),
    Column("resolved_at", Utc),
    Column("resolved_by", Words),
    Column("group_key", Words),
    # Databases have them under their first names.
    Column("told_at", Utc, key="notified_at"),
    Column("told_severity", Text, key="notified_severity"),
    Column(
        *("told_as", Text, CheckConstraint("told_as IN ('notified', 'grouped', 'rate_limited')")), key="notified_as"
    ),
    Column("owed", Text),
    Column("grouped_under", Text),
    Column("steps_done", JSON, nullable=False),
    Column("reminded_at", JSON, nullable=False),
    Column("acknowledge_overdue", Boolean, nullable=False),
    Column("resolve_overdue", Boolean, nullable=False),
    Column("reopened", Integer, nullable=False),
    Column("look_at", Utc),
    Index("episodes_by_fingerprint", "fingerprint", "opened_at"),
    Index("episodes_one_open", "fingerprint", unique=True, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
    Index("episodes_by_state", "state", "last_at"),
    Index("episodes_by_group", "notified_as", "notified_at"),
    Index("episodes_owed", "owed"),
)

#: What became of each alert at each destination, and what else was decided; append-only. `outbox_id` is
#: null where no alert caused it: a missed deadline, a silence that ended, a delivery that was given up.
decisions = Table(
    "decisions",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("outbox_id", BigInteger),
    Column("episode", Text),
    Column("destination", Words, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Words, nullable=False),
    Index("decisions_once", "outbox_id", "destination", unique=True),
    Index("decisions_of_episode", "episode", "id"),
    sqlite_autoincrement=True,
)

#: What is to be sent, in the order `seq` within an episode and channel; the key never changes.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("idempotency_key", Words, nullable=False, unique=True),
    Column("episode", Text, nullable=False),
    Column("channel", Words, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("destination", Words, nullable=False),
    Column("recipients", JSON, nullable=False),
    Column("action", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("status", Text, CheckConstraint("status IN ('pending', 'sent', 'dead')"), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Utc, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", Utc),
    Column("sent_at", Utc),
    Column("reference", Words),
    Column("last_error", Words),
    Index("deliveries_in_order", "episode", "channel", "seq", unique=True),
    Index("deliveries_due", "status", "channel", "next_attempt_at"),
    Index("deliveries_by_time", "created_at"),
    sqlite_autoincrement=True,
)

#: Alerts that are counted into one message: those of a group, and those over a destination's rate limit.
digests = Table(
    "digests",
    metadata,
    Column("id", Words, primary_key=True),
    Column("kind", Text, CheckConstraint("kind IN ('grouped', 'rate_limited')"), nullable=False),
    Column("episode", Text, nullable=False),
    Column("channel", Words),
    Column("recipients", JSON),
    Column("opened_at", Utc, nullable=False),
    Column("due_at", Utc, nullable=False),
    Column("severity", Text, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("sent_at", Utc),
    Index("digests_due", "sent_at", "due_at"),
)

#: Silences and maintenance windows.
silences = Table(
    "silences",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("kind", Text, CheckConstraint("kind IN ('silence', 'maintenance')"), nullable=False),
    Column("conditions", JSON, nullable=False),
    Column("starts_at", Utc, nullable=False),
    Column("until", Utc, nullable=False),
    Column("who", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("made_at", Utc, nullable=False),
    Index("silences_until", "until"),
    sqlite_autoincrement=True,
)

#: Channels that fail, and until when they are left alone.
channel_states = Table(
    "channel_states",
    metadata,
    Column("channel", Words, primary_key=True),
    Column("consecutive_failures", Integer, nullable=False),
    Column("paused_until", Utc),
    Column("last_error", Words),
)

append_only(decisions)
