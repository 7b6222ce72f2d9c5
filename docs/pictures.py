"""Draw the pictures of the stories in examples/ anew: ``python docs/pictures.py DATA``.

DATA holds the folders malaria, ham10000 and idc with the official files. The pictures are charts of
counts: they show no image and no name of anybody.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import diascope

DOCS = Path(__file__).parent
PICTURES = {  # the story: its data set, the folder of that, and the plate of `diascope show`
    "malaria": ("malaria", "malaria", "groups"),
    "skin_lesions": ("ham10000", "ham10000", "balance"),
    "breast_tissue": ("breast_idc", "idc", "groups"),
}


def main(source: str) -> None:
    """Prepare each data set in a folder of its own, and keep one picture of it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DIASCOPE_HOME"] = folder
        for story, (data, place, plate) in PICTURES.items():
            diascope.prepare(data, source=Path(source, place), near_duplicates=False)
            page = diascope.show(data, out=Path(folder, "looks", data))
            shutil.copyfile(page.parent / f"{plate}.png", DOCS / f"story_{story}.png")


if __name__ == "__main__":
    main(sys.argv[1])
