"""The project's own promises: changelog, version, licence, documentation."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_version_changelog_and_citation_agree():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == PROJECT["version"]
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_every_dependency_is_pinned_and_no_address_is_recorded():
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {re.sub("[-_.]+", "-", line.split("==")[0]).lower() for line in text.splitlines()}
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w-]+", requirement).group().lower() for requirement in wanted}
    assert names <= pinned
    assert "//" not in text
    assert not list(ROOT.glob("*.lock"))


def test_the_generated_documentation_is_fresh():
    subprocess.run([sys.executable, "docs/refresh.py", "--check"], cwd=ROOT, check=True)


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in ROOT.glob("docs/*.md"))])
def test_links_between_pages_lead_somewhere(page):
    path = ROOT / page if (ROOT / page).is_file() else ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), f"{page} links to {target}"
