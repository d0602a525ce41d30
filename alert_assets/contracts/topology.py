"""The calls between applications that a person wrote down, for those who have neither traces nor a mesh.

ALERTS_TOPOLOGY_FILE names a YAML file::

    calls:
      storefront: [cart, search]
      cart: [ledger]

What it says is added to the calls that dependency events show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from alert_assets.errors import UserError
from alert_assets.kernel.yaml_lines import YamlDocument, listed, path_within, read_documents

_Application = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]

#: Shown with every problem, so that the remedy is on the screen.
_FORMAT = "`calls` is a mapping of an application to the list of those it calls, e.g. storefront: [cart, search]"


class TopologyError(UserError):
    """The file cannot be used; the message names each wrong place by line and field."""


class _Topology(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    calls: dict[_Application, list[_Application]]


def calls_written_down(file: str) -> list[tuple[str, str]]:
    """Read the calls of the file that ALERTS_TOPOLOGY_FILE names; none where it names none."""
    return read_topology(Path(file)) if file else []


def read_topology(file: Path) -> list[tuple[str, str]]:
    """Read the calls of a file, as pairs of caller and callee in the order of the file.

    Raises:
        TopologyError: the file is not there, or is no topology.
    """
    problems: list[str] = []
    if not file.is_file():
        raise TopologyError(f"There is no topology file {file} (ALERTS_TOPOLOGY_FILE). Name another one, or none.")
    documents = read_documents(file, problems)
    if not problems and len(documents) != 1:
        problems.append(f"{file}:1: a topology file is one document, this has {len(documents)}")
    calls = [] if problems else _calls(documents[0], problems)
    if problems:
        raise TopologyError(f"The topology cannot be used: {_FORMAT}.\n{listed(problems)}")
    return calls


def _calls(document: YamlDocument, problems: list[str]) -> list[tuple[str, str]]:
    try:
        topology = _Topology.model_validate(document.content)
    except ValidationError as error:
        for wrong in error.errors(include_url=False):
            path = tuple(path_within(document.content, wrong["loc"]))
            problems.append(document.problem(path, wrong["msg"][:1].lower() + wrong["msg"][1:]))
        return []
    calls = []
    for caller, callees in topology.calls.items():
        for number, callee in enumerate(callees):
            if callee == caller:
                problems.append(document.problem(("calls", caller, number), "an application does not call itself"))
            calls.append((caller, callee))
    return calls
