"""Draw folders and tables of images as users have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("benign", "malign")


def picture(seed: int, *, is_bright: bool = False, grey: bool = True) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(40, 140, (20, 22) if grey else (20, 22, 3), dtype=np.uint8)
    if is_bright:
        pixels[4:12, 4:12] = 230
    return Image.fromarray(pixels)


def draw_folder(root: Path, *, n_patients: int = 12, pattern="{label}/P{patient:02}_{n}.png"):
    """Draw two images a class for every patient, grey."""
    for patient in range(n_patients):
        for n in range(4):
            label = CLASSES[n % 2]
            path = root / pattern.format(label=label, patient=patient, n=n)
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(10 * patient + n, is_bright=n % 2 == 1).save(path)
    return root


def draw_table(root: Path, *, separator=",", header="path,label,group,age", backslashes=False):
    """Draw images in one folder, and a table of them beside it."""
    draw_folder(root, pattern="images/P{patient:02}_{n}.png")
    lines = [header]
    for path in sorted(root.rglob("*.png")):
        name = path.relative_to(root).as_posix()
        if backslashes:
            name = name.replace("/", "\\")
        patient, n = path.stem.split("_")
        lines.append(",".join([name, CLASSES[int(n) % 2], patient, f"{40 + int(n)}"]))
    table = root / "table.csv"
    table.write_text("\n".join(lines).replace(",", separator) + "\n", encoding="utf-8")
    return table
