"""Every knob of the pipeline: typed, with its unit and default, read from `ALERTS_*` variables.

`load_settings()` is the one entrance. It reads the process environment and a `.env` file in the
working directory (the environment wins), and raises :class:`SettingsError` with one message that
names every bad variable, what it was, and what is allowed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from alert_assets.errors import UserError

PREFIX = "ALERTS_"

#: Event fields a fingerprint may be built from, besides `labels.NAME`.
FINGERPRINT_FIELDS = frozenset(
    {"application_id", "host", "alert_type", "severity", "source", "alert_id", "error_code", "message"}
)

Minutes = Annotated[int, Field(gt=0, le=10_080)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsError(UserError):
    """The settings cannot be used; the message names each bad variable and what it may be."""


class Settings(BaseSettings):
    """The settings of DESIGN §4, plus those of Spark (§2) and the analysts (§7)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    data_dir: Path = Field(Path("data"), description="Root of landing/, lake/, checkpoints/ and state/.")
    landing_dir: str = Field("", description="Where producers put *.jsonl and *.jsonl.gz; default DATA_DIR/landing.")
    lake_dir: str = Field("", description="Root of the Delta tables: a folder or an object-store URL; default DATA_DIR/lake.")
    checkpoint_dir: str = Field("", description="Where the landing query keeps its place; default DATA_DIR/checkpoints.")
    state_url: str = Field("", description="SQLAlchemy URL of the operational state; default SQLite under DATA_DIR/state.")

    dedup_fields: Annotated[tuple[str, ...], NoDecode] = Field(
        ("application_id", "host", "alert_type"), description="Fingerprint fields; labels.NAME is allowed."
    )
    dedup_window_minutes: Minutes = Field(5, description="Width of the tumbling window, aligned to the epoch.")
    correlation_lookback_minutes: Minutes = Field(60, description="How far back evidence is gathered.")
    watermark_delay_minutes: Minutes = Field(10, description="How late is late.")
    max_future_skew_minutes: Minutes = Field(5, description="Timestamps further ahead go to quarantine.")
    max_files_per_trigger: int = Field(10, gt=0, le=100_000, description="Landing files in one micro-batch.")

    spark_mode: Literal["connect", "classic"] = Field(
        "connect", description="connect: a warm local server that outlives the run; classic: a JVM in this process."
    )
    spark_master: str = Field("local[*]", description="Master of the local server; SPARK_REMOTE overrides both.")
    spark_memory: str = Field("4g", pattern=r"^[1-9][0-9]*[mg]$", description="Heap of the local Spark driver, e.g. 4g.")
    lock_timeout_seconds: Seconds = Field(
        600, description="How long a run waits for another process that is writing the same table."
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
    llm_max_incidents_per_run: int = Field(200, ge=1, description="Budget: incidents sent to the model in one run.")
    llm_max_tokens_per_run: int = Field(200_000, ge=1, description="Budget: prompt plus completion tokens in one run.")

    @field_validator("dedup_fields", mode="before")
    @classmethod
    def _split_fields(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("dedup_fields")
    @classmethod
    def _known_fields(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        bad = [f for f in value if f not in FINGERPRINT_FIELDS and not re.fullmatch(r"labels\..+", f)]
        if not value or bad or len(set(value)) != len(value):
            allowed = ", ".join(sorted(FINGERPRINT_FIELDS))
            raise ValueError(f"comma-separated, each once, from: {allowed}, labels.NAME")
        return value

    @field_validator("spark_master")
    @classmethod
    def _local_master(cls, value: str) -> str:
        if not re.fullmatch(r"local(\[(\*|[1-9][0-9]*)\])?|spark://.+", value):
            raise ValueError("local, local[N], local[*] or spark://host:port")
        return value

    @model_validator(mode="after")
    def _llm_needs_an_endpoint(self) -> Settings:
        if self.analyst == "llm" and not (self.llm_base_url and self.llm_model):
            raise ValueError(f"{PREFIX}ANALYST=llm needs {PREFIX}LLM_BASE_URL and {PREFIX}LLM_MODEL")
        if self.llm_base_url and not re.match(r"https?://", self.llm_base_url):
            raise ValueError(f"{PREFIX}LLM_BASE_URL must start with http:// or https://")
        return self

    @model_validator(mode="after")
    def _derive_locations(self) -> Settings:
        root = self.data_dir.expanduser().resolve()
        # The model is frozen for everybody else; defaults that depend on DATA_DIR are filled in once, here.
        fill = object.__setattr__
        fill(self, "data_dir", root)
        for name, folder in (("landing_dir", "landing"), ("lake_dir", "lake"), ("checkpoint_dir", "checkpoints")):
            given = getattr(self, name)
            fill(self, name, _location(given) if given else str(root / folder))
        if not self.state_url:
            fill(self, "state_url", f"sqlite:///{self.state_dir / 'alert_assets.db'}")
        return self

    @property
    def state_dir(self) -> Path:
        """Local folder of this host's own state: the SQLite file, locks, Dagster's home."""
        return self.data_dir / "state"


def _location(value: str) -> str:
    """A URL as it is, a path made absolute: Spark's server has a working directory of its own."""
    return value.rstrip("/") if "://" in value else str(Path(value).expanduser().resolve())


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` (by field name) win over the environment.

    Raises:
        SettingsError: one message for everything that is wrong.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            lines.append(f"  {message}")
            continue
        name = str(problem["loc"][0])
        shown = "(hidden)" if "key" in name else repr(problem["input"])
        lines.append(f"  {PREFIX}{name.upper()}={shown}: {message}")
    return "The settings cannot be used:\n" + "\n".join(lines) + "\nSet them in the environment or in .env and try again."
