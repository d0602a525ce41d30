"""YAML files that people write: each problem is reported with file, line, field, value and rule.

A parsed document has lost its lines, so the YAML nodes are kept beside it and a field's path leads to its line.
All problems of all files are reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

YamlPath = tuple[str | int, ...]

#: A file is checked to the end, but no more problems than this are listed.
_SHOWN = 50

#: Deeper than any file for people, and far from the recursion limit of what reads it.
_DEEPEST = 50
#: Values in a file once every alias is written out: a page of aliases of aliases can stand for billions.
_LARGEST = 100_000


class YamlProblem(Exception):
    """A rule that one document breaks, and where."""

    def __init__(self, path: YamlPath, rule: str) -> None:
        super().__init__(path, rule)
        self.path = path
        self.rule = rule


@dataclass(frozen=True)
class YamlDocument:
    """One document of a file, and the YAML nodes that know its lines.

    Attributes:
        secret: name of a field whose values, and those inside it, are never shown.
    """

    file: Path
    node: yaml.Node
    content: Any
    secret: str | None = None

    def problem(self, path: YamlPath, rule: str) -> str:
        """A line of the message: where, what is there, and what may be."""
        node, value, found = self.node, self.content, True
        for step in path:
            child = _child(node, step)
            if child is None:
                found = False
                break
            node, value = child, value[step]
        shown = f" is {_short(value)}" if found and path and self.secret not in path else ""
        return f"{self.file}:{node.start_mark.line + 1}: {_dotted(path)}{shown}: {rule}"


def read_documents(file: Path, problems: list[str], secret: str | None = None) -> list[YamlDocument]:
    """The documents of a file; one that cannot be read, or has a key twice, is added to the problems instead."""
    try:
        text = file.read_text("utf-8-sig")
        if too_much := _too_much(text):
            problems.append(f"{file}:{too_much}")
            return []
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        documents = [YamlDocument(file, node, yaml.SafeLoader("").construct_document(node), secret) for node in nodes]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(f"{file}:{line}: this is no YAML: {error.problem or error.context}")
        return []
    except (OSError, ValueError, yaml.YAMLError) as error:
        problems.append(f"{file}:1: the file cannot be read as YAML in UTF-8: {' '.join(str(error).split())}")
        return []
    read = []
    for document in documents:
        repeated = _repeated_keys(document.node, set())
        problems += [f"{file}:{line}: {key} is there twice: one of them has to go" for key, line in repeated]
        if not repeated:
            read.append(document)
    return read


def _too_much(text: str) -> str | None:
    """Return the line and what is wrong there, when the text would take no end of time or memory to build."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{event.start_mark.line + 1}"
        match event:
            case yaml.AliasEvent() if event.anchor in {anchor for anchor, _ in opened}:
                return f"{where}: *{event.anchor} stands inside of itself"
            case yaml.AliasEvent():
                total += sizes.get(event.anchor, 1)
            case yaml.CollectionStartEvent():
                opened.append((event.anchor, total))
            case yaml.CollectionEndEvent():
                anchor, before = opened.pop()
                total += 1
                if anchor:
                    sizes[anchor] = total - before
            case yaml.ScalarEvent():
                total += 1
        if len(opened) > _DEEPEST:
            return f"{where}: more than {_DEEPEST} levels deep: no such file has so many"
        if total > _LARGEST:
            return f"{where}: more than {_LARGEST:,} values, every alias written out: no such file has so many"
    return None


def listed(problems: Sequence[str]) -> str:
    """Problems as the lines of a message, the first of them when there are very many."""
    more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "\n".join(f"  {problem}" for problem in problems[:_SHOWN]) + more


def path_within(content: Any, location: tuple[str | int, ...]) -> Iterator[str | int]:
    """A pydantic location as a path in the document: without the names of union members."""
    for position, step in enumerate(location):
        try:
            content = content[step]
        except (KeyError, IndexError, TypeError):
            if position < len(location) - 1:
                continue
        yield step


def _repeated_keys(node: yaml.Node, visited: set[int]) -> list[tuple[str, int]]:
    """Keys, with their lines, that a mapping has twice: YAML would keep the last without a word."""
    if isinstance(node, yaml.ScalarNode) or id(node) in visited:
        return []
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return [found for child in node.value for found in _repeated_keys(child, visited)]
    keys = [str(key.value) for key, _ in node.value]
    return [
        *((name, key.start_mark.line + 1) for n, (key, _) in enumerate(node.value) if (name := keys[n]) in keys[:n]),
        *(found for _, value in node.value for found in _repeated_keys(value, visited)),
    ]


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]
    return None


def _dotted(path: YamlPath) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text or "the document"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
