"""Named pipes and devices where a file should be: said at once, and nothing is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import run_folders
from torch import nn
from typer.testing import CliRunner

from diascope.bundle.arrays import load_arrays
from diascope.bundle.card import Card
from diascope.bundle.image_tables import paths_in_table
from diascope.bundle.prediction_table import read_predictions
from diascope.bundle.predictions import Predictions
from diascope.cli.app import app
from diascope.data.answers import read_answers_file
from diascope.data.sources.tables import open_table
from diascope.data.sources.zipped import ZipFiles
from diascope.errors import DiascopeError
from diascope.models.weights import read_weights
from diascope.steps.export import _model_card as card_to_export
from diascope.steps.serve import _model_card as card_to_serve
from diascope.system.files import file_digest
from diascope.system.reading import OddFileError, read_ordinary
from diascope.system.sealed import read_named, read_sealed
from diascope.training.checkpoint import load_checkpoint
from diascope.training.recipe import find_recipe

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")

SECONDS = 20  # that a machine with much else to do may need
PARTS = ("golden", "ood", "drift_reference", "cases")
BUNDLE_FILES = ("model.safetensors", *(f"{name}.safetensors" for name in PARTS))


@pytest.fixture(autouse=True)
def _not_waited_for():
    """Fail where something is waited for."""

    def stop(*_: object) -> None:
        raise AssertionError("it was waited for")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return "a named pipe, not a file"


def device(path: Path) -> str:
    path.symlink_to("/dev/null")  # as /dev/zero, but that a test that fails takes no memory
    return "a device, not a file"


ODD = pytest.mark.parametrize("make", [pipe, device])


def load_of_bundle(path: Path) -> object:
    return load_arrays(path, "0" * 64, names=())


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "arrays": ("a.safetensors", load_of_bundle),
    "sealed": ("a.json", lambda path: read_sealed(path, fix="Restore it.")),
    "named": ("a.parquet", lambda path: read_named(path, "0" * 64, fix="Restore it.")),
    "predictions": ("test.parquet", Predictions.load),
    "csv": ("a.csv", open_table),
    "excel": ("a.xlsx", open_table),
    "parquet": ("a.parquet", open_table),
    "paths": ("a.csv", lambda path: list(paths_in_table(path))),
    "answers": ("about.yaml", lambda path: read_answers_file(path, fix="Write a list.")),
    "recipe": ("mine.yaml", lambda path: find_recipe(str(path))),
    "weights": ("a.pth", read_weights),
    "archive": ("a.zip", ZipFiles),
}


@ODD
@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_what_is_not_a_file(tmp_path, name, make):
    file_name, read = READERS[name]
    words = make(tmp_path / file_name)
    with pytest.raises(DiascopeError, match=words) as raised:
        read(tmp_path / file_name)
    assert file_name in str(raised.value)


@ODD
def test_a_checkpoint_that_is_not_a_file_is_damaged(tmp_path, make):
    make(tmp_path / "last.safetensors")
    with pytest.raises(DiascopeError, match="is missing or damaged"):
        load_checkpoint(tmp_path / "last.safetensors", nn.Linear(1, 1), None)


@ODD
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_predictions_to_monitor_that_are_not_a_file_are_refused(tmp_path, suffix, make):
    run_folders.bundle(("a", "b"), "b").save(tmp_path)
    words = make(tmp_path / f"march{suffix}")
    with pytest.raises(DiascopeError, match=words):
        read_predictions(tmp_path / f"march{suffix}", Card.load(tmp_path))


@ODD
def test_a_model_card_that_is_not_a_file_is_left_out(tmp_path, make):
    make(tmp_path / "README.md")
    assert card_to_export(tmp_path) == card_to_serve(tmp_path) == ""


@ODD
@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_predict_refuses_a_bundle_with_something_else_in_the_place_of_a_file(tmp_path, name, make):
    folder = tmp_path / "bundle"
    run_folders.bundle(("a", "b"), "b").save(folder)
    card = Card.load(folder)
    digests = {f"{part}_sha256": "0" * 64 for part in PARTS if f"{part}.safetensors" == name}
    card.model_copy(update=digests).save(folder)
    (folder / name).unlink(missing_ok=True)
    words = make(folder / name)
    result = CliRunner().invoke(app, ["predict", str(folder), str(tmp_path / "a.png")])
    assert isinstance(result.exception, DiascopeError)
    assert name in str(result.exception)
    assert words in str(result.exception)
    assert "do: Restore it from a copy" in str(result.exception)


def test_no_more_of_a_file_is_read_than_it_says_it_has(tmp_path):
    (tmp_path / "long").write_bytes(b"abc")
    assert read_ordinary(tmp_path / "long", most_bytes=3) == b"abc"
    for read in (read_ordinary, file_digest):
        with pytest.raises(OddFileError, match="over 2 bytes long"):
            read(tmp_path / "long", most_bytes=2)
    endless = Path("/proc/self/pagemap")  # 256 GB, and empty by its own account
    if endless.is_file():
        assert read_ordinary(endless, most_bytes=100) == b""
        assert file_digest(endless) == file_digest(Path("/proc/self/status"))


BOUNDED = """
import resource, sys
from diascope.__main__ import main
resource.setrlimit(resource.RLIMIT_AS, (6 << 30,) * 2)
sys.argv = ["diascope", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors"])
def test_a_device_without_an_end_in_a_bundle_takes_neither_memory_nor_time(tmp_path, name):
    signal.alarm(0)  # a program that is started takes longer
    run_folders.bundle(("a", "b"), "b").save(tmp_path)
    if name == "golden.safetensors":
        Card.load(tmp_path).model_copy(update={"golden_sha256": "0" * 64}).save(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to("/dev/zero")
    command = [sys.executable, "-c", BOUNDED, "predict", str(tmp_path), str(tmp_path / "a.png")]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "a device, not a file" in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert time.monotonic() - began < 240
