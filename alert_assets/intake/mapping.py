"""Mapping files: a sender in YAML, for tools that no module knows.

.. code-block:: yaml

    name: uptime                      # POST /intake/uptime
    title: Uptime checks
    events: checks                    # JMESPath to the items, an event each; without it the payload or its items
    when: "state != 'paused'"         # items for which this is not true give no event
    fields:                           # by the event contract
      event_type: {value: alert}      # always this
      application_id: service.name    # JMESPath within the item
      alert_type: {value: uptime}
      status: {path: state, values: {down: firing, up: resolved}, default: firing}
      timestamp: changed_at           # RFC 3339, or seconds, ms, us, ns since 1970; without it: when it came
    labels:                           # and `metrics`
      region: probe.region
    identity: [id, changed_at]        # what makes an event this one; without it all of the item
    example: {checks: [...]}
    gives: [{...}]                    # the events of the example; `senders check` compares
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from alert_assets.contracts import EVENT
from alert_assets.errors import UserError
from alert_assets.intake.auth import signed_body
from alert_assets.intake.senders.fields import digest, each, moment, needed, rfc3339, window_start
from alert_assets.intake.senders.registry import SENDERS
from alert_assets.intake.senders.sender import Delivery, Event, Sender, Unmapped
from alert_assets.intake.settings import SENDER_NAME
from alert_assets.kernel.yaml_lines import YamlDocument, YamlProblem, listed, path_within, read_documents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

_FIELDS = {*EVENT.columns} - {"labels", "metrics"}
_WORDS = {"alertmanager", "events", "otlp"} | set(SENDERS)

#: Where an example does not say when it came.
_EXAMPLE_AT = datetime(2026, 2, 14, 10, 7, 12, tzinfo=UTC)
_WINDOW = timedelta(minutes=5)


def _expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        raise ValueError(f"a JMESPath expression; {' '.join(str(error).split())[:200]}") from None
    return text


Expression = Annotated[str, AfterValidator(_expression)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldMapping(_Strict):
    """How a field is made: always `value`; or what `path` finds, by `values` if there are any, or `default`."""

    value: str | float | None = None
    path: Expression | None = None
    values: dict[str, str | float] = {}
    default: str | float | None = None

    def of(self, item: Any) -> Any:
        """Return the field's value; None for none."""
        if self.path is None:
            return self.value
        found = jmespath.search(self.path, item)
        if self.values:
            found = self.values.get(_spelled(found), self.default)
        return self.default if found is None else found


# Which of the two a value means to be, so that a problem is of that one alone; it ends the location of a problem.
_EXPRESSION, _OBJECT = "(expression)", "(object)"
_Mapped = Annotated[
    Annotated[Expression, Tag(_EXPRESSION)] | Annotated[FieldMapping, Tag(_OBJECT)],
    Discriminator(lambda value: {str: _EXPRESSION, dict: _OBJECT, FieldMapping: _OBJECT}.get(type(value))),
]


class SignatureRule(_Strict):
    """An HMAC-SHA256 over the body, in hex; the secret is in ALERTS_INTAKE_SECRETS."""

    header: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    prefix: str = ""


