"""Bundles that ask for too much, and files in them that are not what they should be."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import resource
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from drawn import run_folders
from drawn.seals import reseal
from safetensors.torch import load_file, save

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.drift_reference import DriftReference
from diascope.bundle.ood import FLOORS, OodDetector
from diascope.errors import RunError, SettingsError, UnknownNameError
from diascope.reporting.dossier.questions import read_answers
from diascope.system.sealed import read_sealed
from diascope.system.yaml_text import parse_yaml
from diascope.training.recipe import find_recipe, make_recipe

N_MEASURES = len(FLOORS)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Write the bundle of an untrained network that tells a from b."""
    run_folders.bundle(("a", "b"), "b").save(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 100}, "asks for 100 members, and .* holds 0"),
        ({"members": 1}, "asks for 1 members"),
        (
            {"model": "timm:resnet18", "head": {"dense_units": 65_536}},
            "are not those that the card",
        ),
        ({"head": {"dense_units": 10**6}}, "head.*less than or equal to"),
        ({"model": "reference_cnn", "size_px": 46}, "are not those that the card asks for"),
        ({"model": "timm:vit_giant_patch14_dinov2"}, "."),
        ({"members": 10**6}, "members must be less than or equal to 100"),
    ],
)
def test_a_card_that_asks_for_too_much_is_refused_before_anything_is_built(
    folder, monkeypatch, changes, message
):
    reseal(folder / "card.json", **changes)
    monkeypatch.setattr("diascope.bundle.build._build", lambda *_: pytest.fail("it was built"))
    with pytest.raises(RunError, match=message):
        Bundle.load(folder)


def test_a_hundred_thousand_classes_are_refused_before_anything_is_built(folder):
    n_classes = 100_000
    each = [0.0] * n_classes
    reseal(
        folder / "card.json",
        classes=[str(number) for number in range(n_classes)],
        positive=None,
        threshold=None,
        prior=[1 / n_classes] * n_classes,
        logit_offset=each,
        decision_weights=[1.0] * n_classes,
    )
    with pytest.raises(RunError, match=r"such as head\.(weight|bias)"):
        Bundle.load(folder)


