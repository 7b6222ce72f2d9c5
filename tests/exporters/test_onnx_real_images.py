"""A thousand real images have the same pixels and answers in ONNX, without torch and diascope."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn.networks import draw_bundle, draw_network

from diascope.data.image import decode_image
from diascope.data.sample import evenly
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import list_images
from diascope.exporters import onnx as exporter
from diascope.exporters.spec import Sample

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_onnx.py"
WITHOUT = """
import sys, runpy
sys.modules.update(dict.fromkeys(["torch", "diascope", "onnx", "timm"]))  # cannot be imported
runpy.run_path(sys.argv.pop(1))
"""
PROBLEMS = {  # archive, images that are taken, network, side of its input and how it is filled
    "malaria": ("malaria/cell_images.zip", 400, "compact", 64, "pad"),
    "ham10000": ("ham10000/ISIC2018_Task3_Training_Input.zip", 200, "timm:resnet18", 96, "stretch"),
    "idc": ("idc/IDC_regular_ps50_idx5.zip", 400, "compact", 50, "pad"),
}


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_real_images_are_answered_as_by_the_bundle(problem, tmp_path):
    archive, n_images, model, side, fit = PROBLEMS[problem]
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    with open_files(Path(folder) / archive) as files:
        names = list_images(files)[0]
        chosen = [names[row] for row in evenly(len(names), n_images).tolist()]
        contents = [files.read(name) for name in chosen]
    paths = [tmp_path / f"{number}{Path(name).suffix}" for number, name in enumerate(chosen)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    drawn = draw_bundle(
        draw_network(model, size_px=side), size_px=side, model=model, views=4, temperature=0.8
    )
    bundle = replace(drawn, card=drawn.card.model_copy(update={"fit": fit}))
    samples = [
        Sample(path.name, decode_image(content))
        for path, content in zip(paths, contents, strict=True)
    ]
    exported = exporter.export(bundle, tmp_path / "onnx", samples, "")
    assert f"{n_images} images" in exported.says[0]
    words = [sys.executable, "-c", WITHOUT, EXAMPLE, tmp_path / "onnx", *paths]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rows = [line.rsplit(maxsplit=4) for line in said.splitlines()]
    assert [row[0] for row in rows] == list(map(str, paths))
    found = np.array([row[2:] for row in rows], dtype=np.float64)
    wanted = bundle.predict_proba(paths)
    assert np.abs(found - wanted).max() < 1e-5
    assert [row[1] for row in rows] == [bundle.classes[k] for k in bundle.decide(wanted)]
