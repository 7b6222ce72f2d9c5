"""A training that is killed again and again ends with the bytes of one that was left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL

KILLS = 10
EPOCHS = 200  # more than can be done between all the kills
WAITED_SECONDS = 240


def start(out: Path) -> subprocess.Popen:
    settings = [setting for setting in SMALL if not setting.startswith("max_epochs")]
    words = [f"--set={setting}" for setting in (*settings, f"max_epochs={EPOCHS}")]
    return subprocess.Popen(
        [sys.executable, "-m", "diascope", "train", "malaria", "--out", str(out), *words],
        env=os.environ | {"COLUMNS": "200"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def epochs_in(out: Path) -> int:
    log = out / "log.jsonl"
    return len(log.read_text("utf-8").splitlines()) if log.is_file() else 0


def wait_for_an_epoch(out: Path, process: subprocess.Popen, before: int) -> None:
    deadline = time.monotonic() + WAITED_SECONDS
    while epochs_in(out) == before:
        check_runs(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def go_on(out: Path, process: subprocess.Popen, seconds: float) -> None:
    """Let a training go on for so long; on a fast machine only for its part of the epochs."""
    until, most = time.monotonic() + seconds, epochs_in(out) + EPOCHS // (KILLS + 2)
    while time.monotonic() < until and epochs_in(out) < most:
        check_runs(process)
        time.sleep(0.002)


def check_runs(process: subprocess.Popen) -> None:
    assert process.poll() is None, process.communicate()


def results(out: Path) -> dict[str, bytes]:
    names = ("bundle/model.safetensors", "bundle/card.json", "predictions/val.parquet")
    return {name: (out / name).read_bytes() for name in names}


@pytest.mark.slow
def test_kills_at_random_moments_do_not_change_a_byte(prepared, tmp_path):
    rng = np.random.default_rng(0)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for number in range(KILLS):
        before, process = epochs_in(killed), start(killed)
        if number % 5:  # every fifth dies while it still begins
            wait_for_an_epoch(killed, process, before)
        go_on(killed, process, rng.uniform(0, 0.4))
        process.kill()
        process.communicate()
    assert 0 < epochs_in(killed) < EPOCHS
    for out in (killed, whole):
        process = start(out)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert results(killed) == results(whole)
