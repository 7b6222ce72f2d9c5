"""The commit of diascope: read from git's files, without git."""

from __future__ import annotations

import pytest

from diascope.checkout import commit

ONE, TWO = "1" * 40, "2" * 40


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({".git/HEAD": f"{ONE}\n"}, ONE),
        ({".git/HEAD": "ref: refs/heads/a/b\n", ".git/refs/heads/a/b": f"{ONE}\n"}, ONE),
        (
            {
                ".git/HEAD": "ref: refs/heads/main\n",
                ".git/packed-refs": f"# packed\n{TWO} refs/other/main\n{ONE} refs/heads/main\n",
            },
            ONE,
        ),
        (
            {
                ".git": "gitdir: all/worktrees/one\n",
                "all/worktrees/one/HEAD": "ref: refs/heads/one\n",
                "all/worktrees/one/commondir": "../..\n",
                "all/refs/heads/one": f"{ONE}\n",
            },
            ONE,
        ),
        ({}, "unknown"),
        ({".git/HEAD": ""}, "unknown"),
        ({".git/HEAD": "ref: refs/heads/main\n"}, "unknown"),
        ({".git/HEAD": "ref: refs/../../secret\n", "secret": f"{ONE}\n"}, "unknown"),
        ({".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": "words\n"}, "unknown"),
    ],
)
def test_the_commit_is_found_or_unknown(tmp_path, files, found):
    assert commit(write(tmp_path, files)) == found
