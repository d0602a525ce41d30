"""YAML files that would not end, or not fit, when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.kernel.yaml_lines import read_documents

if TYPE_CHECKING:
    from pathlib import Path

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        (LAUGHS, 2, "an alias inside of what has an anchor itself: write it out"),
        ("a: &a {b: *a}\n", 1, "an alias inside of what has an anchor itself"),
        ("a: &a [1]\n" + "".join(f"b{n}: *a\n" for n in range(101)), 102, "more than 100 aliases"),
        ("a:\n  " + "[" * 20_000, 2, "more than 64 levels deep"),
        ("a:\n  " + "{b: " * 20_000, 2, "more than 64 levels deep"),
        ("- " * 20_000, 1, "more than 64 levels deep"),
    ],
)
def test_what_would_not_end_is_refused_by_line(tmp_path: Path, text: str, line: int, rule: str) -> None:
    file = tmp_path / "bomb.yaml"
    file.write_text(text)
    problems: list[str] = []
    assert read_documents(file, problems) == []
    (problem,) = problems
    assert problem.startswith(f"{file}:{line}: ")
    assert rule in problem


def test_anchors_that_people_write_are_read(tmp_path: Path) -> None:
    file = tmp_path / "fine.yaml"
    file.write_text("base: &base {a: 1}\none: {<<: *base, b: 2}\ntwo: *base\n")
    problems: list[str] = []
    (document,) = read_documents(file, problems)
    assert (document.content["one"], document.content["two"], problems) == ({"a": 1, "b": 2}, {"a": 1}, [])
