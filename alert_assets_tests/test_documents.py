"""The documents: short where they are to be read first, with links that lead somewhere inside the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if not {"_build", "reference"} & set(path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text("utf-8"))
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert missing == []


def test_the_readme_is_a_page_and_every_promise_has_its_test() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 150
    promised = set(re.findall(r"alert_assets_tests/promises/(test_\w+\.py)", readme))
    assert promised == {path.name for path in (ROOT / "alert_assets_tests" / "promises").glob("test_*.py")}


def test_nothing_refers_to_what_is_not_here() -> None:
    for path in (*DOCUMENTS, *ROOT.glob("alert_assets/**/*.py"), *ROOT.glob("alert_assets_tests/**/*.py")):
        found = re.search(r"DESIGN §|\.\./shared", path.read_text("utf-8"))
        assert found is None or path == Path(__file__), f"{path}: {found}"
