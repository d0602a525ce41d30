"""Files of people, and files that look like those."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.kernel.yaml_lines import read_documents

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
BILLION_LAUGHS = "\n".join(["a0: &a0 [lol, lol]", *LAYERS])


def problems_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "routing.yaml"
    file.write_text(text)
    problems: list[str] = []
    read_documents(file, problems)
    return [problem.removeprefix(f"{file}:") for problem in problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(BILLION_LAUGHS, "6: more than 100,000 values", id="aliases of aliases"),
        pytest.param("a:\n  " + "[" * 20_000, "2: more than 50 levels deep", id="deep"),
        pytest.param("a:\n - &a [1, *a]", "2: *a stands inside of itself", id="circle"),
    ],
)
def test_what_would_never_end_is_refused_by_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, text)
    assert found.startswith(problem)


def test_aliases_are_allowed(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "a: &a [1, 2]\nb: *a\n") == []
