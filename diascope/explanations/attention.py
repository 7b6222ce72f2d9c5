"""Attention rollout: where the attention of a vision transformer goes, from layer to layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diascope.errors import SettingsError
from diascope.explanations.layers import Layer

NO_ATTENTION = SettingsError(
    "The attention of this network cannot be read: attention rollout needs a plain vision "
    "transformer.",
    where="--method attention-rollout",
    fix="Choose another method.",
)
TOLERANCE = 1e-3


def rollout(network: nn.Module, x: Tensor, layer: Layer) -> Tensor:
    """Return how much of each place arrives in the class token, or in the mean: (B, H, W).

    Abnar & Zuidema 2020, arXiv:2005.00928: the attention of all heads is averaged, half of each
    token stays where it is, and the layers are multiplied. The map is the same for every class.

    Parameters
    ----------
    layer : Layer
        A layer of tokens, which says how these lie in the image.

    Raises
    ------
    SettingsError
        The network has other layers than such attention, or it is computed in another way.
    """
    modules = [m for m in network.modules() if _is_attention(m)]
    if not modules or layer.kind != "tokens":
        raise NO_ATTENTION
    weights: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        weights[module] = _attention(module, inputs[0], output)

    handles = [module.register_forward_hook(note) for module in modules]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    shape = (len(x), *2 * (layer.n_prefix + layer.side**2,))
    if len(weights) != len(modules) or any(tuple(w.shape) != shape for w in weights.values()):
        raise NO_ATTENTION
    flow = torch.eye(shape[1], device=x.device).expand(shape)
    for module in modules:
        flow = (weights[module] + torch.eye(shape[1], device=x.device)) / 2 @ flow
    arriving = flow[:, 0] if layer.n_prefix else flow.mean(dim=1)
    return arriving[:, layer.n_prefix :].unflatten(1, (layer.side, layer.side))


def _is_attention(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("qkv", "num_heads", "scale", "proj"))


def _attention(module: Any, x: Tensor, output: Any) -> Tensor:
    """Return the weights (B, N, N) of an attention layer, averaged over its heads.

    They are computed from its input again, and believed if its output follows from them.
    """
    if x.ndim != 3:
        raise NO_ATTENTION
    n_images, n_tokens, _ = x.shape
    try:
        qkv = module.qkv(x).view(n_images, n_tokens, 3, module.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query = getattr(module, "q_norm", nn.Identity())(query)
        key = getattr(module, "k_norm", nn.Identity())(key)
        weights = (query * module.scale @ key.transpose(2, 3)).softmax(dim=3)
        mixed = (weights @ value).transpose(1, 2).reshape(n_images, n_tokens, -1)
        again = module.proj(getattr(module, "norm", nn.Identity())(mixed))
    except (RuntimeError, AttributeError, TypeError) as error:
        raise NO_ATTENTION from error
    is_right = isinstance(output, Tensor) and again.shape == output.shape
    if not is_right or not torch.allclose(again, output, atol=TOLERANCE, rtol=TOLERANCE):
        raise NO_ATTENTION
    return weights.mean(dim=1)
