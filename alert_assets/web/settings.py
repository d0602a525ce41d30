"""Settings of the pages: who may see them."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode

from alert_assets.intake.settings import named_secrets
from alert_assets.settings import FROM_ENVIRONMENT, SettingsError, explained

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class WebSettings(BaseSettings):
    """Who may see the pages that `alert-assets serve` shows."""

    model_config = FROM_ENVIRONMENT

    web_tokens: SecretStr = Field(
        SecretStr(""),
        description="Who may see the pages and act: name=token, comma-separated; a name may be there twice while its "
        "token changes. Without any, only this machine may.",
    )
    web_proxy_header: str = Field(
        "", description="Header in which a proxy that signs people in names them, e.g. X-Forwarded-User; default: none."
    )
    web_proxies: Annotated[tuple[_Network, ...], NoDecode] = Field(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")),
        description="Addresses and networks of proxies whose header is believed, comma-separated.",
    )
    web_session_hours: float = Field(12, gt=0, le=8_760, description="How long a sign-in lasts.")

    @field_validator("web_tokens")
    @classmethod
    def _pairs(cls, value: SecretStr) -> SecretStr:
        named_secrets(value)
        return value

    @field_validator("web_proxy_header")
    @classmethod
    def _header(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9-]+", value):
            raise ValueError("the name of a header, e.g. X-Forwarded-User")
        return value

    @field_validator("web_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())
        except ValueError:
            raise ValueError("addresses and networks, comma-separated, e.g. 127.0.0.1,10.1.0.0/16") from None

    @property
    def tokens(self) -> tuple[tuple[str, str], ...]:
        """Name and token."""
        return named_secrets(self.web_tokens)

    @property
    def needs_sign_in(self) -> bool:
        """Whether anybody has to say who they are."""
        return bool(self.tokens or self.web_proxy_header)


def load_web_settings(**overrides: object) -> WebSettings:
    """Read the settings of the pages; `overrides` (by field name) win over the environment.

    Raises:
        SettingsError: one message for everything that is wrong.
    """
    try:
        return WebSettings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(explained(error, "The settings of the pages", ("web_tokens",))) from None
