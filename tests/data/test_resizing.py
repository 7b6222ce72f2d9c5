"""Resized pixels are the same under every version of Pillow, the oldest allowed to the newest."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from diascope.data.image import fit_image

ROOT = Path(__file__).parent.parent.parent
SHAPES = [(100, 200), (200, 100), (17, 31), (500, 1), (1, 500), (1, 5000), (450, 600), (151, 139)]
GOLDEN = {
    "200x100 pad": "e3c62795d7ed107b",
    "200x100 stretch": "488209b95bf21d32",
    "100x200 pad": "6a06a45e8327e2e7",
    "100x200 stretch": "63bd60184f9cd09d",
    "31x17 pad": "e3a56d45bdf6fd4e",
    "31x17 stretch": "191e13dff33ff84c",
    "1x500 pad": "9c12de119e8fc849",
    "1x500 stretch": "a820a8c88d5b62a5",
    "500x1 pad": "7dec328994f4a829",
    "500x1 stretch": "6cfefd980ad33e9c",
    "5000x1 pad": "df71234fa28ea1a1",
    "5000x1 stretch": "4963512871d4cfd4",
    "600x450 pad": "9ee5f127298ea8cf",
    "600x450 stretch": "7ebee88b28dd3a41",
    "139x151 pad": "bd750114a06265ab",
    "139x151 stretch": "a1753d2b2f4cbd38",
}
PRINT = "import json; from test_resizing import digests; print(json.dumps(digests()))"


def digests():
    """Return a digest of each shape in each fit."""
    random = np.random.default_rng(7)
    found = {}
    for shape in SHAPES:
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        for fit in ("pad", "stretch"):
            content = b"".join(fit_image(image, size, fit=fit).tobytes() for size in (64, 128))
            name = f"{shape[1]}x{shape[0]} {fit}"
            found[name] = hashlib.sha256(content).hexdigest()[:16]
    return found


def test_odd_shapes_give_the_golden_pixels():
    assert digests() == GOLDEN


@pytest.mark.slow
def test_the_oldest_pillow_gives_the_golden_pixels(tmp_path):
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (oldest,) = (re.fullmatch(r"pillow>=([\d.]+)", one)[1] for one in wanted if "pillow" in one)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path]
    try:
        subprocess.run([*pip, f"pillow=={oldest}"], check=True, timeout=120, capture_output=True)
    except subprocess.SubprocessError:
        pytest.skip(f"Pillow {oldest} cannot be installed here")
    code = f"import sys, PIL; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]}; {PRINT}"
    told = subprocess.run(
        [sys.executable, "-c", code + "; print(PIL.__version__)"],
        env={"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert told[1].startswith(oldest)
    assert json.loads(told[0]) == GOLDEN
