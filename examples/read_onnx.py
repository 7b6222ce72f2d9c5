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
        if opened.mode not in ("L", "RGB"):  # what to do with alpha or 16 bits is in the README
            raise SystemExit(f"{path} has the mode {opened.mode}, and not 8 bits without alpha.")
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))


folder, *paths = sys.argv[1:]
session = onnxruntime.InferenceSession(Path(folder) / "image.onnx")
classes = json.loads(session.get_modelmeta().custom_metadata_map["diascope.classes"])
for path in paths:
    outputs = ["probabilities", "predicted"]
    probabilities, predicted = session.run(outputs, {"image": read(path)})
    print(path, classes[predicted[0]], *(f"{value:.6f}" for value in probabilities[0]))
