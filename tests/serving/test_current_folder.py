"""A folder of images that somebody sent may hold files that have the names of modules."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from drawn.run_folders import BINARY, bundle
from PIL import Image

# As it is installed: `python -m` lets even the command itself import from the current folder.
DIASCOPE = shutil.which("diascope", path=str(Path(sys.executable).parent))
MODULES = {*sys.stdlib_module_names, "diascope", "numpy", "PIL", "torch", "uvicorn"}

pytestmark = pytest.mark.skipif(DIASCOPE is None, reason="the command is not installed")


@contextmanager
def hostile_folder(folder):
    """Yield a folder of modules that leave a mark where they are imported; check there is none."""
    place = folder / "images"
    place.mkdir()
    for name in MODULES:
        (place / f"{name}.py").write_text("open(__file__ + '.was-imported', 'w')")
    Image.new("RGB", (30, 30)).save(place / "a.png")
    bundle(BINARY, BINARY[1]).save(folder / "bundle")
    yield place
    assert not list(place.glob("*.was-imported"))


def test_predict_imports_nothing_from_the_current_folder(tmp_path):
    with hostile_folder(tmp_path) as place:
        command = [DIASCOPE, "predict", tmp_path / "bundle", "a.png"]
        subprocess.run(command, cwd=place, check=True, timeout=120)


@pytest.mark.slow
def test_serve_imports_nothing_from_the_current_folder(tmp_path):
    with hostile_folder(tmp_path) as place:
        command = [DIASCOPE, "serve", tmp_path / "bundle", "--workers", "2", "--port", "0"]
        process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True)
        try:
            address = process.stdout.readline().strip()
            sent = io.BytesIO((place / "a.png").read_bytes())
            assert requests.post(f"{address}v1/predict", data=sent, timeout=120).ok
        finally:
            process.terminate()
            process.communicate(timeout=60)


DECODE = """
from pathlib import Path
from diascope.bundle.image_files import decoders
from diascope.data.pixels import Pixels
with decoders(1) as decode:
    assert decode(Path("a.png").read_bytes(), Pixels(16, "pad", "black")).shape == (16, 16, 3)
"""


def test_programs_that_use_the_package_decode_without_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with hostile_folder(tmp_path) as place:
        command = [sys.executable, "-P", "-c", DECODE]  # of itself alone, and no child's
        subprocess.run(command, cwd=place, check=True, timeout=120)
