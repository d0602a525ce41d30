"""Breakers, run outcomes, check results, outbox and audit log: what programs with schema version 1 created."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change nothing: a database of this revision was created by its program."""
