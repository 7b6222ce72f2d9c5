"""Fixtures for all tests: a home of their own, small data sets, a trained run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from diascope.datasets import malaria

if TYPE_CHECKING:
    from diascope.training.run import Run

SMALL = ["size_px=16", "max_epochs=2", "batch_size=16", "precision=fp32", "threads=1"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Let one thread compute: two take longer for networks and batches as small as these."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut():
    """Let no file wait for the disk: tests write thousands, and no power cut is to be survived."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diascope.system.files.os.fsync", lambda _number: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _only_what_is_asked_for():
    """Corrupt no images without being asked, and take no time to measure the speed of a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diascope.evaluation.robustness.AFFORDABLE", 0)
        patch.setattr("diascope.bundle.cost.MEASURED_SECONDS", 0.0)
        patch.setattr("diascope.bundle.cost.FEWEST_ROUNDS", 1)
        yield


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    """Give every test an empty DIASCOPE_HOME of its own."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DIASCOPE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def cells(tmp_path_factory) -> Path:
    """Return a miniature of the unpacked malaria folder: 12 patients, 72 cells."""
    folder = tmp_path_factory.mktemp("cells")
    malaria.fake(folder)
    return folder


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory, cells) -> Path:
    """Prepare the miniature once; return the home that holds it, not to be changed."""
    from diascope.steps.prepare import prepare

    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIASCOPE_HOME", str(folder / "home"))
        prepare("malaria", source=cells)
    return folder / "home"


@pytest.fixture(scope="session")
def train_once(tmp_path_factory, prepared_once) -> Callable[..., Path]:
    """Return a function that trains once: a folder with ``home`` and ``run``, not to be changed."""
    from diascope.steps.train import train

    trained: dict[str, Path] = {}

    def once(**options: Any) -> Path:
        options = {"settings": SMALL, **options}
        key = repr(sorted(options.items()))
        if key not in trained:
            folder = tmp_path_factory.mktemp("trained")
            shutil.copytree(prepared_once, folder / "home")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DIASCOPE_HOME", str(folder / "home"))
                train("malaria", out=folder / "run", **options)
            trained[key] = folder
        return trained[key]

    return once


@pytest.fixture(scope="session")
def evaluated_once(tmp_path_factory, train_once) -> Path:
    """Judge the trained network on its test images once; return a folder as `train_once` does."""
    from diascope.steps.evaluate import evaluate

    folder = shutil.copytree(train_once(), tmp_path_factory.mktemp("evaluated") / "copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIASCOPE_HOME", str(folder / "home"))
        evaluate(folder / "run")
    return folder


@pytest.fixture
def prepared(home, prepared_once):
    """Copy the prepared miniature into the test's own home."""
    from diascope.data.prepared import load_prepared

    shutil.copytree(prepared_once, home, dirs_exist_ok=True)
    return load_prepared("malaria")


@pytest.fixture
def copy_of(home, tmp_path) -> Callable[[Path, str], Run]:
    """Return a function that copies what `train_once` made, its home into that of the test."""

    def copy(once: Path, name: str) -> Run:
        from diascope.training.run import Run

        shutil.copytree(once / "home", home, dirs_exist_ok=True)
        return Run(shutil.copytree(once / "run", tmp_path / name))

    return copy


@pytest.fixture
def trained(copy_of, train_once):
    """Copy a compact network that learned from the miniature for two epochs."""
    return copy_of(train_once(), "run")


@pytest.fixture
def evaluated(copy_of, evaluated_once):
    """Copy the same, judged on its test images."""
    return copy_of(evaluated_once, "run")


@pytest.fixture
def cross_validated(copy_of, train_once):
    """Copy a cross-validation of three folds."""
    return copy_of(train_once(folds=3), "folds")


@pytest.fixture
def ensemble(copy_of, train_once):
    """Copy an ensemble of two members."""
    return copy_of(train_once(members=2), "members")


@pytest.fixture
def call_here(home, tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in an empty folder, and in this process.

    A process of its own takes some seconds, most of them to load torch.
    """
    from diascope.cli.app import main

    monkeypatch.chdir(tmp_path)
    for name, value in (("COLUMNS", "200"), ("OMP_WAIT_POLICY", "passive")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    monkeypatch.setattr("diascope.cli.app.keep_freed_memory", lambda: None)  # of the whole process

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["diascope", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=said.out, stderr=said.err)

    return run


@pytest.fixture(scope="session")
def malaria_source() -> Path:
    """Return the folder of the real malaria files, or skip."""
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    return Path(folder) / "malaria"
