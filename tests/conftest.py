"""Fixtures for all tests: a home of their own, small data sets, a trained run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diascope.datasets import malaria

SMALL = ["size_px=16", "max_epochs=2", "batch_size=16", "precision=fp32"]


@pytest.fixture(scope="session", autouse=True)
def _two_threads():
    import torch

    torch.set_num_threads(2)


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


@pytest.fixture
def prepared(home, cells):
    """Prepare the miniature."""
    from diascope.steps.prepare import prepare

    return prepare("malaria", source=cells)


@pytest.fixture
def trained(prepared, tmp_path):
    """Train the compact network on the miniature for two epochs."""
    from diascope.steps.train import train

    return train("malaria", settings=SMALL, out=tmp_path / "run")


@pytest.fixture(scope="session")
def malaria_source() -> Path:
    """Return the folder of the real malaria files, or skip."""
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    return Path(folder) / "malaria"
