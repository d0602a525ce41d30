"""`make docs VERSIONS=...`: the documentation of two tags side by side, and every link of it leads to a file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = Path(sys.prefix)
VERSIONS = ("v0.2.0", "v0.1.0")


def git(folder: Path, *arguments: str) -> None:
    as_somebody = ("-c", "user.name=test", "-c", "user.email=test@example.test")
    subprocess.run(["git", *as_somebody, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """This tree as v0.1.0, and v0.2.0, whose glossary has one word more."""
    folder = tmp_path / "repository"
    folder.mkdir()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(lambda name: (ROOT / name).exists(), tracked.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    (folder / ".venv").symlink_to(ENVIRONMENT)
    (folder / ".git" / "info" / "exclude").write_text(".venv\n")
    for tag in reversed(VERSIONS):
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", tag)
        git(folder, "tag", tag)
        with (folder / "docs" / "glossary.md").open("a") as glossary:
            glossary.write("\nnewest word\n: Only the newest version has it.\n")
    return folder


def broken_links(page: Path) -> list[str]:
    targets = re.findall(r'(?:href|src)="([^"#?]+)', page.read_text("utf-8"))
    inside = [target for target in targets if not re.match(r"[a-z]+:", target)]
    return [f"{page.name}: {target}" for target in inside if not (page.parent / unquote(target)).exists()]


@pytest.mark.slow
@pytest.mark.skipif(not (ENVIRONMENT / "bin" / "sphinx-build").exists(), reason="`make docs` installs what it needs")
def test_two_versions_stand_side_by_side_with_links_to_each_other(repository: Path) -> None:
    # -o: what it needs is there.
    command = ["make", "-o", ".venv/.installed-docs", "docs", f"VERSIONS={' '.join(VERSIONS)}"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    built = repository / "docs" / "_build" / "versions"
    assert f"url={VERSIONS[0]}/index.html" in (built / "index.html").read_text()
    has_word = [version for version in VERSIONS if "newest word" in (built / version / "glossary.html").read_text()]
    assert has_word == [VERSIONS[0]]
    pages = [page for page in built.rglob("*.html") if page.parent != built]
    assert {page.relative_to(built).parts[0] for page in pages} == set(VERSIONS)
    assert [link for page in pages for link in broken_links(page)] == []
    for page in pages:
        up = "../" * (len(page.relative_to(built).parts) - 1)
        assert all(f'href="{up}{version}/index.html"' in page.read_text("utf-8") for version in VERSIONS), page
