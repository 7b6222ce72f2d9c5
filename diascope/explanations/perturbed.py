"""Heat maps of pixels: what happens to the score of a class when parts of the image are lost.

A part is lost by being blurred: its detail goes, and no edge or colour comes that the network has
never seen. Each function returns signed evidence, float (B, S, S).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diascope.explanations.blur import gaussian
from diascope.explanations.scores import centred_logits

STEPS = 32  # of integrated gradients, between the blurred image and the image
BLUR = 1 / 8  # of the side: the standard deviation of the blur that takes all detail
WINDOWS = 8  # that stand beside each other in a row of occlusion; they overlap by half
AT_ONCE = 128  # images scored together


def blurred(x: Tensor, fraction: float = BLUR) -> Tensor:
    """Blur images (B, C, S, S) by a Gaussian of this fraction of their side."""
    return gaussian(x, max(0.5, fraction * x.shape[-1]))


def integrated_gradients(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Sum the gradients on the way from the blurred image to the image, times the difference.

    Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365), of all channels together: the
    evidence adds up to the score of the image less that of the blurred one, but for an error of a
    few per cent, since the steps are few.
    """
    baseline = blurred(x)
    total = torch.zeros_like(x)
    for step in range(STEPS):
        at = baseline + (step + 0.5) / STEPS * (x - baseline)
        with torch.enable_grad():
            at = at.detach().requires_grad_()
            score = centred_logits(network(at), targets).sum()
            total += torch.autograd.grad(score, [at])[0]
    return ((x - baseline) * total / STEPS).sum(dim=1)


def windows_in_a_row(side: int) -> tuple[int, list[int]]:
    """Return how wide the windows of occlusion are, and where each in a row begins.

    Examples
    --------
    >>> windows_in_a_row(16)
    (2, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])
    >>> windows_in_a_row(50)
    (6, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 44])
    """
    width = max(2, round(side / WINDOWS))
    return width, [*range(0, side - width, max(1, width // 2)), side - width]


def occlusion(network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Blur a window at a time: the evidence of a place is what the score loses, on average.

    Occlusion (Zeiler & Fergus 2014, arXiv:1311.2901), with windows of an eighth of the side.
    """
    side = x.shape[-1]
    width, starts = windows_in_a_row(side)
    windows = [(top, left) for top in starts for left in starts]
    baseline = blurred(x)
    evidence, counts = x.new_zeros(len(x), side, side), x.new_zeros(side, side)
    with torch.no_grad():
        whole = centred_logits(network(x), targets)
        n_at_once = max(1, AT_ONCE // len(x))
        for start in range(0, len(windows), n_at_once):
            part = windows[start : start + n_at_once]
            seen = x.repeat(len(part), 1, 1, 1)
            for number, (top, left) in enumerate(part):
                rows = slice(number * len(x), (number + 1) * len(x))
                window = (..., slice(top, top + width), slice(left, left + width))
                seen[rows][window] = baseline[window]
            scores = centred_logits(network(seen), targets.repeat(len(part)))
            losses = whole - scores.view(len(part), len(x))
            for (top, left), loss in zip(part, losses, strict=True):
                evidence[:, top : top + width, left : left + width] += loss[:, None, None]
                counts[top : top + width, left : left + width] += 1
    return evidence / counts
