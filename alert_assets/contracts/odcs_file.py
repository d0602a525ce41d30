"""Contracts read from Open Data Contract Standard files: the parts that a comparison looks at.

Ours or anybody's, version 3.x. What is not looked at is not judged: the standard's own JSON schema is what
says whether a document is valid in every part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError, field_validator

from alert_assets.contracts.odcs import SUFFIX, to_odcs
from alert_assets.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.contracts.catalog import Contract

_NEXT = "Write it again with `alert-assets contracts export`, or correct the line."


class ContractFileError(UserError):
    """A file is no contract; the message names the file, the line, the rule and the next step."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class CustomProperty(_Part):
    """A key of ours and its value."""

    property: StrictStr
    value: Any


class Quality(_Part):
    """A quality rule, whole: of what kind it is and what it says is for the comparison to find out."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: StrictStr | None = None
    type: StrictStr = "library"


class Property(_Part):
    """A column, a field of a struct, or what an array holds."""

    name: StrictStr = ""
    logicalType: StrictStr | None = None
    physicalType: StrictStr | None = None
    logicalTypeOptions: dict[str, Any] = {}
    required: StrictBool = False
    unique: StrictBool = False
    primaryKey: StrictBool = False
    primaryKeyPosition: StrictInt = -1
    description: StrictStr | None = None
    classification: StrictStr | None = None
    tags: tuple[StrictStr, ...] = ()
    properties: tuple[Property, ...] = ()
    items: Property | None = None
    quality: tuple[Quality, ...] = ()
    customProperties: tuple[CustomProperty, ...] = ()

    @field_validator("properties")
    @classmethod
    def _named_once(cls, properties: tuple[Property, ...]) -> tuple[Property, ...]:
        return _unique_names(properties)


class SchemaObject(_Part):
    """A table or a kind of file."""

    name: StrictStr
    description: StrictStr | None = None
    properties: Annotated[tuple[Property, ...], Field(min_length=1)]
    quality: tuple[Quality, ...] = ()

    @field_validator("properties")
    @classmethod
    def _named_once(cls, properties: tuple[Property, ...]) -> tuple[Property, ...]:
        return _unique_names(properties)


class ServiceLevel(_Part):
    """One property of the service level agreement."""

    property: StrictStr
    value: Any
    unit: StrictStr | None = None
    element: StrictStr | None = None


class Description(_Part):
    """What the data is for."""

    purpose: StrictStr | None = None


class Document(_Part):
    """A contract about one table, or one kind of file."""

    apiVersion: Annotated[StrictStr, Field(pattern=r"^v3\.")]
    kind: Literal["DataContract"]
    id: StrictStr
    name: StrictStr | None = None
    version: StrictStr
    status: StrictStr
    description: Description = Description()
    objects: Annotated[tuple[SchemaObject, ...], Field(alias="schema", min_length=1, max_length=1)]
    team: Any = None
    slaProperties: tuple[ServiceLevel, ...] = ()
    customProperties: tuple[CustomProperty, ...] = ()

    @property
    def title(self) -> str:
        """What the contract is called."""
        return self.name or self.table.name

    @property
    def table(self) -> SchemaObject:
        """What it is about."""
        return self.objects[0]

    @property
    def purpose(self) -> str | None:
        """What the data is, in words."""
        return self.table.description or self.description.purpose

    @property
    def owner(self) -> str | None:
        """The team; of the members of an older document, all of them."""
        if isinstance(self.team, Mapping):
            return self.team.get("name")
        members = self.team if isinstance(self.team, Sequence) else ()
        return ", ".join(str(member.get("username")) for member in members if isinstance(member, Mapping)) or None


def of_contract(contract: Contract) -> Document:
    """The code's own contract, as its export would be read."""
    return Document.model_validate(to_odcs(contract))


def read_file(path: Path) -> Document:
    """The contract in a file.

    Raises:
        ContractFileError: it cannot be read, is not YAML, or not an ODCS 3 contract about one table.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ContractFileError(f"{path} is not UTF-8 ({error}). {_NEXT}") from None
    except OSError as error:
        raise ContractFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ContractFileError(f"{path}{line}: not YAML: {error.problem or error.context}. {_NEXT}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ContractFileError(f"{path} is not YAML: {' '.join(str(error).split())}. {_NEXT}") from None
    if not isinstance(content, dict):
        raise ContractFileError(f"{path} has no contract: one mapping with apiVersion, kind and schema. {_NEXT}")
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        raise ContractFileError(_explain(path, root, error)) from None


def read_folder(folder: Path) -> dict[str, Document]:
    """The contracts in a folder's `*.odcs.yaml` files, by id.

    Raises:
        ContractFileError: there is none, one is invalid, or two have the same id.
    """
    documents: dict[str, Document] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        document = read_file(path)
        if document.id in documents:
            raise ContractFileError(f"{path}: id {document.id!r} is that of another file in {folder}. Remove one.")
        documents[document.id] = document
    if not documents:
        raise ContractFileError(
            f"{folder} has no *{SUFFIX} file; `alert-assets contracts export --output {folder}` writes them."
        )
    return documents


def _unique_names(properties: tuple[Property, ...]) -> tuple[Property, ...]:
    if not all(property_.name for property_ in properties):
        raise ValueError("each property has a name")
    twice = [name for name, times in Counter(property_.name for property_ in properties).items() if times > 1]
    if twice:
        raise ValueError(f"each name once; {', '.join(map(repr, twice))} is there more than once")
    return properties


def _explain(path: Path, root: yaml.Node, error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False)
    lines = []
    for problem in problems[:5]:
        where = ".".join(map(str, problem["loc"])) or "the document"
        shown = "" if isinstance(problem["input"], (dict, list)) else f", not {problem['input']!r}"
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{path}, line {_line(root, problem['loc'])}: {where}: {message}{shown}.")
    if len(problems) > 5:
        lines.append(f"{len(problems) - 5} more.")
    return "\n".join([*lines, _NEXT])


def _line(node: yaml.Node, location: Sequence[int | str]) -> int:
    """The line of a value in the file; of what was to hold it, where it is missing."""
    for step in location:
        below = _below(node, step)
        if below is None:
            break
        node = below
    return int(node.start_mark.line) + 1


def _below(node: yaml.Node, step: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None
