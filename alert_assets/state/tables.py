"""Every table of the state database.

Breakers, run outcomes, check results, the outbox and the audit log, then the tables of notifications. To add a column:
:mod:`alert_assets.state.migrations`.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    false,
    text,
)

from alert_assets.state.types import Id, Utc, Words

metadata = MetaData()


def append_only(table: Table) -> None:
    """Add triggers by which the database refuses to change or remove rows of the table, once it is created."""
    name = table.name
    refuse = f"SELECT RAISE(ABORT, '{name} is append-only'); END"
    for ddl in (
        f"CREATE TRIGGER {name}_update BEFORE UPDATE ON {name} BEGIN {refuse}",
        f"CREATE TRIGGER {name}_delete BEFORE DELETE ON {name} BEGIN {refuse}",
        # INSERT OR REPLACE removes the old row without asking the trigger above.
        f"CREATE TRIGGER {name}_replace BEFORE INSERT ON {name} "
        f"WHEN EXISTS (SELECT 1 FROM {name} WHERE id = NEW.id) BEGIN {refuse}",
    ):
        event.listen(table, "after_create", DDL(ddl).execute_if(dialect="sqlite"))
    for ddl in (
        f"CREATE FUNCTION {name}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{name} is append-only'; END $$",
        f"CREATE TRIGGER {name}_rows BEFORE UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION {name}_refuse()",
        f"CREATE TRIGGER {name}_truncate BEFORE TRUNCATE ON {name} FOR EACH STATEMENT EXECUTE FUNCTION {name}_refuse()",
    ):
        event.listen(table, "after_create", DDL(ddl).execute_if(dialect="postgresql"))


#: One row a breaker that ever counted anything. `forced` marks an override; `period` grows each time the breaker
#: closes, and outcomes count in the period they came in.
breaker_states = Table(
    "circuit_breakers",
    metadata,
    Column("breaker", Words, primary_key=True),
    Column("state", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("since", Utc),
    Column("cause", Text),
    Column("reason", Words),
    Column("period", BigInteger, nullable=False),
    Column("consecutive_failures", Integer, nullable=False),
    Column("retry_at", Utc),
    Column("timeout_seconds", Float),
    Column("probe_run_id", Words),
    Column("probe_heard_at", Utc),
    Column("probe_host", Words),
    Column("probe_pid", Integer),
    Column("probe_started", Float),
    Column("forced_by", Words),
    Column("forced_why", Words),
    Column("forced_until", Utc),
)

#: The history of the breakers; append-only.
breaker_transitions = Table(
    "breaker_transitions",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("breaker", Words, nullable=False),
    Column("at", Utc, nullable=False),
    Column("from_state", Text, nullable=False),
    Column("to_state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("reason", Words, nullable=False),
    Column("run_id", Words),
    Column("who", Words),
    Column("until", Utc),
    Index("breaker_transitions_of", "breaker", "id"),
    sqlite_autoincrement=True,
)

#: Runs that were admitted, so that one that asks twice gets the same answer.
breaker_admissions = Table(
    "breaker_admissions",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("breaker", Words, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("as_probe", Boolean, nullable=False),
    Column("job", Words),
)

#: How runs ended. The first report counts; `period` is the breaker's when it did, null when it did not
#: (open, probing, overridden, neutral).
run_outcomes = Table(
    "run_outcomes",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("breaker", Words, primary_key=True),
    Column("outcome", Text, CheckConstraint("outcome IN ('success', 'failure', 'neutral')"), nullable=False),
    Column("at", Utc, nullable=False),
    Column("period", BigInteger),
    Column("reported_by", Words, nullable=False),
    Column("error", Words),
    Column("job", Words),
    Column("started_at", Utc),
    Column("cpu_peak_percent", Float),
    Column("memory_peak_percent", Float),
    Index("run_outcomes_counted", "breaker", "period", "at"),
    Index("run_outcomes_at", "at"),
)

#: What each step of a run has used: the processes' CPU time and bytes, and the tokens of a model.
run_usage = Table(
    "run_usage",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("step", Words, primary_key=True),
    Column("job", Words, nullable=False),
    Column("at", Utc, nullable=False),
    Column("cpu_seconds", Float, nullable=False),
    Column("bytes_read", BigInteger, nullable=False),
    Column("bytes_written", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Index("run_usage_at", "at"),
)

#: The jobs whose last failure is not made good yet. `undone` has the tables that the failed runs left undone, each with
#: the `_batch_id` above which it has to come; null where one materialization is enough.
failed_runs = Table(
    "failed_runs",
    metadata,
    Column("job", Words, primary_key=True),
    Column("run_id", Words, nullable=False),
    Column("at", Utc, nullable=False),
    Column("undone", JSON, nullable=False),
)

#: The latest result of each check.
check_results = Table(
    "check_results",
    metadata,
    Column("table_name", Words, primary_key=True),
    Column("check_name", Words, primary_key=True),
    Column("passed", Boolean, nullable=False),
    Column("severity", Text, nullable=False),
    Column("blocking", Boolean, nullable=False),
    Column("at", Utc, nullable=False),
    Column("run_id", Words),
    Column("description", Words),
    Column("checked_batch_id", BigInteger),
)

#: Notifications to be dispatched, each written with the fact that caused it.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("created_at", Utc, nullable=False),
    Column("kind", Text, nullable=False),
    Column("idempotency_key", Words, nullable=False, unique=True),
    Column("severity", Text, nullable=False),
    Column("subject", Words, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Index("outbox_by_status", "status", "id"),
    sqlite_autoincrement=True,
)

#: How far each look for alerts that do not reach the outbox by themselves has read, such as that for incidents.
lookouts = Table(
    "lookouts",
    metadata,
    Column("name", Words, primary_key=True),
    Column("cursor", JSON, nullable=False),
)

#: The resident process, one row a lake; `facts` is what it says of itself. With an old `heard_at` it is dead.
residents = Table(
    "residents",
    metadata,
    Column("lake", Words, primary_key=True),
    Column("id", Text, nullable=False),
    Column("host", Words, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Float, nullable=False),
    Column("began_at", Utc, nullable=False),
    Column("heard_at", Utc, nullable=False),
    Column("facts", JSON, nullable=False),
)

#: The audit log: who did what by hand, and why; append-only.
audit_log = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("who", Words, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("details", JSON, nullable=False),
    sqlite_autoincrement=True,
)

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
    Column("notified_at", Utc),
    Column("notified_severity", Text),
    Column("notified_as", Text, CheckConstraint("notified_as IN ('notified', 'grouped', 'rate_limited')")),
    Column("owed", Text),
    Column("grouped_under", Text),
    Column("steps_done", JSON, nullable=False),
    Column("reminded_at", JSON, nullable=False),
    Column("acknowledge_overdue", Boolean, nullable=False),
    Column("resolve_overdue", Boolean, nullable=False),
    Column("reopened", Integer, nullable=False),
    Column("look_at", Utc),
    Column("fired_at", Utc),
    Column("over_at", Utc),
    Column("heard_at", Utc),
    Column("quiet_at", Utc),
    Column("review_at", Utc),
    Column("analysed", Boolean, nullable=False, server_default=false()),
    Column("openings", JSON),
    Column("flapping_since", Utc),
    Column("changed_at", Utc),
    Index("episodes_by_fingerprint", "fingerprint", "opened_at"),
    Index("episodes_one_open", "fingerprint", unique=True, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
    Index("episodes_by_state", "state", "last_at"),
    Index("episodes_by_group", "notified_as", "notified_at"),
    Index("episodes_owed", "owed"),
    Index("episodes_to_review", "review_at"),
)

#: What an episode is counted from: one row for each occurrence that alerts reported of it, e.g. a dedup window. Expires
#: with its episode.
occurrences = Table(
    "occurrences",
    metadata,
    Column("episode", Text, primary_key=True),
    Column("occurrence", Words, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("first_fired_at", Utc),
    Column("last_fired_at", Utc),
    Column("last_resolved_at", Utc),
    Column("severity", Text, nullable=False),
)

#: The ledger: the outcome of each alert at each destination, and what else was decided; append-only. `outbox_id` is
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
    # Where it goes when its channel refuses or gives up: a list of [channel, recipients], best first.
    Column("fallbacks", JSON),
    Index("deliveries_in_order", "episode", "channel", "seq", unique=True),
    Index("deliveries_due", "status", "channel", "next_attempt_at"),
    Index("deliveries_by_time", "created_at"),
    sqlite_autoincrement=True,
)

#: Messages that stand for several episodes: the update of a group, and the summary of what was over a recipient's rate
#: limit. `episode` is the group's leader, or the summary's own once it is sent.
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
    Column("sent_at", Utc),
    Index("digests_due", "sent_at", "due_at"),
)

#: The episodes that a digest stands for.
digest_members = Table(
    "digest_members",
    metadata,
    Column("digest", Words, primary_key=True),
    Column("episode", Text, primary_key=True),
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

append_only(breaker_transitions)
append_only(audit_log)
append_only(decisions)
