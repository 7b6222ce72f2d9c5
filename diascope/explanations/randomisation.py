"""Randomisation: heat maps should change when weights are replaced, from the head down.

Adebayo et al. 2018 (arXiv:1810.03292). New weights are drawn as the network's own initialiser draws
them, and batch normalisation is measured anew, so that the network stays in the range it was made
for. A map that stays as it was shows the image and not the network.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diascope.bundle.bundle import Bundle
from diascope.explanations.heat_maps import Explainer
from diascope.explanations.layers import networks_of
from diascope.explanations.similarity import rank_correlations
from diascope.models.ensemble import Member
from diascope.models.find import find_model

DEPTHS = (1 / 3, 2 / 3)  # of the layers with weights, from the head down, replaced once each
N_DRAWS = 3  # of a network that forgot everything
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Forgetting:
    """How alike maps are: of the network and of networks that forgot, by rank correlation."""

    # (S, N): of each image, after each stage of the cascade; in the last stage everything is
    # forgotten, and it is the mean of `N_DRAWS` networks
    stages: NDArray[np.float64]
    others: NDArray[np.float64]  # (N,): of the maps of two different images, by the network itself


def forget(
    explainer: Explainer, images: NDArray[np.uint8], targets: NDArray[np.integer]
) -> Forgetting:
    """Explain images by networks that forget, from the head down.

    Images are uint8 (N, S, S, 3), 0-255, N at least 2; targets are class indices (N,).
    """
    own = explainer.evidence(images, targets)

    def alike(share: float, seed: int) -> NDArray[np.float64]:
        forgetful = randomised(explainer.bundle, share, images, seed=seed)
        return rank_correlations(
            own, replace(explainer, bundle=forgetful).evidence(images, targets)
        )

    stages = [alike(share, seed) for seed, share in enumerate(DEPTHS)]
    whole = np.mean([alike(1.0, len(DEPTHS) + seed) for seed in range(N_DRAWS)], axis=0)
    return Forgetting(np.stack([*stages, whole]), rank_correlations(own, np.roll(own, 1, axis=0)))


def randomised(bundle: Bundle, share: float, images: NDArray[np.uint8], *, seed: int) -> Bundle:
    """Return a copy with new weights in a share, 0-1, of its layers, from the head down.

    Every layer with weights counts alike; at least the head is replaced. Images, uint8
    (N, S, S, 3), are what batch normalisation is measured on.
    """
    forgetful = replace(bundle, module=copy.deepcopy(bundle.module))
    x = bundle.to_input(images)
    for number, network in enumerate(networks_of(forgetful)):
        inner = network.network if isinstance(network, Member) else network
        _replace_last(inner, _fresh(bundle, seed=100 * seed + number), share)
        _measure_normalisation(network, x)
    return forgetful


def _fresh(bundle: Bundle, *, seed: int) -> nn.Module:
    """Return a network of the same architecture, as it begins a training from scratch."""
    card = bundle.card
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return find_model(card.model, card.head).build(len(card.classes), card.size_px)


def _replace_last(network: nn.Module, fresh: nn.Module, share: float) -> None:
    """Take the parameters of the last layers from another network."""
    names = [name for name, _ in network.named_parameters()]
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    n_replaced = max(1, round(share * len(layers)))
    replaced = set(layers[len(layers) - n_replaced :])
    new = dict(fresh.named_parameters())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[0] in replaced:
                parameter.copy_(new[name])


def _measure_normalisation(network: nn.Module, x: Tensor) -> None:
    """Set the statistics of batch normalisation to those of a batch (B, 3, S, S)."""
    layers = [module for module in network.modules() if isinstance(module, NORMALISATIONS)]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        network(x)
    network.eval()
