"""Read what the layers of a network answer to an image."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diascope.bundle.bundle import Bundle
from diascope.errors import SettingsError
from diascope.explanations.layers import (
    Layer,
    find_layers,
    is_inner,
    networks_of,
    read_layers,
    sample_input,
)
from diascope.system.device import full_precision

N_BLOCKS = 4  # that are shown of a network whose maps have one resolution
MEMBER = r"members\.\d+\."  # before the layers of one member of an ensemble


@dataclass(frozen=True)
class Stage:
    """The feature maps of one image at a layer."""

    layer: str
    is_first: bool  # whether it is the first convolution, whose maps are in their own order
    channels: NDArray[np.int64]  # (C,): which channel each map is
    maps: NDArray[np.float32] = field(repr=False)  # (C, H, W)


def stage_layers(bundle: Bundle) -> list[Layer]:
    """Return the layers whose maps are shown: the first convolution, then one a stage.

    A stage ends with the last layer of a resolution. Of a network of one resolution, such as a
    vision transformer, about `N_BLOCKS` blocks spread over its depth are taken. Of an ensemble it
    is the first member. Empty for a network without maps.
    """
    network = networks_of(bundle)[0]
    with full_precision():
        found = find_layers(network, sample_input(bundle)[:1])
    if not found:
        return []
    name = re.sub(f"^{MEMBER}", "", bundle.card.first_layer)
    of_name = [layer for layer in found if f"{name}.".startswith(f"{layer.name}.")]
    first = of_name[0] if of_name else found[0]
    behind = [layer for layer in found[found.index(first) + 1 :] if not is_inner(layer.name)]
    shallow = min((layer.name.count(".") for layer in behind), default=0) + 1
    behind = [layer for layer in behind if layer.name.count(".") <= shallow]
    if len({layer.side for layer in behind}) > 1:
        ends = {layer.side: layer for layer in behind}  # the last of each
        return [first, *(layer for layer in behind if ends[layer.side] == layer)]
    return [first, *_spread(_blocks(behind))]


def _blocks(layers: Sequence[Layer]) -> list[Layer]:
    """Return the longest row of numbered layers, such as ``blocks.0``, ``blocks.1`` and so on."""
    rows: defaultdict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        stem, _, number = layer.name.rpartition(".")
        rows[stem if number.isdigit() else layer.name].append(layer)
    return max(rows.values(), key=len, default=[])


def _spread(layers: Sequence[Layer]) -> list[Layer]:
    rows = np.linspace(0, len(layers) - 1, min(N_BLOCKS, len(layers))).round().astype(int)
    return [layers[row] for row in rows]


def stage_maps(bundle: Bundle, image: NDArray[np.uint8], layers: Sequence[Layer]) -> list[Stage]:
    """Return the feature maps of one image, uint8 (S, S, 3), at some layers, in one pass.

    The maps of the first of these layers are in their own order. Those of the others are ordered by
    the mean absolute deviation from the median of each map, the most active first. Of an ensemble
    they are those of the first member.

    Parameters
    ----------
    layers : sequence of Layer
        Of `stage_layers`.
    """
    if not layers:
        return []
    with torch.no_grad(), full_precision():
        x = bundle.to_input(np.ascontiguousarray(image[np.newaxis]))
        outputs = read_layers(networks_of(bundle)[0], x, layers)[1]
    stages = []
    for number, (layer, output) in enumerate(zip(layers, outputs, strict=True)):
        maps = layer.maps(output)[0].float().cpu().numpy()
        order = np.arange(len(maps)) if number == 0 else np.argsort(-activity(maps), kind="stable")
        stages.append(Stage(layer.name, number == 0, order, np.ascontiguousarray(maps[order])))
    return stages


def activity(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean absolute deviation of maps (C, H, W) from their medians: (C,).

    Examples
    --------
    >>> activity(np.array([[[0, 0], [0, 4]], [[3, 3], [3, 3]]], np.float32)).tolist()
    [1.0, 0.0]
    """
    middle = np.median(maps, axis=(1, 2), keepdims=True)
    return np.abs(maps - middle).mean(axis=(1, 2))


def first_layer_maps(module: nn.Module, layer_name: str, x: Tensor) -> NDArray[np.float32]:
    """Return the feature maps of one image at a named layer.

    The layer's output is copied before the layers behind it run, some of which write in place, and
    the module is left as it was found.

    Parameters
    ----------
    module : nn.Module
        The network.
    layer_name : str
        The layer, as ``module.named_modules()`` calls it.
    x : float Tensor (1, 3, S, S)
        One preprocessed image.

    Returns
    -------
    float32 (C, H, W)
        The layer's output.

    Raises
    ------
    SettingsError
        The module has no such layer, or its output is not a stack of maps.

    Examples
    --------
    >>> import torch
    >>> maps = first_layer_maps(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), "0",
    ...                         torch.zeros(1, 3, 8, 8))
    >>> maps.shape
    (4, 6, 6)
    """
    layers = dict(module.named_modules())
    if layer_name not in layers:
        convolutions = [
            name for name, layer in layers.items() if isinstance(layer, torch.nn.Conv2d)
        ]
        raise SettingsError(
            f"The network has no layer {layer_name!r}.",
            fix=f"Its convolutions are: {', '.join(convolutions)}.",
        )
    caught: list[Tensor] = []
    handle = layers[layer_name].register_forward_hook(
        lambda _module, _inputs, output: caught.append(output.detach().clone())
    )
    was_training = module.training
    try:
        module.eval()
        with torch.inference_mode():
            module(x)
    finally:
        handle.remove()
        module.train(was_training)
    if not caught or caught[0].ndim != 4:
        raise SettingsError(
            f"The layer {layer_name!r} does not answer with feature maps.",
            fix="Name a convolution.",
        )
    return caught[0][0].float().cpu().numpy()
