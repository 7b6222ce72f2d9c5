"""Networks for scoring alone: batch normalisation becomes part of the convolution before it."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fused(network: nn.Module) -> nn.Module:
    """Return a network that computes the same, but for rounding, in less time.

    Only neighbours in an ``nn.Sequential`` are joined: that these follow each other is certain.
    The given network, in evaluation mode, is not changed; it is returned itself where nothing can
    be joined.
    """
    if not _neighbours(network):
        return network
    copied = copy.deepcopy(network)
    for module, name, next_name in _neighbours(copied):
        first, second = getattr(module, name), getattr(module, next_name)
        setattr(module, name, fuse_conv_bn_eval(first, second))
        setattr(module, next_name, nn.Identity())
    return copied


def _neighbours(network: nn.Module) -> list[tuple[nn.Sequential, str, str]]:
    """Find the convolutions that a batch normalisation follows, with where both are."""
    return [
        (module, name, next_name)
        for module in network.modules()
        if isinstance(module, nn.Sequential)
        for (name, first), (next_name, second) in pairwise(module.named_children())
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    ]
