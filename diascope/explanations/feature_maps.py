"""Read what a layer answers to an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from diascope.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor, nn


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
