"""Blurring along both axes."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from diascope.explanations.blur import gaussian


@pytest.mark.parametrize(("side", "sigma"), [(32, 1.5), (64, 8.0), (33, 4.0), (8, 20.0), (5, 0.5)])
def test_it_is_the_gaussian_blur_of_torchvision(side, sigma):
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    width = min(2 * round(2 * sigma) + 1, 2 * side - 1)
    theirs = gaussian_blur(x, [width, width], [sigma, sigma])
    assert torch.allclose(gaussian(x, sigma), theirs, atol=1e-6)


def test_a_flat_image_stays_as_it_is():
    assert torch.allclose(gaussian(torch.ones(1, 1, 16, 16), 3.0), torch.ones(1, 1, 16, 16))
