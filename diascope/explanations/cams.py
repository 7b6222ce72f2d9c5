"""Class activation maps: the maps of a layer, weighted by what they do for the score of a class.

Each function returns signed evidence, float (B, H, W) at the resolution of the layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diascope.explanations.layers import Layer, read_layers
from diascope.explanations.scores import centred_logits

MOST_CHANNELS = 256  # of Score-CAM, which scores every image once a channel
CHANNELS_AT_ONCE = 64


def grad_cam(network: nn.Module, x: Tensor, targets: Tensor, layer: Layer) -> Tensor:
    """Weight each map by its mean gradient: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""
    maps, gradients = _maps_and_gradients(network, x, targets, layer)
    return (gradients.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)


def hires_cam(network: nn.Module, x: Tensor, targets: Tensor, layer: Layer) -> Tensor:
    """Weight each place of each map by its gradient: HiResCAM (Draelos & Carin 2020).

    Unlike Grad-CAM it shows no place that the layers behind do not use (arXiv:2011.08891).
    """
    maps, gradients = _maps_and_gradients(network, x, targets, layer)
    return (gradients * maps).sum(dim=1)


def score_cam(network: nn.Module, x: Tensor, targets: Tensor, layer: Layer) -> Tensor:
    """Weight each map by the score of the image seen through it: Score-CAM (Wang et al. 2020).

    It needs no gradients (arXiv:1910.01279). Of more than `MOST_CHANNELS` maps, those that vary
    most within the image are taken.
    """
    with torch.no_grad():
        maps = layer.maps(read_layers(network, x, [layer])[1][0])
        return torch.stack(
            [
                _score_cam(network, image, target, shown)
                for image, target, shown in zip(x, targets, maps, strict=True)
            ]
        )


def _score_cam(network: nn.Module, image: Tensor, target: Tensor, maps: Tensor) -> Tensor:
    """Return the map of one image (3, S, S), of its maps (C, H, W)."""
    if len(maps) > MOST_CHANNELS:
        most = maps.flatten(1).var(dim=1).topk(MOST_CHANNELS).indices
        maps = maps[most.sort().values]
    masks = functional.interpolate(maps[:, None], size=image.shape[1:], mode="bilinear")
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    masks = (masks - low) / (high - low + 1e-8)
    scores = [
        centred_logits(network(image * part), target.expand(len(part)))
        for part in masks.split(CHANNELS_AT_ONCE)
    ]
    weights = torch.cat(scores).softmax(dim=0)
    return (weights[:, None, None] * maps).sum(dim=0)


def _maps_and_gradients(
    network: nn.Module, x: Tensor, targets: Tensor, layer: Layer
) -> tuple[Tensor, Tensor]:
    """Return the maps of a layer, (B, C, H, W), and the gradients of the score by them."""
    with torch.enable_grad():
        logits, (output,) = read_layers(network, x.detach().requires_grad_(), [layer])
        score = centred_logits(logits, targets).sum()
        (gradients,) = torch.autograd.grad(score, [output])
    return layer.maps(output.detach()), layer.maps(gradients)