class MappingFile(_Strict):
    """A mapping file, as it is written."""

    name: str = Field(pattern=f"^{SENDER_NAME}$")
    title: str = ""
    events: Expression | None = None
    when: Expression | None = None
    fields: dict[str, _Mapped]
    labels: dict[str, _Mapped] = {}
    metrics: dict[str, _Mapped] = {}
    identity: list[Expression] = []
    signature: SignatureRule | None = None
    setup: str = ""
    headers: dict[str, str] = {}
    received_at: datetime = _EXAMPLE_AT
    example: Any = None
    gives: list[dict[str, Any]] = []

    def problem(self) -> YamlProblem | None:
        """Return the rule it breaks beyond the types of its fields."""
        if self.name in _WORDS:
            return YamlProblem(("name",), "another name: a sender of the package has this one")
        for field in ("event_type", "application_id"):
            if field not in self.fields:
                return YamlProblem(("fields",), f"{field} is missing; every event has it")
        for field in self.fields:
            if field not in _FIELDS:
                return YamlProblem(("fields", field), f"a field of the event contract: {', '.join(sorted(_FIELDS))}")
        return None

    def to_events(self, delivery: Delivery) -> Iterable[Event | Unmapped]:
        """Map a payload."""
        items = jmespath.search(self.events, delivery.payload) if self.events else delivery.payload
        return each(items if isinstance(items, list) else [items], lambda item: self._events(item, delivery))

    def _events(self, item: Any, delivery: Delivery) -> list[Event]:
        if self.when and not jmespath.search(self.when, item):
            return []
        identity = [json.dumps(jmespath.search(part, item), sort_keys=True) for part in self.identity]
        found: Event = {
            "event_id": f"{self.name}-{digest(*(identity or [json.dumps(item, sort_keys=True)]))}",
            "timestamp": rfc3339(window_start(delivery)),
            "source": self.name,
        }
        for field, rule in self.fields.items():
            value = _of(rule, item)
            if field == "timestamp":
                value = rfc3339(
                    needed(moment(value), "timestamp" if value is None else f"a time, for {value!r} is none,")
                )
            if value not in (None, ""):
                found[field] = value
        for field, rules in (("labels", self.labels), ("metrics", self.metrics)):
            members = {name: value for name, rule in rules.items() if (value := _of(rule, item)) is not None}
            if members:
                found[field] = members
        needed(found.get("event_type"), "event_type")
        needed(found.get("application_id"), "application_id")
        return [found]

    def sender(self) -> Sender:
        """Return the sender that it describes."""
        return Sender(
            name=self.name,
            title=self.title or "by its mapping file",
            to_events=self.to_events,
            setup=self.setup or "Send its JSON with POST to {url}, with Authorization: Bearer {token}.\n",
            verify=signed_body(self.signature.header.lower(), self.signature.prefix) if self.signature else None,
        )

    def example_events(self) -> list[Event | Unmapped]:
        """Map the example."""
        return list(self.to_events(Delivery(self.example, self.headers, self.received_at, _WINDOW)))

    def wrong_events(self) -> str | None:
        """Return how the events of the example differ from those that it must give; None where they do not."""
        found = self.example_events()
        if len(found) != len(self.gives):
            return f"the example gives {len(found)} events, not {len(self.gives)}: {found}"
        for number, (event, wanted) in enumerate(zip(found, self.gives, strict=True)):
            # What is made of the payload by rule need not be written down.
            if isinstance(event, Unmapped):
                return f"event {number + 1} cannot be mapped: {event.because}"
            implied = {name: value for name, value in event.items() if name in ("event_id", "source", "timestamp")}
            if event != {**implied, **wanted}:
                return f"event {number + 1} is {json.dumps(event)}"
        return None


def _of(rule: str | FieldMapping, item: Any) -> Any:
    return rule.of(item) if isinstance(rule, FieldMapping) else jmespath.search(rule, item)


class MappingError(UserError):
    """Mapping files cannot be used; the message has a line for each problem."""


def load_mappings(folder: str) -> dict[str, MappingFile]:
    """Read the mapping files of a folder, by the name of their sender; none without a folder.

    Raises:
        MappingError: the folder is not there, or a file is wrong.
    """
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise MappingError(f"ALERTS_SENDERS_DIR={folder} is no folder. Create it, or unset the variable.")
    problems: list[str] = []
    found: dict[str, MappingFile] = {}
    for path in sorted(Path(folder).glob("*.y*ml")):
        for document in read_documents(path, problems):
            mapping = _read(document, problems)
            if mapping and mapping.name in found:
                problems.append(document.problem(("name",), "another name: a file before it has this one"))
            elif mapping:
                found[mapping.name] = mapping
    if problems:
        raise MappingError(f"The mapping files cannot be used:\n{listed(problems)}\nCorrect them and try again.")
    return found


def _read(document: YamlDocument, problems: list[str]) -> MappingFile | None:
    content = _with_text_keys(document.content)
    try:
        mapping = MappingFile.model_validate(content)
    except ValidationError as error:
        for problem in error.errors():
            within = problem["loc"][:-1] if problem["loc"][-1:] in ((_EXPRESSION,), (_OBJECT,)) else problem["loc"]
            location = tuple(path_within(content, within))
            problems.append(document.problem(location, _rule(problem)))
        return None
    if wrong := mapping.problem():
        problems.append(document.problem(wrong.path, wrong.rule))
        return None
    return mapping


def _rule(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "missing":
            return "has to be given"
        case "extra_forbidden":
            return "there is no such field here"
        case "model_type" | "dict_type":
            return "names with values, as an object"
        case "string_type":
            return "a text"
        case "union_tag_not_found":
            return "a JMESPath expression, or an object with value, or with path, values and default"
        case "string_pattern_mismatch" if problem["loc"] == ("name",):
            return "begins with a letter; a-z, 0-9, - and _"
        case _:
            return problem["msg"].removeprefix("Value error, ")


def _with_text_keys(content: Any) -> Any:
    """Value maps are of what the payload holds, as JSON writes it: 0, true and null are keys like any other."""
    if not isinstance(content, dict):
        return content
    content = dict(content)
    for part in ("fields", "labels", "metrics"):
        if isinstance(content.get(part), dict):
            content[part] = {name: _with_text_values(rule) for name, rule in content[part].items()}
    return content


def _with_text_values(rule: Any) -> Any:
    if not isinstance(rule, dict) or not isinstance(rule.get("values"), dict):
        return rule
    return {**rule, "values": {_spelled(key): value for key, value in rule["values"].items()}}


def _spelled(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)
