"""Every export and every model card says how files become the pixels that the network sees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from drawn.dicom_files import dicom
from drawn.networks import draw_bundle, draw_network
from drawn.run_folders import make_run
from drawn.seals import reseal
from PIL import Image

from diascope.bundle.card import Card
from diascope.bundle.preparation import decoding_lines, fitting_line, preprocessing_lines
from diascope.data.image import decode_image, fit_image
from diascope.data.pixels import Pixels
from diascope.data.value_range import ValueRange, to_8_bits
from diascope.exporters import hub, monai
from diascope.exporters import onnx as onnx_exporter
from diascope.exporters.spec import Sample
from diascope.reporting.cards.model_card import model_card
from diascope.training.run import Run

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_onnx.py"
SIDE = 32
EXPORTERS = {
    "onnx": onnx_exporter.export,
    "hub": hub.export,
    "monai": partial(monai.export, with_pickle=False),
}
CT = {"window": "2000/4500", "alpha_background": "white", "pixel_rules": 3}
OLD_CARD = "# Old\n\n## How to use it\n\nx\n\n## Preprocessing\n\nas before\n\n## Licence\n\nMine\n"
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def card_of(**facts):
    """Return the card of a network that is never asked."""
    card = draw_bundle(torch.nn.Identity(), size_px=SIDE).card
    return card.model_copy(update={"fit": "stretch", **facts})


def exported(name, folder, **facts):
    """Write an export of a network with these facts in its card; return the card and the README."""
    model = "timm:resnet18" if name == "hub" else "compact"
    bundle = draw_bundle(draw_network(model, size_px=SIDE), size_px=SIDE, model=model)
    card = bundle.card.model_copy(update={"fit": "stretch", **facts})
    EXPORTERS[name](replace(bundle, card=card), folder, [Sample("noise", NOISE)], OLD_CARD)
    (readme,) = folder.rglob("README.md")
    return card, readme.read_text()


def metadata(path):
    """Return the metadata of an ONNX file."""
    props = onnx.load(path).metadata_props
    return {one.key.removeprefix("diascope."): one.value for one in props}


def stated(name, folder):
    """Return what an export states for programs."""
    if name == "onnx":
        image, pixels = (metadata(folder / file) for file in ("image.onnx", "pixels.onnx"))
        for found in (image, pixels):
            assert "width 4500" in found.pop("begins_at")
        assert image == pixels
        numbers = ("size_px", "value_range", "pixel_rules")
        return image | {key: json.loads(image[key]) for key in numbers}
    return json.loads((folder / {"hub": hub.CONFIG, "monai": monai.METADATA}[name]).read_text())[
        "diascope"
    ]


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_export_states_all_that_decides_on_pixels(name, tmp_path):
    facts = CT if name == "monai" else {**CT, "value_range": (1000, 5095)}
    card, readme = exported(name, tmp_path, **facts)
    found = stated(name, tmp_path)
    for field in fields(Pixels):
        wanted = getattr(card, field.name)
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        assert found.get(field.name) == wanted, field.name
    assert found["pixel_rules"] == 3
    for line in decoding_lines(card):
        assert f"- {line}\n" in readme
    assert readme.count("## Preprocessing") == 1
    assert "as before" not in readme
    assert "centre 2000 and width 4500" in readme
    assert "laid over white" in readme
    assert ("clipped to 1000-5095, 1000 is subtracted" in readme) == ("value_range" in facts)


def test_a_model_card_states_all_that_decides_on_pixels(tmp_path):
    run = Run(make_run(tmp_path))
    folder = run.network_folders[0]
    reseal(folder / "card.json", views=4, **CT)
    text = re.search(r"## Preprocessing\n\n(.*?)\n\n## ", model_card(run, {}), re.DOTALL)
    assert text
    lines = [line.replace("\\", "") for line in text[1].split("\n")]
    assert lines == [f"- {line}" for line in preprocessing_lines(Card.load(folder))]
    words = " ".join(lines)
    for said in ("centre 2000 and width 4500", "laid over white", "32 px", "logits of 4 turned"):
        assert said in words


def test_each_window_rule_has_words_of_its_own():
    said = {rule: decoding_lines(card_of(window=rule))[-1] for rule in ("file", "full", "40/400")}
    assert "first VOI LUT of the file, else through its first window" in said["file"]
    assert "whole range of the stored bits" in said["full"]
    assert "VOI" not in said["full"]
    assert "centre 40 and width 400, whatever the file states" in said["40/400"]
    exact = decoding_lines(card_of(window="-1234567.25/1234.5"))[-1]
    assert "centre -1234567.25 and width 1234.5" in exact


def test_the_words_give_the_pixels_of_a_dicom_file_and_of_16_bits():
    stored = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE), dtype=np.uint16)
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-1000", "WindowCenter": 40}
    content = dicom(stored, photometric="MONOCHROME1", WindowWidth=400, **tags)
    found = re.search(r"centre (\S+) and width (\S+),", decoding_lines(card_of(**CT))[-1])
    assert found
    centre, width = map(float, found.groups())
    values = stored * 2.0 - 1000
    shown = np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2.1
    by_hand = 255 - np.floor(shown + 0.5).astype(np.uint8)
    assert np.array_equal(decode_image(content, window="2000/4500")[:, :, 0], by_hand)
    assert not np.array_equal(decode_image(content)[:, :, 0], by_hand)

    line = decoding_lines(card_of(value_range=(1000, 5095)))[1]
    black, white, less, shift = map(int, re.findall(r"\d+", line)[1:5])
    deep = np.random.default_rng(1).integers(0, 65536, 1000, dtype=np.uint16)
    by_hand = (np.clip(deep, black, white) - less) >> shift
    assert np.array_equal(to_8_bits(deep, ValueRange(1000, 5095)), by_hand)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_the_words_on_size_are_those_of_the_fit(fit):
    line = fitting_line(card_of(fit=fit))
    square = fit_image(np.full((20, 40, 3), 255, np.uint8), SIDE, fit=fit)
    is_padded = bool((square[0] == 0).all())
    assert ("centred on black" in line) == is_padded
    assert ("both sides become 32 px" in line) == (not is_padded)


def test_the_example_names_a_window_that_was_chosen(tmp_path):
    for rule, said in (("2000/4500", True), ("file", False)):
        folder = tmp_path / rule.replace("/", "-")
        folder.mkdir()
        exported("onnx", folder, window=rule)
        Image.fromarray(NOISE).save(folder / "x.png")
        command = [sys.executable, str(EXAMPLE), str(folder), str(folder / "x.png")]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert ("shown by the window rule 2000/4500\n" in out) == said
