"""A thousand real images have the same pixels and answers by every route that there is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn.dicom_files import COMPRESSED, NATIVE, dicom
from drawn.networks import draw_bundle, draw_network
from drawn.real_images import ARCHIVES, real_images, write_all

from diascope.bundle.scoring import score_rows
from diascope.data.image import decode_image
from diascope.exporters import hub, onnx
from diascope.exporters.spec import Sample
from diascope.steps.predict import predict

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_onnx.py"
WITHOUT = """
import sys, runpy
sys.modules.update(dict.fromkeys(["torch", "diascope", "onnx", "timm"]))  # cannot be imported
"""
BY_IMAGE = WITHOUT + "runpy.run_path(sys.argv.pop(1))"
BY_PIXELS = (
    WITHOUT
    + """
import numpy, onnxruntime
folder, pixels, out = sys.argv[1:]
session = onnxruntime.InferenceSession(folder + "/pixels.onnx")
given = numpy.load(pixels)
found = [
    session.run(["probabilities"], {"pixels": given[start : start + 100]})[0]
    for start in range(0, len(given), 100)
]
numpy.save(out, numpy.concatenate(found))
"""
)
BY_TIMM = """
import sys
sys.modules["diascope"] = None
import numpy, timm, torch
folder, pixels, out = sys.argv[1:]
network = timm.create_model("local-dir:" + folder, pretrained=True).eval()
mean, std = (torch.tensor(network.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
x = (torch.from_numpy(numpy.load(pixels)).permute(0, 3, 1, 2) / 255 - mean) / std
with torch.inference_mode():
    views = [network(torch.rot90(x, turns, dims=(2, 3))) for turns in range(4)]
numpy.save(out, torch.stack(views).mean(dim=0).softmax(dim=1).numpy())
"""
NETWORKS = {  # network, side of its input and how it is filled
    "malaria": ("compact", 64, "pad"),
    "ham10000": ("timm:resnet18", 96, "stretch"),
    "idc": ("compact", 50, "pad"),
}
SYNTAXES = [NATIVE["little endian"], *(one for one in COMPRESSED.values())]


def bundle_of(problem):
    model, side, fit = NETWORKS[problem]
    network = draw_network(model, size_px=side)
    drawn = draw_bundle(network, size_px=side, model=model, views=4, temperature=0.8)
    update = {"fit": fit, "logit_offset": (0.3, -0.2, 0.1)}
    return replace(drawn, card=drawn.card.model_copy(update=update))


def table_of(bundle, folder, paths, name):
    bundle.save(folder / "bundle")
    return pl.read_parquet(predict(folder / "bundle", paths, out=folder / f"{name}.parquet"))


def probabilities(table, bundle):
    return table.select(f"probability_{name}" for name in bundle.classes).to_numpy()


def run(code, *words):
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("problem", ARCHIVES)
def test_evaluation_command_line_and_graphs_agree(problem, tmp_path):
    bundle, contents = bundle_of(problem), real_images(problem)
    paths = write_all(tmp_path / "images", contents)
    pixels = np.stack([bundle.card.pixels.read(content) for content in contents.values()])
    manifest = pl.DataFrame({"image_id": list(contents)}).with_columns(
        group="image_id", label=pl.lit(bundle.classes[0])
    )
    evaluated = score_rows(bundle, manifest, pixels, np.arange(len(paths)))
    wanted = bundle.predict_proba(paths)
    called = [bundle.classes[number] for number in evaluated.predicted]
    assert called == [bundle.classes[number] for number in bundle.decide(wanted)]
    assert np.abs(evaluated.probabilities - wanted).max() < 1e-6

    table = table_of(bundle, tmp_path, paths, "files")
    assert np.abs(probabilities(table, bundle) - wanted).max() < 1e-6  # six digits are written
    assert table["predicted"].to_list() == called

    samples = [Sample(name, decode_image(content)) for name, content in contents.items()]
    exported = onnx.export(bundle, tmp_path / "onnx", samples, "")  # compares the pixels
    assert f"{len(paths)} images" in exported.says[0]
    rows = [
        line.rsplit(maxsplit=4)
        for line in run(BY_IMAGE, EXAMPLE, tmp_path / "onnx", *paths).splitlines()
    ]
    assert [row[0] for row in rows] == list(map(str, paths))
    assert np.abs(np.array([row[2:] for row in rows], np.float64) - wanted).max() < 1e-5
    assert [row[1] for row in rows] == called

    np.save(tmp_path / "pixels.npy", pixels)
    run(BY_PIXELS, tmp_path / "onnx", tmp_path / "pixels.npy", tmp_path / "p.npy")
    assert np.abs(np.load(tmp_path / "p.npy") - wanted).max() < 1e-5
    if problem == "ham10000":
        (tmp_path / "hub").mkdir()
        hub.export(bundle, tmp_path / "hub", samples, "")
        run(BY_TIMM, tmp_path / "hub", tmp_path / "pixels.npy", tmp_path / "t.npy")
        assert np.abs(np.load(tmp_path / "t.npy") - wanted).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("problem", ARCHIVES)
def test_images_in_dicom_are_answered_as_the_files(problem, tmp_path):
    bundle, contents = bundle_of(problem), real_images(problem)
    decoded = {name: decode_image(content) for name, content in contents.items()}
    wrapped, grey, inverted = {}, {}, {}
    for number, (name, image) in enumerate(decoded.items()):
        green = np.ascontiguousarray(image[:, :, 1])
        syntax = SYNTAXES[number % len(SYNTAXES)]
        wrapped[f"{name}.dcm"] = dicom(image, syntax=syntax)
        grey[f"{name}.dcm"] = dicom(green, syntax=syntax)
        inverted[f"{name}.dcm"] = dicom(255 - green, syntax=syntax, photometric="MONOCHROME1")
        np.testing.assert_array_equal(decode_image(wrapped[f"{name}.dcm"]), image)
    files = write_all(tmp_path / "files", contents)
    for name, way in (("colours", wrapped), ("grey", grey), ("inverted", inverted)):
        write_all(tmp_path / name, way)
    tables = {
        "files": table_of(bundle, tmp_path, files, "files"),
        **{
            name: table_of(bundle, tmp_path, [tmp_path / name], name)
            for name in ("colours", "grey", "inverted")
        },
    }
    columns = [name for name in tables["files"].columns if name not in ("path", "model", "error")]
    assert all(table["error"].null_count() == len(contents) for table in tables.values())
    assert tables["colours"].select(columns).equals(tables["files"].select(columns))
    assert tables["inverted"].select(columns).equals(tables["grey"].select(columns))
    by_hand = bundle.predict_proba(
        [np.repeat(image[:, :, 1:2], 3, axis=2) for image in decoded.values()]
    )
    assert np.abs(probabilities(tables["inverted"], bundle) - by_hand).max() < 1e-6
