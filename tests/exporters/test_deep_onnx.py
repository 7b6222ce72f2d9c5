"""Files of 16 bits or with alpha, and the ONNX export: they are refused, and the range is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn.deep_rgb import png_of, tiff_of
from drawn.networks import draw_bundle, draw_network
from PIL import Image

from diascope.exporters import onnx as onnx_exporter
from diascope.exporters.spec import Sample

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_onnx.py"


@pytest.mark.parametrize("kind", ["alpha", "palette", "deep", "deep_rgb", "deep_tif"])
def test_the_example_refuses_what_pillow_would_convert_otherwise(kind, tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (9, 8, 3), dtype=np.uint16)
    plain = Image.fromarray((deep >> 8).astype(np.uint8))
    path = tmp_path / "x.png"
    if kind == "alpha":
        plain.save(path, transparency=(0, 0, 0))
    elif kind == "palette":
        plain.quantize(4).save(path)
    elif kind == "deep":
        Image.fromarray(deep[:, :, 0]).save(path)
    else:
        path.write_bytes((png_of if kind == "deep_rgb" else tiff_of)(deep))
    text = EXAMPLE.read_text()
    names: dict = {}
    exec(text[: text.index("folder, *paths")], names)  # noqa: S102 - without running it all
    with pytest.raises(SystemExit, match="not grey or RGB of 8 bits"):
        names["read"](str(path))


def test_the_range_of_16_bit_values_and_titles_travel_along(tmp_path):
    drawn = draw_bundle(draw_network("compact", size_px=32), size_px=32)
    facts = {
        "value_range": (5, 4095),
        "class_titles": {"b": "The second"},
        "decision_weights": (0.1 + 0.2, 1.0, 1.0),
    }
    bundle = replace(drawn, card=drawn.card.model_copy(update=facts))
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    onnx_exporter.export(bundle, tmp_path, [Sample("noise", noise)], "")
    model = onnx.load(tmp_path / "image.onnx")
    facts = {one.key: one.value for one in model.metadata_props}
    assert json.loads(facts["diascope.value_range"]) == [5, 4095]
    readme = (tmp_path / "README.md").read_text()
    assert "- 1: `b`, The second\n" in readme
    assert all(repr(weight) in readme for weight in bundle.card.decision_weights)
