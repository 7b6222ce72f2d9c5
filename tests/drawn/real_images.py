"""A thousand real images of the three reference problems, where they are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diascope.data.sample import evenly
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import list_images

ARCHIVES = {  # and how many images of it are taken
    "malaria": ("malaria/cell_images.zip", 400),
    "ham10000": ("ham10000/ISIC2018_Task3_Training_Input.zip", 200),
    "idc": ("idc/IDC_regular_ps50_idx5.zip", 400),
}


def real_images(problem: str) -> dict[str, bytes]:
    """Return files by a short name with the suffix of their format, or skip the test."""
    archive, n_images = ARCHIVES[problem]
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    with open_files(Path(folder) / archive) as files:
        names = list_images(files)[0]
        chosen = [names[row] for row in evenly(len(names), n_images).tolist()]
        return {f"{n:03}{Path(name).suffix}": files.read(name) for n, name in enumerate(chosen)}


def write_all(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write files and return their paths."""
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths
