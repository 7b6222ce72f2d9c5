"""The compact network: what is there for speed changes nothing."""

from __future__ import annotations

import pytest
import torch

from diascope.models.compact import halved


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_relu_behind_the_pooling_learns_what_relu_before_it_does(dtype):
    pixels = torch.randn(4, 8, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    pixels[:, :, :6] = -pixels[:, :, :6].abs()  # whole squares without anything above 0
    gradient = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    learned = []
    for pool in (halved(), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.MaxPool2d(2))):
        x = pixels.clone().requires_grad_()
        answer = pool(x)
        answer.backward(gradient)
        learned.append((answer, x.grad))
    (ours, our_gradient), (plain, plain_gradient) = learned
    assert torch.equal(ours, plain)
    assert torch.equal(our_gradient, plain_gradient)
    assert our_gradient.count_nonzero() > 0
