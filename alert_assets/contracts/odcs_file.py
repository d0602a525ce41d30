"""Contracts read from Open Data Contract Standard files: the parts that a comparison looks at.

Ours or anybody's, version 3.x. What is not looked at is not judged: the standard's own JSON schema is what
says whether a document is valid in every part.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    ServiceLevelAgreementProperty,
    Team,
)
from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from alert_assets.contracts.odcs import SUFFIX, to_odcs
from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from alert_assets.contracts.catalog import Contract

_NEXT = "Write it again with `alert-assets contracts export`, or correct the line."


class ContractFileError(UserError):
    """A file is no contract; the message names the file, the line, the rule and the next step."""


def _named_once(properties: list[Property]) -> list[Property]:
    if not all(property_.name for property_ in properties):
        raise ValueError("each property has a name")
    twice = [name for name, times in Counter(property_.name for property_ in properties).items() if times > 1]
    if twice:
        raise ValueError(f"each name once; {', '.join(map(repr, twice))} is there more than once")
    return properties


class Property(SchemaProperty):
    """A column, a field of a struct, or what an array holds."""

    name: str = ""
    required: bool = False
    unique: bool = False
    primaryKeyPosition: int = -1
    tags: list[str] = Field([])
    quality: list[DataQuality] = Field([])
    customProperties: list[CustomProperty] = Field([])
    properties: Annotated[list[Property], AfterValidator(_named_once)] = Field([])  # type: ignore[assignment]
    items: Property | None = None


class Table(SchemaObject):
    """A table or a kind of file."""

    name: str
    properties: Annotated[list[Property], Field(min_length=1), AfterValidator(_named_once)]  # type: ignore[assignment]
    quality: list[DataQuality] = Field([])


class Document(OpenDataContractStandard):
    """A contract about one table, or one kind of file."""

    # An unknown key is for the standard's own schema to judge.
    model_config = ConfigDict(extra="ignore")

    apiVersion: Annotated[str, Field(pattern=r"^v3\.")]
    kind: Literal["DataContract"]
    id: str
    version: str
    status: str
    schema_: Annotated[list[Table], Field(alias="schema", min_length=1, max_length=1)]  # type: ignore[assignment]
    slaProperties: list[ServiceLevelAgreementProperty] = Field([])
    customProperties: list[CustomProperty] = Field([])

    @property
    def title(self) -> str:
        """What the contract is called."""
        return self.name or self.table.name

    @property
    def table(self) -> Table:
        """What it is about."""
        return self.schema_[0]

    @property
    def purpose(self) -> str | None:
        """What the data is, in words."""
        return self.table.description or (self.description.purpose if self.description else None)

    @property
    def owner(self) -> str | None:
        """The team; of the members of an older document, all of them."""
        if isinstance(self.team, Team):
            return self.team.name
        return ", ".join(str(member.username) for member in self.team or []) or None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Leaves dates as the texts that they are in the standard."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


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
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
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
        return Document.model_validate(content, strict=True)
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
