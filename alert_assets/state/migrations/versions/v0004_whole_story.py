"""The whole story: episodes are counted from occurrences, digests from members; looks and failed runs are kept."""

import sqlalchemy as sa
from alembic import op

from alert_assets.state.types import Utc, Words

revision = "0004"
down_revision = "0003"

_LATER_OF_OPENED_AND_LAST = "CASE WHEN opened_at > last_at THEN opened_at ELSE last_at END"


def upgrade() -> None:
    """Add what is nullable; an open episode's count becomes an occurrence, as of its latest alert."""
    op.add_column("deliveries", sa.Column("fallbacks", sa.JSON()))
    for name in ("fired_at", "over_at", "heard_at", "quiet_at", "review_at", "flapping_since", "changed_at"):
        op.add_column("episodes", sa.Column(name, Utc()))
    op.add_column("episodes", sa.Column("analysed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("episodes", sa.Column("openings", sa.JSON()))
    op.create_index("episodes_to_review", "episodes", ["review_at"])
    op.create_table(
        "occurrences",
        sa.Column("episode", sa.Text(), primary_key=True),
        sa.Column("occurrence", Words(), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_fired_at", Utc()),
        sa.Column("last_fired_at", Utc()),
        sa.Column("last_resolved_at", Utc()),
        sa.Column("severity", sa.Text(), nullable=False),
    )
    op.create_table(
        "digest_members",
        sa.Column("digest", Words(), primary_key=True),
        sa.Column("episode", sa.Text(), primary_key=True),
    )
    _count_episodes()
    _name_members()
    op.drop_column("digests", "severity")
    op.drop_column("digests", "counts")
    _add_lookouts()


def _count_episodes() -> None:
    op.execute("UPDATE episodes SET fired_at = last_at")
    op.execute("UPDATE episodes SET over_at = last_at WHERE state = 'resolved'")
    op.execute(
        f"UPDATE episodes SET heard_at = {_LATER_OF_OPENED_AND_LAST}, review_at = opened_at WHERE state <> 'resolved'"
    )
    op.execute(
        """INSERT INTO occurrences (episode, occurrence, count, first_fired_at, last_fired_at, severity)
        SELECT id, '#before 0004', count, last_at, last_at, severity FROM episodes WHERE state <> 'resolved'"""
    )


def _name_members() -> None:
    """Digests that wait stand for what was grouped with their leader, or was counted for their recipient."""
    op.execute(
        """INSERT INTO digest_members (digest, episode)
        SELECT d.id, e.id FROM digests d JOIN episodes e ON e.grouped_under = d.episode
        WHERE d.sent_at IS NULL AND d.kind = 'grouped'"""
    )
    op.execute(
        """INSERT INTO digest_members (digest, episode)
        SELECT DISTINCT d.id, l.episode FROM digests d JOIN decisions l
            ON l.outcome = 'rate_limited' AND l.at >= d.opened_at AND l.episode IS NOT NULL
            AND d.id LIKE 'rate_limited/' || l.destination || '/%'
        WHERE d.sent_at IS NULL AND d.kind = 'rate_limited'"""
    )


def _add_lookouts() -> None:
    op.create_table(
        "lookouts", sa.Column("name", sa.Text(), primary_key=True), sa.Column("cursor", sa.JSON(), nullable=False)
    )
    op.create_table(
        "failed_runs",
        sa.Column("job", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone", sa.JSON(), nullable=False),
    )
