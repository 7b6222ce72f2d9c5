"""Batch normalisation: its statistics, measured for the weights as they are now.

A network in training normalises by the statistics of each batch, and afterwards by running ones,
which remember about ten batches. Where an epoch has few batches and the learning rate is high, the
weights of ten batches ago were others: validation then falls far below what the network has
learned, or below chance. Measured anew, the statistics fit (Wu & Johnson 2021, arXiv:2105.07576).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from diascope.system.device import autocast
from diascope.training.distributed import ALONE, Ranks
from diascope.training.inputs import Inputs
from diascope.training.whole_batch import whole_batch

FEW_BATCHES = 16  # in an epoch
MEASURED_BATCHES = 8
LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def refresh_statistics(
    module: nn.Module,
    inputs: Inputs,
    batches: Sequence[NDArray[np.integer]],
    *,
    precision: str,
    ranks: Ranks = ALONE,
) -> None:
    """Set the running statistics to the mean over batches of training rows, without augmentation.

    Nothing is done where an epoch has `FEW_BATCHES` or more, and frozen layers keep theirs.

    Parameters
    ----------
    batches : sequence of int (B,)
        The rows of an epoch, drawn at random from all classes and groups; the first are measured.
    precision : str
        ``"fp32"`` or ``"bf16"``.
    """
    if len(batches) >= FEW_BATCHES:
        return
    module.train()
    layers = [m for m in module.modules() if isinstance(m, LAYERS) and m.training]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # every batch counts alike
    device = next(module.parameters()).device
    with torch.no_grad(), autocast(device, precision):
        for rows in batches[:MEASURED_BATCHES]:
            with whole_batch(ranks, len(rows)):
                module(inputs.to_see(rows[ranks.part(len(rows))], device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
