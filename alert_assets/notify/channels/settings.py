"""The base of a channel's settings: `ALERTS_*` variables and `.env`, read by pydantic-settings.

A channel is wanted when any of its variables is set, and then all that it needs have to be.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from alert_assets.notify.channels.channel import Channel
    from alert_assets.notify.channels.http import Http


class NotConfiguredError(Exception):
    """None of the channel's variables is set."""


class ChannelSettings(BaseSettings):
    """What a channel is built from; a subclass gives its `env_prefix`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        loc_by_alias=False,
        validate_default=False,
    )

    #: What routing calls the channel.
    channel_name: ClassVar[str]

    @abstractmethod
    def build(self, http: Http) -> Channel:
        """Build the channel."""

    @classmethod
    def read(cls, problems: list[str]) -> Self | None:
        """Read the variables; None when none is set, or when `problems` gets a line for each that is wrong."""
        try:
            return cls()
        except NotConfiguredError:
            return None
        except ValidationError as error:
            for problem in error.errors():
                problems += cls._explain(problem).splitlines()
            return None

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the variable that sets a field."""
        return str(cls.model_fields[field].validation_alias or f"{cls.model_config['env_prefix']}{field.upper()}")

    @classmethod
    def missing(cls, fields: Iterable[str]) -> str:
        """Return a line for each of these fields, which are not set and have to be."""
        return "\n".join(f"{cls.variable(field)} is not set: {cls.channel_name} needs it" for field in fields)

    @model_validator(mode="before")
    @classmethod
    def _drop_blanks(cls, given: dict[str, str]) -> dict[str, str]:
        # A file's other variables come with the channel's own.
        own = {*cls.model_fields, *(field.validation_alias for field in cls.model_fields.values())}
        filled = {name: value.strip() for name, value in given.items() if name in own and value.strip()}
        if not filled:
            raise NotConfiguredError
        return filled

    @classmethod
    def _explain(cls, problem: Any) -> str:
        rule: str = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            return rule
        field = problem["loc"][0]
        if problem["type"] == "missing":
            return cls.missing([field])
        value = "" if cls.model_fields[field].annotation is SecretStr else f"={problem['input']!r}"
        return f"{cls.variable(field)}{value}: {rule}"


def _url(value: Any) -> Any:
    from alert_assets.notify.channels.http import url_problem

    problem = url_problem(value.get_secret_value() if isinstance(value, SecretStr) else value)
    if problem:
        raise ValueError(f"the URL {problem}")
    return value


def _key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("has characters that no key has; copy it again")
    return value


Url = Annotated[str, AfterValidator(_url)]
#: A URL that may hold a token.
SecretUrl = Annotated[SecretStr, AfterValidator(_url)]
Key = Annotated[SecretStr, AfterValidator(_key)]
