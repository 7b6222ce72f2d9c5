"""Muon: filters take orthogonal steps, all else is AdamW's, and an interrupted run goes on."""

from __future__ import annotations

import pytest
import torch
from test_device import a_training, learn, weights_of
from torch import nn

from diascope.models.compact import Compact
from diascope.training.optimizers import FASTER, make_optimizer, orthogonal


def an_optimizer(module, name, **changes):
    how = {"learning_rate": 1e-2, "weight_decay": 0.0, "precision": "fp32"} | changes
    return make_optimizer(module, name, **how)


def after_a_step(name, **changes):
    """Return weights before and after one step, by name."""
    torch.manual_seed(0)
    module = Compact(3)
    before = {key: weight.detach().clone() for key, weight in module.named_parameters()}
    optimizer = an_optimizer(module, name, **changes)
    nn.functional.cross_entropy(module(torch.randn(8, 3, 32, 32)), torch.arange(8) % 3).backward()
    optimizer.step()
    return before, {key: weight.detach() for key, weight in module.named_parameters()}


@pytest.mark.parametrize("shape", [(32, 27), (64, 64), (16, 300)])
def test_singular_values_become_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    near = orthogonal(matrix)
    assert near.shape == matrix.shape
    values = torch.linalg.svdvals(near)
    assert values.quantile(0.05) > 0.6  # only what was nearly nothing stays small
    assert values.max() < 1.3
    assert torch.linalg.norm(near - left @ right) < 0.35 * torch.linalg.norm(left @ right)


def test_filters_take_an_orthogonal_step_and_the_rest_that_of_adamw():
    before, with_adamw = after_a_step("adamw")
    _, with_muon = after_a_step("muon")
    for name, weight in with_muon.items():
        if weight.ndim < 4:
            assert torch.equal(weight, with_adamw[name]), name
            continue
        step = (before[name] - weight).flatten(1)
        rows, columns = step.shape
        values = torch.linalg.svdvals(step) / (FASTER * 1e-2 * max(1, rows / columns) ** 0.5)
        assert 1 < values.max() < 1.3, name


def test_filters_decay():
    before, decayed = after_a_step("muon", weight_decay=0.5)
    _, plain = after_a_step("muon")
    name = "stem.0.weight"
    assert torch.allclose(plain[name] - decayed[name], 1e-2 * 0.5 * before[name], atol=1e-6)


def test_half_precision_leads_nearly_the_same_way():
    before, plain = after_a_step("muon")
    _, half = after_a_step("muon", precision="bf16")
    name = "body.3.0.weight"
    steps = [(weights[name] - before[name]).flatten() for weights in (plain, half)]
    assert nn.functional.cosine_similarity(*steps, dim=0) > 0.99


def test_filters_that_do_not_learn_are_left_alone():
    module = Compact(3)
    module.stem[0].weight.requires_grad_(requires_grad=False)
    optimizer = an_optimizer(module, "muon")
    assert not any(
        weight is module.stem[0].weight
        for group in optimizer.param_groups
        for weight in group["params"]
    )


def test_a_run_with_muon_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path):
    how = a_training(optimizer="muon")
    whole, _ = learn(tmp_path / "whole", how=how)
    learn(tmp_path / "part", how=how, stop_after=1)
    resumed, losses = learn(tmp_path / "part", how=how)
    assert len(losses) == 8
    assert torch.equal(weights_of(whole), weights_of(resumed))