def ood(**changes) -> OodDetector:
    rng = np.random.default_rng(0)
    parts = {
        "class_means": rng.normal(size=(2, 8)),
        "feature_root": np.eye(8),
        "appearance_mean": np.zeros(N_MEASURES),
        "appearance_root": np.eye(N_MEASURES),
        "limits": np.ones(2),
    }
    parts = {name: array.astype(np.float32) for name, array in parts.items()}
    return OodDetector(**{**parts, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": np.ones(3, np.float32)},
        {"limits": np.full(2, np.nan, np.float32)},
        {"feature_root": np.eye(9, dtype=np.float32)},
        {"class_means": np.zeros((2, 8), np.int32)},
        {"class_means": np.float32(3.0).reshape(())},
        {"appearance_root": np.zeros((3, 3), np.float32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_detector_with_other_arrays_is_refused_by_name(folder, changes):
    card = Card.load(folder)
    sha256 = ood().save(folder)
    assert OodDetector.load(folder, sha256)
    sha256 = ood(**changes).save(folder)
    card.model_copy(update={"ood_sha256": sha256}).save(folder)
    with pytest.raises(RunError, match=r"in ood\.safetensors is not such an array"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"group_of": np.zeros(4, np.int32)},
        {"group_of": np.zeros(5, np.float32)},
        {"logits": np.zeros((5, 3), np.float32)},
        {"logits": np.full((5, 2), np.inf, np.float32)},
        {"ood_scores": np.zeros(7, np.float32)},
    ],
    ids=str,
)
def test_a_drift_reference_with_other_arrays_is_refused_by_name(folder, changes):
    whole = DriftReference(np.zeros(5, np.int32), np.zeros((5, 2), np.float32), None)
    sha256 = replace(whole, **changes).save(folder)
    Card.load(folder).model_copy(update={"drift_reference_sha256": sha256}).save(folder)
    with pytest.raises(RunError, match=r"drift_reference\.safetensors"):
        Bundle.load(folder)


def test_a_changed_part_of_a_bundle_is_named(folder):
    sha256 = ood().save(folder)
    Card.load(folder).model_copy(update={"ood_sha256": sha256}).save(folder)
    (folder / "ood.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(RunError, match=r"ood\.safetensors is not the file that the card names"):
        Bundle.load(folder)


def save_weights(folder, content):
    """Put other weights into a bundle, whose card names them."""
    (folder / "model.safetensors").write_bytes(content)
    reseal(folder / "card.json", weights_sha256=hashlib.sha256(content).hexdigest())


def changed_tensors(folder, **changes):
    """Return the weights with other tensors; those that are None are left out."""
    tensors = {**load_file(folder / "model.safetensors"), **changes}
    return save({name: tensor for name, tensor in tensors.items() if tensor is not None})


def header(text: str, n_bytes: int | None = None) -> bytes:
    """Return a file of weights with this header, which states its length or another one."""
    content = text.encode()
    return struct.pack("<Q", len(content) if n_bytes is None else n_bytes) + content


class Hostile:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch was-run",)


def as_pickle(_folder):
    return pickle.dumps(Hostile())


def as_pickle_in_a_zip(folder):
    torch.save(Hostile(), folder / "x.pt")
    return (folder / "x.pt").read_bytes()


TENSORS = {
    f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(9)
}
HUGE = {"head.weight": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}
NAN = torch.tensor([0.0, float("nan")])
WEIGHTS = {
    "a pickle": (as_pickle, "not a safetensors file, or its header is too long"),
    "a pickle in a zip": (as_pickle_in_a_zip, "not a safetensors file, or its header is too long"),
    "nothing": (lambda _: b"", "header too small"),
    "a header of 4 EB": (lambda _: header("{}", 1 << 62), "its header is too long"),
    "a header of 99 MB": (lambda _: header(" " * 99_000_000), "its header is too long"),
    "a deep header": (lambda _: header('{"a":' * 100_000), "invalid JSON in header"),
    "a huge tensor": (lambda _: header(json.dumps(HUGE)) + b"0000", "overflow"),
    "other tensors": (lambda _: header(json.dumps(TENSORS)), "59 tensors in .* such as"),
    "a missing tensor": (lambda f: changed_tensors(f, **{"head.bias": None}), "1 tensors in"),
    "one more": (lambda f: changed_tensors(f, more=torch.zeros(3)), "such as more"),
    "another shape": (lambda f: changed_tensors(f, **{"head.bias": torch.zeros(3)}), "head.bias"),
    "NaN": (lambda f: changed_tensors(f, **{"head.bias": NAN}), "head.bias .* holds NaN or inf"),
    "infinity": (lambda f: changed_tensors(f, **{"head.bias": 1 / torch.zeros(2)}), "NaN or inf"),
    "integers": (lambda f: changed_tensors(f, **{"head.bias": torch.zeros(2).long()}), "int64"),
}


@pytest.mark.parametrize(("make", "why"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_something_else_are_refused_in_a_line(folder, monkeypatch, make, why):
    monkeypatch.chdir(folder)
    save_weights(folder, make(folder))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError, match=why) as refused:
        Bundle.load(folder)
    assert len(refused.value.problem.splitlines()) == 1
    assert len(refused.value.problem) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes
    assert not (folder / "was-run").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("../../x", "/etc/passwd", "timm:../x", "hf-hub:a/b", "timm:hf-hub:a/b", "x\n\x1b[31m"),
        *(
            "local-dir:/tmp",
            "timm:local-dir:/tmp",
            "timm:resnet18.../../x",
            "timm:",
            "",
            "a" * 10**6,
        ),
    ],
    ids=lambda name: repr(name)[:30],
)
def test_a_model_that_is_called_like_a_path_is_refused_in_a_line(folder, name):
    reseal(folder / "card.json", model=name)
    with pytest.raises((UnknownNameError, RunError)) as refused:
        Bundle.load(folder)
    assert len(refused.value.problem.splitlines()) == 1
    assert len(refused.value.problem) < 400


@pytest.mark.parametrize(
    "changes",
    [
        *({"temperature": value} for value in (1e300, 1e-300, 0)),
        *({"logit_offset": [value, 0]} for value in (1e308, -1e38)),
        {"decision_weights": [1e308, 1e308]},
        {"pixel_rules": -1},
    ],
    ids=str,
)
def test_numbers_that_no_training_gives_are_refused(folder, changes):
    reseal(folder / "card.json", **changes)
    with pytest.raises(RunError, match=r"in card\.json, [a-z_.0-9]+ must be (less|greater) than"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"positive": "c"}, "the positive class 'c' is not one of the classes"),
        ({"classes": ["a", "a"]}, "a class name is used twice"),
        ({"prior": [0.5, 0.6]}, "the prior does not add up to 1 over the classes"),
        (
            {"window": "40/0"},
            "window must be file, full, or centre/width such as 40/400, the width",
        ),
        ({"fit": "crop"}, "fit must be 'pad' or 'stretch'"),
        ({"mean": [0.5]}, "mean must have at least 3 items, not 1"),
        ({"value_range": 5}, "value_range must be a list"),
        ({"temperature": "hot"}, "temperature must be a valid number"),
        ({"seed": None}, "seed must be a valid integer"),
        ({"colour\n": 1}, "is not a known field"),
        ({"head": {"pool": "x"}}, "head.pool must be 'avg' or 'max'"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_card_is_a_plain_sentence(folder, changes, problem):
    reseal(folder / "card.json", **changes)
    with pytest.raises(RunError) as refused:
        Bundle.load(folder)
    said = refused.value.problem
    assert said.startswith("The bundle is damaged: in card.json, ")
    assert problem in said
    assert len(said.splitlines()) == 1
    assert re.search(r"[^.]\.$", said)
    for word in ("Value error", "Input", "Tuple", "Extra inputs", "validation"):
        assert word not in said


def test_a_part_of_a_bundle_that_is_too_long_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("diascope.bundle.golden.MOST_FILE_BYTES", 1000)
    with pytest.raises(RunError, match=r"golden\.safetensors is over 1,000 bytes long"):
        Bundle.load(folder)


DEEP = 200_000


@pytest.mark.parametrize(
    "content",
    ["[" * DEEP, '{"a":' * DEEP, '{"format": NaN}', '{"format": true}', "9" * 10_000, "null"],
    ids=["lists", "objects", "NaN", "true", "a long number", "null"],
)
def test_json_of_any_shape_is_refused_in_words(folder, content):
    (folder / "card.json").write_text(content)
    for read in (Card.load, lambda where: read_sealed(where / "card.json", fix="Restore it.")):
        with pytest.raises(RunError, match=r"damaged|no format number"):
            read(folder)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", ["[" * 50_000, "a: " + "{b: " * 20_000, BOMB, "a: 2026-99-99"])
def test_yaml_of_any_shape_is_refused_in_words(tmp_path, text):
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)
    path = tmp_path / "dossier.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"not valid YAML|cannot be read"):
        read_answers(path)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="not valid YAML"):
        find_recipe(str(path))
    if "\n" not in text:
        with pytest.raises(SettingsError, match="cannot be read"):
            make_recipe("malaria", settings=[f"max_epochs={text}"])


def test_plain_yaml_is_read_as_before():
    assert parse_yaml("{a: 1, b: [x, 2.5, null], c: '*d'}") == {
        "a": 1,
        "b": ["x", 2.5, None],
        "c": "*d",
    }
    assert json.loads(json.dumps(parse_yaml("flips: none"))) == {"flips": "none"}
