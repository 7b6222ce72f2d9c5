"""What is spilled to the disk is removed, after success, after an error, and after a kill."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from diascope.errors import SourceError
from diascope.system.spill import STALE_SECONDS, spill_folder, spilling


def fail_in_a_folder() -> None:
    with spill_folder("two") as folder:
        (folder / "a").write_bytes(b"1")
        raise ZeroDivisionError


def test_a_folder_is_removed_after_success_and_after_an_error(home):
    with spill_folder("one") as folder:
        (folder / "a").write_bytes(b"1")
        assert folder.is_relative_to(home)
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError):
        fail_in_a_folder()
    assert list((home / "spill").iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_its_age(home):
    old, young = home / "spill" / "prepare-old", home / "spill" / "prepare-young"
    long_ago = time.time() - STALE_SECONDS - 60
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "part").touch()
        os.utime(folder, (long_ago, long_ago))
    os.utime(old / "part", (long_ago, long_ago))
    with spill_folder("next"):
        assert young.exists()  # somebody wrote into it not long ago
        assert not old.exists()


def test_what_a_process_works_in_stays_however_old_it_is(home):
    long_ago = time.time() - STALE_SECONDS - 60
    with spill_folder("slow") as folder:
        (folder / "part").touch()
        for path in (*folder.iterdir(), folder):
            os.utime(path, (long_ago, long_ago))
        with spill_folder("next"):
            assert (folder / "part").exists()


def test_a_folder_that_cannot_be_made_is_one_message(home):
    home.mkdir(exist_ok=True)
    (home / "spill").write_text("a file")
    with pytest.raises(SourceError, match="could not be written"), spill_folder("one"):
        pass


def test_what_the_disk_refuses_is_one_message(tmp_path):
    with pytest.raises(SourceError, match="No space left") as raised, spilling(tmp_path):
        Path("/dev/full").write_bytes(b"1")
    assert "DIASCOPE_HOME" in str(raised.value)
