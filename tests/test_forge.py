"""What a public forge reads: workflows, templates for issues, the metadata of the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import diascope

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))


def jobs():
    return [
        job
        for path in WORKFLOWS
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
    ]


def commands():
    return [step["run"].split() for job in jobs() for step in job["steps"] if "run" in step]


def test_the_workflow_runs_the_commands_of_the_project_and_nothing_else():
    assert commands()
    for first, *words in commands():
        if first == "make":
            targets = [word for word in words if "=" not in word]
            assert targets
            assert set(targets) <= TARGETS, targets
        else:
            assert first == ".ci/run"
            assert not words


def test_ci_runs_targets_that_exist_and_all_kinds_of_tests():
    called = re.findall(r"^make (.+)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    targets = {word for line in called for word in line.split()}
    assert {"check", "test", "slow", "site"} <= targets <= TARGETS
    assert [".ci/run"] in commands()


def test_the_workflow_covers_three_systems_and_every_python_of_the_classifiers():
    (matrix,) = [job["strategy"]["matrix"] for job in jobs() if "strategy" in job]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    versions = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one}
    assert set(matrix["python"]) == versions
    assert (
        f">={min(versions, key=lambda text: int(text.partition('.')[2]))}"
        == (PROJECT["requires-python"])
    )


def test_the_workflow_may_only_read():
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text("utf-8"))["permissions"] == {"contents": "read"}
        assert "secrets." not in path.read_text("utf-8")


def test_there_are_templates_for_an_error_a_wish_and_a_wrong_number():
    assert [path.stem for path in TEMPLATES] == ["bug", "feature", "wrong-number"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_a_head_that_a_forge_reads(path):
    _, head, text = path.read_text("utf-8").split("---\n", 2)
    assert {"name", "about", "labels"} <= yaml.safe_load(head).keys()
    assert "**" in text


def test_the_addresses_of_the_project_are_placeholders_and_said_to_be_such():
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    (head,) = [line for line in lines if line.startswith("[project.urls]")]
    are_placeholders = {"//example.org/" in url for url in PROJECT["urls"].values()}
    assert are_placeholders == {"placeholder" in head}
    assert {"Homepage", "Source", "Issues", "Changelog"} <= PROJECT["urls"].keys()


def test_the_package_is_typed_as_its_classifier_says():
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (ROOT / "diascope" / "py.typed").is_file()


def test_every_public_name_is_on_the_page_of_the_api():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    named = set(re.findall(r"^\.\. auto(?:function|class):: diascope\.(\w+)$", page, re.MULTILINE))
    assert named == set(diascope.__all__)


def test_the_first_screen_says_what_diascope_does_not_do():
    screen = (ROOT / "README.md").read_text("utf-8").partition("![")[0]
    assert len(screen.splitlines()) <= 25
    for word in ("not a medical device", "several labels", "3-D", "detection", "segmentation"):
        assert word in screen, word
