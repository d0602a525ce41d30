"""Settings of `alert-assets serve` and of intake: `ALERTS_SERVE_*`, `ALERTS_INTAKE_*`."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode

from alert_assets.kernel.durations import parse_duration
from alert_assets.settings import FROM_ENVIRONMENT, SettingsError, explained

#: What a sender may be called.
SENDER_NAME = r"[a-z][a-z0-9_-]{0,63}"

_SECRETS = frozenset({"intake_tokens", "intake_secrets", "intake_slack_signing_secret"})

Megabytes = Annotated[int, Field(ge=1, le=4096)]
_Pairs = tuple[tuple[str, str], ...]


class SlackClicks(BaseSettings):
    """Whether clicks on the buttons of our Slack messages come back: what sends them has to know too."""

    model_config = FROM_ENVIRONMENT

    intake_slack_signing_secret: SecretStr = Field(
        SecretStr(""), description="Signing secret of the Slack app whose buttons come back; messages have them then."
    )

    @property
    def are_taken(self) -> bool:
        """Whether `serve` takes clicks."""
        return bool(self.intake_slack_signing_secret.get_secret_value())


class IntakeSettings(SlackClicks):
    """What `serve` listens on, whom it believes, and how much it takes."""

    serve_host: str = Field("127.0.0.1", description="Address that `alert-assets serve` listens on.")
    serve_port: int = Field(8080, ge=0, le=65_535, description="Port that it listens on; 0 is any that is free.")

    intake_tokens: SecretStr = Field(
        SecretStr(""),
        description="Who may send: name=token, comma-separated; a name may be there twice while its token changes.",
    )
    intake_secrets: SecretStr = Field(
        SecretStr(""),
        description="Secrets of senders that sign: sender=secret, comma-separated, e.g. github=...,pagerduty=...; "
        "a sender may be there twice while its secret changes.",
    )
    intake_sns_topics: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="ARNs of the SNS topics that are taken, and subscribed to, comma-separated; * ends a prefix."
    )

    intake_max_body_mb: Megabytes = Field(16, description="MB of a request's body as it is sent.")
    intake_max_inflated_mb: Megabytes = Field(64, description="MB of a body once it is inflated.")
    intake_max_pending_mb: Megabytes = Field(128, description="MB of all bodies at once; more is answered 503.")
    intake_max_requests: int = Field(512, ge=1, le=65_536, description="Requests at once; more are answered 503.")
    intake_body_seconds: float = Field(10, gt=0, le=600, description="A body that is not there by then is given up.")
    intake_gather_ms: float = Field(
        3, ge=0, le=1000, description="How long a line waits for others to share its fsync."
    )
    intake_roll_seconds: float = Field(
        1, ge=0, le=3600, description="Under load one landing file in so many seconds; lines wait in it, durable."
    )
    intake_roll_mb: Megabytes = Field(16, description="A landing file is closed at this size.")

    senders_dir: str = Field("", description="Folder of mapping files, *.yaml, each a sender of its own.")
    heartbeats: Annotated[dict[str, timedelta], NoDecode] = Field(
        {}, description="After how long a silent sender is an alert: sender=duration, e.g. alertmanager=5m,github=7d."
    )

    @field_validator("intake_tokens", "intake_secrets")
    @classmethod
    def _pairs(cls, value: SecretStr) -> SecretStr:
        named_secrets(value)
        return value

    @field_validator("intake_sns_topics", mode="before")
    @classmethod
    def _split_topics(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("intake_sns_topics")
    @classmethod
    def _arns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]*\*?", topic) for topic in value):
            raise ValueError("ARNs like arn:aws:sns:eu-west-1:123456789012:alarms, comma-separated")
        return value

    @field_validator("heartbeats", mode="before")
    @classmethod
    def _split_heartbeats(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not re.fullmatch(SENDER_NAME, name.strip()) for name, _, _ in pairs):
            raise ValueError("sender=duration pairs, comma-separated, e.g. alertmanager=5m,github=7d")
        return {name.strip(): parse_duration(duration.strip()) for name, _, duration in pairs}

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.serve_host).is_loopback
        except ValueError:
            return self.serve_host == "localhost"

    @property
    def tokens(self) -> _Pairs:
        """Name and token."""
        return named_secrets(self.intake_tokens)

    @property
    def has_credentials(self) -> bool:
        """Whether anything says who may send."""
        return bool(self.tokens or named_secrets(self.intake_secrets) or self.intake_sns_topics)

    @property
    def signing(self) -> tuple[str, ...]:
        """Names of the senders that have a secret."""
        return tuple(name for name, _ in named_secrets(self.intake_secrets))

    def secrets_of(self, sender: str) -> tuple[str, ...]:
        """Secrets that a sender may sign with."""
        return tuple(secret for name, secret in named_secrets(self.intake_secrets) if name == sender)


def named_secrets(value: SecretStr) -> _Pairs:
    """Split `name=secret,...`.

    Raises:
        ValueError: it is something else; the message shows nothing of it.
    """
    pairs = [part.strip().partition("=") for part in value.get_secret_value().split(",") if part.strip()]
    if any(not re.fullmatch(r"[A-Za-z0-9_-]+", name) or len(secret) < 8 for name, _, secret in pairs):
        raise ValueError("name=secret pairs, comma-separated; a secret has 8 characters at least and no comma")
    return tuple((name, secret) for name, _, secret in pairs)


def load_intake_settings(**overrides: object) -> IntakeSettings:
    """Read the settings of intake; `overrides` (by field name) win over the environment.

    Raises:
        SettingsError: one message for everything that is wrong.
    """
    try:
        return IntakeSettings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(explained(error, "The settings of intake", _SECRETS)) from None
