"""Every knob of the pipeline: typed, with its unit and default, read from `ALERTS_*` variables.

`load_settings()` is the one entrance. It reads the process environment and a `.env` file in the
working directory (the environment wins), and raises :class:`SettingsError` with one message that
names every bad variable, what it was, and what is allowed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from alert_assets.contracts import EVENT
from alert_assets.errors import UserError
from alert_assets.kernel.filesystems import unusable_in_path, unusable_in_table_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

PREFIX = "ALERTS_"

#: Never shown; the URL of a database may hold its password.
_SECRETS = frozenset({"llm_api_key", "state_url", "heartbeat_url", "schema_registry_url"})

Minutes = Annotated[int, Field(gt=0, le=10_080)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class SettingsError(UserError):
    """The settings cannot be used; the message names each bad variable and what it may be."""


#: How settings are read: from the environment and from `.env`.
FROM_ENVIRONMENT = SettingsConfigDict(
    env_prefix=PREFIX,
    env_file=".env",
    env_file_encoding="utf-8-sig",  # some editors put a BOM before the first name
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    validate_default=True,
)


class Settings(BaseSettings):
    """Every setting, with its default, its limits and what it means."""

    model_config = FROM_ENVIRONMENT

    data_dir: Path = Field(Path("data"), description="Root of landing/, lake/, checkpoints/ and state/.")
    landing_dir: str = Field("", description="Where producers put *.jsonl and *.jsonl.gz; default DATA_DIR/landing.")
    lake_dir: str = Field(
        "", description="Root of the Delta tables: a folder or an object-store URL; default DATA_DIR/lake."
    )
    checkpoint_dir: str = Field(
        "", description="Where the landing query keeps its place; default DATA_DIR/checkpoints."
    )
    state_url: SecretStr = Field(
        SecretStr(""), description="SQLAlchemy URL of the operational state; default SQLite under DATA_DIR/state."
    )

    archive_dir: str = Field(
        "", description="Where landing files go once they are ingested: a folder or URL; default: they stay."
    )

    dedup_fields: Annotated[tuple[str, ...], NoDecode] = Field(
        ("application_id", "host", "alert_type"), description="Fingerprint fields; labels.NAME is allowed."
    )
    dedup_window_minutes: Minutes = Field(5, description="Width of the tumbling window, aligned to the epoch.")
    correlation_lookback_minutes: Minutes = Field(60, description="How far back evidence is gathered.")
    watermark_delay_minutes: Minutes = Field(10, description="How late is late.")
    max_future_skew_minutes: Minutes = Field(5, description="Timestamps further ahead go to quarantine.")
    max_depth: int = Field(
        64, ge=8, le=200, description="A line with objects and arrays nested deeper goes to quarantine."
    )
    max_line_bytes: int = Field(
        1_048_576, ge=1_024, le=67_108_864, description="A longer line goes to quarantine, its beginning that is."
    )
    max_field_chars: int = Field(
        32_768, ge=256, le=1_048_576, description="A longer message, label or other optional text is cut."
    )
    max_labels: int = Field(
        256, ge=8, le=100_000, description="Labels of an event beyond it, by name, stay in _rescued alone."
    )
    max_inflated_mib: int = Field(
        4_096, ge=1, le=1_048_576, description="A .gz file that unpacks to more MiB is left in the landing zone."
    )
    max_inflation_ratio: int = Field(
        200,
        ge=10,
        le=2_000,
        description="So is one that unpacks to more than 256 MiB and to more than so many times its size.",
    )
    max_files_per_trigger: int = Field(10, gt=0, le=100_000, description="Landing files in one micro-batch.")
    landing_engine: Literal["auto", "spark", "arrow"] = Field(
        "auto", description="What lands files in bronze: auto takes up to 1 GiB of lines at once without Spark."
    )
    refresh_engine: Literal["auto", "spark", "arrow"] = Field(
        "auto",
        description=(
            "What computes silver and gold: auto takes up to 4,000,000 rows without Spark, 400,000 of one dedup window "
            "or lookback; never a full refresh. arrow has no bound."
        ),
    )

    spark_mode: Literal["connect", "classic"] = Field(
        "connect", description="connect: a warm local server that outlives the run; classic: a JVM in this process."
    )
    spark_master: str = Field("local[*]", description="Master of the local server; SPARK_REMOTE overrides both.")
    spark_memory: str = Field(
        "2g", pattern=r"^[1-9][0-9]*[mg]$", description="Heap of the local Spark driver, e.g. 4g."
    )
    lock_timeout_seconds: Seconds = Field(
        600, description="How long a run waits for another process that is writing the same table."
    )

    executor: Literal["in_process", "multiprocess"] = Field(
        "in_process", description="How the steps of a run are executed, behind the circuit breaker's gate."
    )
    breaker_failure_threshold: int = Field(3, ge=1, le=1000, description="Consecutive failures that open a breaker.")
    breaker_failure_rate_percent: float = Field(
        50, gt=0, le=100, description="Share of failed runs in the window below that opens a breaker."
    )
    breaker_failure_rate_window_minutes: Minutes = Field(60, description="Window of that share.")
    breaker_failure_rate_min_runs: int = Field(10, ge=1, description="Runs in the window before the share counts.")
    breaker_recovery_timeout_seconds: Seconds = Field(
        300, description="How long an open breaker refuses before it lets one run probe."
    )
    breaker_max_recovery_timeout_seconds: Seconds = Field(
        3600, description="Cap of that time, which doubles with every failed probe."
    )
    breaker_probe_lease_seconds: Seconds = Field(120, description="A probe without a sign of life for so long is dead.")

    gate_max_quarantine_percent: float = Field(
        30, gt=0, le=100, description="A landing batch with a larger share of broken lines is not published."
    )
    gate_min_lines: int = Field(
        100, ge=1, description="Lines a landing batch has to have before shares of it are judged."
    )
    gate_max_null_percent: Annotated[dict[str, float], NoDecode] = Field(
        {}, description="Largest share of nulls by optional event field, e.g. host=50,source=10; default: none."
    )
    gate_min_rows: int = Field(0, ge=0, description="A landing batch with fewer valid events is not published.")
    gate_max_rows: int = Field(20_000_000, ge=1, description="A landing batch with more valid events is not published.")

    problem_gap_minutes: Minutes = Field(10, description="An incident joins a problem heard of less than this before.")
    problem_hops: int = Field(2, ge=0, le=10, description="Calls that incidents of one problem may lie apart.")
    topology_file: str = Field("", description="YAML of calls between applications, added to those that events show.")
    routing_file: str = Field("", description="YAML that says who is notified of what; default: that of the package.")
    allowed_hosts: str = Field(
        "", description="Private hosts, addresses and networks that channels may connect to, e.g. relay,10.1.0.0/16."
    )
    dagster_url: str = Field("http://localhost:3000", description="Of the Dagster UI, for links in notifications.")
    web_url: str = Field(
        "", description="Where people reach the pages of `serve`, e.g. https://alerts.example; for links to them."
    )
    runbook_url: str = Field(
        "", description="Folder of the runbooks that notifications link to; default: the pages of `serve`, if known."
    )
    alert_max_age_hours: float = Field(
        24, gt=0, description="Incidents that last fired longer ago are not notified, e.g. those of a backfill."
    )
    alert_quiet_minutes: Minutes = Field(60, description="No news of an incident for so long is said once.")
    alert_reopen_minutes: Minutes = Field(
        30, description="What fires so soon after it was resolved is the same episode again."
    )

    statsd_url: str = Field(
        "",
        description="Where figures are sent: statsd://host:8125, dogstatsd://host:8125, or a socket, dogstatsd:///path.",
    )

    heartbeat_url: SecretStr = Field(
        SecretStr(""), description="Asked by the resident process after each cycle: who watches it from outside."
    )

    target_file_mb: int = Field(
        32,
        ge=1,
        le=4096,
        description="MB that compaction gives a file: the least a cycle reads of an hour; an eighth where rows change.",
    )
    vacuum_retention_days: float = Field(
        7, ge=1, le=365, description="How long files that no version needs stay: no run, reader or restore is older."
    )
    keep_commits: int = Field(
        5000,
        ge=100,
        le=1_000_000,
        description="How many commits a table's log keeps at most: a restore reaches back no further.",
    )
    keep_ledger_days: int = Field(
        400, ge=30, le=36_500, description="How long alerts, decisions, deliveries and episodes that are over are kept."
    )
    keep_runs_days: int = Field(
        30, ge=30, le=36_500, description="How long the circuit breakers keep how runs ended and who was let in."
    )

    keep_measurements_days: int = Field(
        400,
        ge=100,
        le=36_500,
        description="How long rows of the reliability tables are kept, to the end of that month.",
    )
    keep_dagster_days: int = Field(
        30, ge=7, le=36_500, description="How long Dagster keeps our runs, their output and what was reported to it."
    )

    schema_registry_url: SecretStr = Field(
        SecretStr(""), description="Of a registry with Confluent's API, for `contracts diff registry:SUBJECT`."
    )

    audit_expected: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Who reads personal data as part of their work, comma-separated: no alert of it."
    )

    slo_dir: str = Field("", description="Folder of OpenSLO v1 YAML files; default: those of the package.")
    run_deadline_minutes: Minutes = Field(15, description="A run that ends later after its launch breaks its SLA.")

    cost_cpu_hour_usd: Price = Field(0.05, description="Price of an hour of CPU time, of one core; what runs cost.")
    cost_read_gb_usd: Price = Field(0, description="Price of 10^9 bytes that runs read.")
    cost_written_gb_usd: Price = Field(0, description="Price of 10^9 bytes that runs write.")
    cost_prompt_million_tokens_usd: Price = Field(0, description="Price of a million tokens sent to the model.")
    cost_completion_million_tokens_usd: Price = Field(0, description="Price of a million tokens the model writes.")

    drift_baseline_days: int = Field(
        7, ge=1, le=366, description="How far back the hours lie that an hour of a column is compared with."
    )
    drift_min_hours: int = Field(
        24, ge=2, le=8_784, description="Hours a column has to have had before drift of it is judged."
    )
    drift_min_values: int = Field(50, ge=10, description="Values an hour of a column has to have to be judged.")
    drift_psi: float = Field(0.2, gt=0, description="Population stability index below which a column has not drifted.")
    drift_ks: float = Field(
        0.15, gt=0, le=1, description="Distance of Kolmogorov and Smirnov below which a column has not drifted."
    )
    drift_null_percent: float = Field(
        10, gt=0, le=100, description="Change of the share of nulls, in points, below which a column has not drifted."
    )

    analyst: Literal["rules", "llm"] = Field("rules", description="Who writes platinum.")
    analysis_max_attempts: int = Field(3, ge=1, le=100, description="Runs in which one failing incident is retried.")
    llm_base_url: str = Field("", description="OpenAI-compatible endpoint, e.g. http://localhost:8000/v1.")
    llm_model: str = Field("", description="Model name sent to the endpoint.")
    llm_api_key: SecretStr = Field(SecretStr(""), description="Bearer token; never logged.")
    llm_timeout_seconds: Seconds = Field(30, description="Deadline of one request.")
    llm_max_concurrency: int = Field(4, ge=1, le=256, description="Requests in flight at once.")
    llm_max_retries: int = Field(4, ge=0, le=20, description="Retries of one request on 429, 5xx and timeouts.")
    llm_max_backoff_seconds: Seconds = Field(20, description="Cap of the exponential backoff.")
    llm_max_incidents_per_run: int = Field(200, ge=1, description="Budget: problems sent to the model in one run.")
    llm_max_tokens_per_run: int = Field(200_000, ge=1, description="Budget: prompt plus completion tokens in one run.")

    @field_validator("data_dir")
    @classmethod
    def _local_folder(cls, value: Path) -> Path:
        if re.match(r"[a-z0-9]+:/", str(value)):
            raise ValueError(f"a local folder; {PREFIX}LAKE_DIR is what may be a URL")
        # The lake and Dagster's home are below it.
        return _absolute(value, unusable_in_table_path)

    @field_validator("landing_dir", "lake_dir", "checkpoint_dir", "archive_dir")
    @classmethod
    def _location(cls, value: str, info: ValidationInfo) -> str:
        """A URL as it is, a path made absolute: Spark's server has a working directory of its own."""
        if value.startswith(("s3a:", "s3n:")):
            raise ValueError("s3://...; s3a is Spark's own name, which the other readers do not know")
        if not value or "://" in value:
            return value.rstrip("/")
        is_lake = info.field_name == "lake_dir"
        return str(_absolute(Path(value), unusable_in_table_path if is_lake else unusable_in_path))

    @field_validator("state_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        if value and not re.match(r"\w+(\+\w+)?://", value.get_secret_value()):
            raise ValueError(
                "a SQLAlchemy URL, e.g. sqlite:////var/lib/alerts.db or postgresql+psycopg://user@host/name"
            )
        path, question_mark, options = value.get_secret_value().partition("?")
        if value.get_secret_value().startswith("sqlite"):
            if question_mark and not re.fullmatch(r"[a-z_]+=[^&/]*(&[a-z_]+=[^&/]*)*", options):
                raise ValueError("a URL: write a ? in the path as %3F and a % as %25")
            if unusable := unusable_in_path(unquote(path)):
                raise ValueError(f"a path without {unusable}")
        return value

    @field_validator("web_url", "runbook_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", value):
            raise ValueError("a URL that starts with http:// or https:// and has neither ? nor #")
        return value.rstrip("/")

    @field_validator("statsd_url")
    @classmethod
    def _statsd(cls, value: str) -> str:
        found = re.fullmatch(
            r"(?:dog)?statsd://(?:(?:[^/\s:?#@\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?|/[^\s?#]+)", value
        )
        if value and (not found or not 0 < int(found[1] or 1) < 65_536):
            raise ValueError(
                "statsd://host:8125 or dogstatsd://host:8125, or the path of a socket: dogstatsd:///var/run/datadog/dsd.socket"
            )
        return value

    @field_validator("heartbeat_url", "schema_registry_url")
    @classmethod
    def _web(cls, value: SecretStr) -> SecretStr:
        if value and not re.match(r"https?://[^/\s]", value.get_secret_value()):
            raise ValueError("a URL that starts with http:// or https://")
        return value

    @field_validator("dedup_fields", mode="before")
    @classmethod
    def _split_fields(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("audit_expected", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("dedup_fields")
    @classmethod
    def _known_fields(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        allowed = EVENT.columns_with("fingerprint")
        bad = [f for f in value if f not in allowed and not re.fullmatch(r"labels\..+", f)]
        if not value or bad or len(set(value)) != len(value):
            raise ValueError(f"comma-separated, each once, from: {', '.join(sorted(allowed))}, labels.NAME")
        return value

    @field_validator("gate_max_null_percent", mode="before")
    @classmethod
    def _split_limits(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        try:
            return {name.strip(): float(limit) for name, _, limit in pairs}
        except ValueError:
            raise ValueError("field=percent pairs, comma-separated, e.g. host=50,source=10") from None

    @field_validator("gate_max_null_percent")
    @classmethod
    def _known_limits(cls, value: dict[str, float]) -> dict[str, float]:
        # Of an object, null and empty are the same to most producers.
        optional = [name for name, column in EVENT.columns.items() if column.nullable and isinstance(column.type, str)]
        bad = [name for name, limit in value.items() if name not in optional or not 0 <= limit <= 100]
        if bad:
            raise ValueError(f"each once, 0 to 100 percent, for: {', '.join(sorted(optional))}")
        return value

    @field_validator("spark_master")
    @classmethod
    def _local_master(cls, value: str) -> str:
        if not re.fullmatch(r"local(\[(\*|[1-9][0-9]*)\])?|spark://.+", value):
            raise ValueError("local, local[N], local[*] or spark://host:port")
        return value

    @field_validator("llm_base_url", "llm_model")
    @classmethod
    def _llm_needs_an_endpoint(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("analyst") == "llm":
            raise ValueError(f"{PREFIX}ANALYST=llm needs it")
        if value and info.field_name == "llm_base_url" and not re.match(r"https?://", value):
            raise ValueError("a URL that starts with http:// or https://")
        return value

    @model_validator(mode="after")
    def _derive_locations(self) -> Settings:
        root = self.data_dir
        # The model is frozen for everybody else; defaults that depend on DATA_DIR are filled in once, here.
        fill = object.__setattr__
        for name, folder in (("landing_dir", "landing"), ("lake_dir", "lake"), ("checkpoint_dir", "checkpoints")):
            fill(self, name, getattr(self, name) or str(root / folder))
        if not self.state_url:
            fill(self, "state_url", SecretStr(f"sqlite:///{str(self.state_dir).replace('%', '%25')}/alert_assets.db"))
        if "://" not in self.landing_dir and ":" in self.landing_dir and re.search(r"[{}\[\]*?\\]", self.landing_dir):
            raise ValueError(
                f"{PREFIX}LANDING_DIR={self.landing_dir!r}: a path with a colon may have none of {{ }} [ ] * ? \\, "
                "which Spark then takes for a pattern; choose another folder"
            )
        if f"{self.archive_dir}/".startswith(f"{self.landing_dir}/"):
            raise ValueError(
                f"{PREFIX}ARCHIVE_DIR={self.archive_dir!r}: outside {PREFIX}LANDING_DIR ({self.landing_dir}), "
                "where it would be ingested again"
            )
        return self

    @property
    def state_dir(self) -> Path:
        """Local folder of this host's own state: the SQLite file, locks, Dagster's home."""
        return self.data_dir / "state"


def _absolute(path: Path, unusable: Callable[[str], str | None]) -> Path:
    try:
        found = path.expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"a path whose ~ can be expanded: {error}") from None
    if bad := unusable(str(found)):
        raise ValueError(f"a path without {bad}, which {str(found)!r} has; choose another folder")
    return found


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` (by field name) win over the environment.

    Raises:
        SettingsError: one message for everything that is wrong.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(explained(error, "The settings", _SECRETS)) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"The settings cannot be used: .env is not UTF-8 ({error}). Save it as UTF-8.") from None


def explained(error: ValidationError, what: str, secrets: Collection[str]) -> str:
    """Return what is wrong with settings, one message: `what` they are, and a line each; no value of the secrets."""
    lines = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            lines.append(f"  {message}")
            continue
        name = str(problem["loc"][0])
        shown = "(hidden)" if name in secrets else repr(problem["input"])
        lines.append(f"  {PREFIX}{name.upper()}={shown}: {message}")
    return f"{what} cannot be used:\n" + "\n".join(lines) + "\nSet them in the environment or in .env and try again."


def is_lineage_wanted() -> bool:
    """Whether OpenLineage's own variables ask for events of runs (docs/lineage.md)."""
    given = {name for name, value in os.environ.items() if name.startswith("OPENLINEAGE_") and value}
    asked_for = given & {"OPENLINEAGE_URL", "OPENLINEAGE_CONFIG"} or any(n.startswith("OPENLINEAGE__") for n in given)
    return bool(asked_for) and os.environ.get("OPENLINEAGE_DISABLED", "").lower() not in ("1", "true")
