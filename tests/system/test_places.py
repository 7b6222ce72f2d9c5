"""Addresses of object stores where only paths are taken: refused, and no folder `s3:` is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from diascope.errors import SettingsError
from diascope.steps.tune import tune
from diascope.system.places import on_disk


def test_paths_are_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("runs/cells", "C:/runs/cells", r"C:\runs", "a:b", "/tmp/s3:/x", "s3:"):  # noqa: S108
        assert on_disk(path) == Path(path)
    (tmp_path / "s3:").mkdir()
    assert on_disk("s3:/there") == Path("s3:/there")


@pytest.mark.parametrize("place", ["s3://me:secret@bucket/run", Path("s3://me:secret@bucket/run")])
def test_an_address_is_refused_without_its_secrets(place):
    with pytest.raises(SettingsError, match="only a path on this machine") as refused:
        on_disk(place)
    assert refused.value.where == "s3://bucket/run"


def test_no_command_makes_a_folder_of_an_address(call_here, tmp_path):
    address = "s3://bucket/x"
    for command in (
        ("train", "malaria", "--out", address),
        ("tune", "malaria", "--out", address),
        ("evaluate", address),
        ("predict", address, "a.png"),
        ("explain", "bundle", "a.png", "--out", address),
        ("demo", "--out", address),
        ("serve", address),
    ):
        done = call_here(*command)
        assert done.returncode == 2, command
        assert "only a path on this machine is taken" in done.stderr, (command, done.stderr)
        assert "s3://bucket/x" in done.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingsError, match="only a path on this machine"):
        tune("malaria", out=address)
