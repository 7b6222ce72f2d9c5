"""Predict with an exported bundle; onnxruntime, numpy and Pillow are all that is needed.

``diascope export RUN --format onnx`` writes the folder, and then::

    python examples/read_onnx.py FOLDER IMAGE...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path: str) -> np.ndarray:
    """Return an image as the graph takes it: uint8 (H, W, 3), RGB, upright."""
    with Image.open(path) as opened:
        is_plain = opened.mode in ("L", "RGB") and "transparency" not in opened.info
        bits = max(getattr(opened, "tag_v2", {}).get(258, (8,)))  # of a TIFF
        if opened.format == "PNG":
            bits = Path(path).read_bytes()[24]
        if not is_plain or bits > 8:  # what diascope does with these is in the README of the folder
            raise SystemExit(f"{path} is not grey or RGB of 8 bits without transparency.")
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))


folder, *paths = sys.argv[1:]
session = onnxruntime.InferenceSession(Path(folder) / "image.onnx")
facts = session.get_modelmeta().custom_metadata_map
classes = json.loads(facts["diascope.classes"])
if "diascope.value_range" in facts:
    print("The network is for 16-bit files, scaled from", facts["diascope.value_range"])
if facts.get("diascope.window", "file") != "file":
    print("DICOM files have to be shown by the window rule", facts["diascope.window"])
for path in paths:
    outputs = ["probabilities", "predicted"]
    probabilities, predicted = session.run(outputs, {"image": read(path)})
    print(path, classes[predicted[0]], *(f"{value:.6f}" for value in probabilities[0]))
