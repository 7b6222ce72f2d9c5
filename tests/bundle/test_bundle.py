"""The bundle: a card that cannot be right is refused, and no code is run for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn import run_folders
from drawn.seals import edit_json, reseal

from diascope.bundle.bundle import Bundle
from diascope.errors import RunError
from diascope.models.find import find_model
from diascope.models.fused import fused


@pytest.fixture
def folder(tmp_path):
    """Write the bundle of an untrained network that tells a from b."""
    run_folders.bundle(("a", "b"), "b").save(tmp_path)
    return tmp_path


def change_card(folder, **changes):
    try:
        reseal(folder / "card.json", **changes)
    except ValueError:  # not a number, which is not JSON: such a file has no right seal
        edit_json(folder / "card.json", **changes)


def test_an_unchanged_bundle_loads(folder):
    change_card(folder)
    assert Bundle.load(folder).classes == ("a", "b")


@pytest.mark.parametrize(
    "changes",
    [
        {"views": 0},
        {"views": 9},
        {"positive": "c"},
        {"classes": ["a", "a"], "positive": None},
        {"classes": ["a"], "positive": None, "prior": [1]},
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"prior": [1]},
        {"prior": [1, 1]},
        {"mean": [0.5, 0.5]},
        {"mean": [0.5, 0.5, float("inf")]},
        {"std": [0.2, 0.2]},
        {"std": [0.2, 0.2, 0]},
        {"std": [0.2, 0.2, 1e-300]},
        {"size_px": 10**9},
        {"size_px": 10},
        {"size_px": 0},
        {"fit": "crop"},
        {"alpha_background": "grey"},
        {"classes": ["a", "b", "c"], "positive": None, "prior": [1, 0, 0]},
    ],
    ids=str,
)
def test_a_card_that_cannot_be_right_is_refused(folder, changes):
    change_card(folder, **changes)
    with pytest.raises(RunError, match="is damaged"):
        Bundle.load(folder)


def test_a_code_file_named_in_a_bundle_is_never_run(folder):
    code = folder / "hostile.py"
    code.write_text(f"import pathlib; pathlib.Path({str(folder / 'was-run')!r}).touch()\n")
    change_card(folder, model=str(code))
    with pytest.raises(RunError, match=r"never run[\s\S]*plugin"):
        Bundle.load(folder)
    assert not (folder / "was-run").exists()


@pytest.mark.parametrize("name", ["compact", "reference_cnn", "timm:resnet18"])
def test_scoring_joins_normalisations_to_convolutions_and_changes_nothing_else(name):
    torch.manual_seed(0)
    network = find_model(name).build(3, 64).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    x = torch.rand(5, 3, 64, 64)
    with torch.inference_mode():
        expected, found = network(x), fused(network)(x)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    after = network.state_dict()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    n_left = sum(isinstance(m, torch.nn.BatchNorm2d) for m in fused(network).modules())
    n_before = sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert n_left < n_before if name != "reference_cnn" else fused(network) is network


def test_logits_refer_to_the_prior_of_the_card_and_are_divided_by_its_temperature():
    plain = run_folders.bundle(("a", "b"), "b")
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    update = {"logit_offset": (0.5, -1.5), "temperature": 2.0}
    found = Bundle(plain.card.model_copy(update=update), plain.module).predict_logits(images)
    expected = (plain.predict_logits(images) + np.array([0.5, -1.5])) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
