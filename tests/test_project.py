"""The project's own promises: changelog, version, licence, documentation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def check_version(version, changelog):
    """Check that the version moves with the changes since the last one, and as far as it must."""
    first, *others = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    assert first.startswith("Unreleased\n")
    now, last = Version(version), Version(others[0].split()[0])
    if "\n- " not in first:
        assert now == last
        return
    assert now > last
    assert now.is_devrelease
    if "### Changed numbers" in first:
        assert now.release[:2] > last.release[:2]


def test_version_changelog_and_citation_agree():
    check_version(PROJECT["version"], (ROOT / "CHANGELOG.md").read_text("utf-8"))
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


@pytest.mark.parametrize(
    ("version", "unreleased", "is_right"),
    [
        ("1.2.0", "", True),
        ("1.3.0.dev0", "", False),
        ("1.2.0", "### Added\n\n- It.\n", False),
        ("1.2.1.dev0", "### Added\n\n- It.\n", True),
        ("1.2.1.dev0", "### Changed numbers\n\n- It.\n", False),
        ("1.3.0.dev0", "### Changed numbers\n\n- It.\n", True),
        ("1.3.0", "### Changed numbers\n\n- It.\n", False),
    ],
)
def test_the_version_moves_when_numbers_move(version, unreleased, is_right):
    changelog = f"# Changelog\n\n## Unreleased\n\n{unreleased}\n## 1.2.0 - 2026-01-01\n\n- Old.\n"
    if is_right:
        check_version(version, changelog)
    else:
        with pytest.raises(AssertionError):
            check_version(version, changelog)


def normal(name):
    """Return the name of a package as the index compares it."""
    return re.sub("[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned_and_no_address_is_recorded():
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {normal(line.split("==")[0]) for line in text.splitlines()}
    wanted = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    names = {normal(re.match(r"[\w-]+", requirement).group()) for requirement in wanted}
    assert names - {"diascope"} <= pinned
    assert "//" not in text
    assert not list(ROOT.glob("*.lock"))


def imported(folder):
    """Return the packages that the code below a folder imports."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("folder", ["diascope", "tests"])
def test_every_package_that_is_imported_is_declared(folder):
    wanted = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    declared = {normal(re.match(r"[\w-]+", requirement).group()) for requirement in wanted}
    ours = {path.stem for path in (*ROOT.iterdir(), *ROOT.glob("tests/**/*"))}
    distributions = packages_distributions()
    unknown = imported(ROOT / folder) - set(sys.stdlib_module_names) - ours
    undeclared = {
        name
        for name in unknown
        if not declared & {normal(part) for part in distributions.get(name, [name])}
    }
    assert not undeclared


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("docs/refresh.py", marks=pytest.mark.slow),
        "examples/notebooks.py",
        "benchmarks/page.py",
    ],
)
def test_what_the_pages_take_from_code_and_results_is_fresh(script):
    subprocess.run([sys.executable, script, "--check"], cwd=ROOT, check=True)


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/**/*.md")]


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]*)(?:#([^):]*))?\)", page.read_text("utf-8"))
    for file, anchor in links:
        target = page.parent / file if file else page
        assert target.exists(), f"{page} links to {file}"
        assert not anchor or anchor in anchors(target), f"{page} links to {file}#{anchor}"


def test_every_file_that_contributing_names_exists():
    named = re.findall(r"`([\w/]+/[\w]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert len(named) >= 30
    for name in named:
        if not name.endswith("/x.py"):
            assert (ROOT / name).exists() or (ROOT / "diascope" / name).exists(), name


def test_every_function_that_a_page_names_exists():
    pages = "".join(page.read_text("utf-8") for page in ROOT.glob("docs/*.md"))
    named = set(re.findall(r"`diascope\.([a-z_]+(?:\.[a-z_]+)+)`", pages))
    assert named
    for name in named:
        if (ROOT / "diascope" / f"{name.replace('.', '/')}.py").exists():
            continue
        module, _, function = name.rpartition(".")
        source = (ROOT / "diascope" / f"{module.replace('.', '/')}.py").read_text("utf-8")
        assert f"def {function}(" in source, name


def test_no_page_and_no_measurement_names_a_path_of_one_machine():
    for page in [*PAGES, ROOT / "benchmarks" / "results.csv"]:
        found = re.search(r"/(?:tmp|home|work|root)/\S+", page.read_text("utf-8"))
        assert found is None, f"{page}: {found}"
