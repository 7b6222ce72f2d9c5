"""The commit of diascope: as git describes the checkout, or unknown."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from diascope.system.machine import commit


@pytest.fixture
def checkout(tmp_path):
    """Return a repository with one commit."""
    (tmp_path / "a.py").write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init"], ["add", "a.py"], [*who, "commit", "--no-gpg-sign", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, capture_output=True, check=True)
    return tmp_path


def test_the_commit_is_the_one_that_is_checked_out_and_edits_show(checkout):
    head = ["git", "rev-parse", "HEAD"]
    known = subprocess.run(head, cwd=checkout, capture_output=True, text=True, check=True).stdout
    assert commit(checkout) == known.strip()
    (checkout / "a.py").write_text("2")
    assert commit(checkout) == f"{known.strip()}-dirty"


def test_the_commit_of_a_repository_further_up_is_not_taken(checkout):
    package = checkout / "site-packages"
    package.mkdir()
    assert commit(package) == "unknown"


def test_the_commit_is_unknown_without_git_or_in_a_broken_repository(checkout, monkeypatch):
    shutil.rmtree(checkout / ".git" / "objects")
    assert commit(checkout) == "unknown"
    monkeypatch.setenv("PATH", "")
    assert commit(checkout) == "unknown"
