"""Episodes, the ledger of decisions, deliveries, digests, silences, channels: schema version 2."""

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from alert_assets.state.tables import append_only

revision = "0002"
down_revision = "0001"

_metadata = MetaData()
_ID = BigInteger().with_variant(Integer, "sqlite")
_UTC = DateTime(timezone=True)
_IS_OPEN = text("state <> 'resolved'")

Table(
    "episodes",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("application", Text),
    Column("table_name", Text),
    Column("state", Text, CheckConstraint("state IN ('open', 'acknowledged', 'resolved')"), nullable=False),
    Column("opened_at", _UTC, nullable=False),
    Column("last_at", _UTC, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("alert", JSON, nullable=False),
    Column("acknowledged_at", _UTC),
    Column("acknowledged_by", Text),
    Column("resolved_at", _UTC),
    Column("resolved_by", Text),
    Column("group_key", Text),
    Column("told_at", _UTC),
    Column("told_severity", Text),
    Column("told_as", Text, CheckConstraint("told_as IN ('notified', 'grouped', 'rate_limited')")),
    Column("owed", Text),
    Column("grouped_under", Text),
    Column("steps_done", JSON, nullable=False),
    Column("reminded_at", JSON, nullable=False),
    Column("acknowledge_overdue", Boolean, nullable=False),
    Column("resolve_overdue", Boolean, nullable=False),
    Column("reopened", Integer, nullable=False),
    Column("look_at", _UTC),
    Index("episodes_by_fingerprint", "fingerprint", "opened_at"),
    Index("episodes_one_open", "fingerprint", unique=True, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
    Index("episodes_by_state", "state", "last_at"),
    Index("episodes_by_group", "told_as", "told_at"),
    Index("episodes_owed", "owed"),
)

decisions = Table(
    "decisions",
    _metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("at", _UTC, nullable=False),
    Column("outbox_id", BigInteger),
    Column("episode", Text),
    Column("destination", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("decisions_once", "outbox_id", "destination", unique=True),
    Index("decisions_of_episode", "episode", "id"),
    sqlite_autoincrement=True,
)

Table(
    "deliveries",
    _metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("episode", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("destination", Text, nullable=False),
    Column("recipients", JSON, nullable=False),
    Column("action", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("created_at", _UTC, nullable=False),
    Column("status", Text, CheckConstraint("status IN ('pending', 'sent', 'dead')"), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", _UTC, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_until", _UTC),
    Column("sent_at", _UTC),
    Column("reference", Text),
    Column("last_error", Text),
    Index("deliveries_in_order", "episode", "channel", "seq", unique=True),
    Index("deliveries_due", "status", "channel", "next_attempt_at"),
    Index("deliveries_by_time", "created_at"),
    sqlite_autoincrement=True,
)

Table(
    "digests",
    _metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, CheckConstraint("kind IN ('grouped', 'rate_limited')"), nullable=False),
    Column("episode", Text, nullable=False),
    Column("channel", Text),
    Column("recipients", JSON),
    Column("opened_at", _UTC, nullable=False),
    Column("due_at", _UTC, nullable=False),
    Column("severity", Text, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("sent_at", _UTC),
    Index("digests_due", "sent_at", "due_at"),
)

Table(
    "silences",
    _metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("kind", Text, CheckConstraint("kind IN ('silence', 'maintenance')"), nullable=False),
    Column("conditions", JSON, nullable=False),
    Column("starts_at", _UTC, nullable=False),
    Column("until", _UTC, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("made_at", _UTC, nullable=False),
    Index("silences_until", "until"),
    sqlite_autoincrement=True,
)

Table(
    "channel_states",
    _metadata,
    Column("channel", Text, primary_key=True),
    Column("consecutive_failures", Integer, nullable=False),
    Column("paused_until", _UTC),
    Column("last_error", Text),
)

append_only(decisions)


def upgrade() -> None:
    """Create them."""
    _metadata.create_all(op.get_bind())
