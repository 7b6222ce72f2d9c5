"""Attention rollout: where the attention of a vision transformer goes, from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from diascope.errors import SettingsError
from diascope.explanations.layers import Layer
from diascope.explanations.scores import centred_logits


def rollout(network: nn.Module, x: Tensor, layer: Layer) -> Tensor:
    """Return how much of each place arrives in the tokens that are classified: (B, H, W).

    Abnar & Zuidema 2020, arXiv:2005.00928: the attention of all heads is averaged, half of each
    token stays where it is, and the layers are multiplied. Classified is the class token in some
    networks, and the mean of all places in others. The map is the same for every class.

    Parameters
    ----------
    layer : Layer
        A layer of tokens, which says how these lie in the image.

    Raises
    ------
    SettingsError
        Not every attention of the network is one of all tokens to all tokens, computed by
        ``scaled_dot_product_attention``.
    """
    n_layers = sum(hasattr(module, "num_heads") for module in network.modules())
    if not n_layers or layer.kind != "tokens":
        raise _no_attention()
    with torch.enable_grad(), _Attention() as seen:
        logits = network(x.detach().requires_grad_())
    shape = (len(x), *2 * (layer.n_prefix + layer.side**2,))
    if len(seen.weights) != n_layers or any(w.shape != shape for w in seen.weights):
        raise _no_attention()
    stays = torch.eye(shape[1], device=x.device)
    flow = stays.expand(shape)
    for weights in seen.weights:
        flow = (weights + stays) / 2 @ flow
    arriving = flow[:, _are_classified(logits, seen.last)].mean(dim=1)
    return arriving[:, layer.n_prefix :].unflatten(1, (layer.side, layer.side))


def _are_classified(logits: Tensor, last: Tensor) -> Tensor:
    """Return for each token, bool (N,), whether the logits depend on its last attention."""
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    score = centred_logits(logits, first).sum()
    (gradients,) = torch.autograd.grad(score, [last], allow_unused=True)
    if gradients is None:
        raise _no_attention()
    return (gradients != 0).transpose(1, 2).flatten(2).any(dim=2).any(dim=0)


class _Attention(TorchFunctionMode):
    """Note the weights of every attention, (B, N, N), the mean over its heads.

    Of the last one, what it gives is noted as well: (B, heads, N, D).
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        self.last: Tensor

    def __torch_function__(  # pyright: ignore[reportIncompatibleMethodOverride] - other names
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        given: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*given, **(named or {}))
        if func is functional.scaled_dot_product_attention:
            with torch.no_grad():
                self.weights.append(_weights(*given, **(named or {})))
            self.last = output
        return output


def _weights(  # as `functional.scaled_dot_product_attention` documents them
    query: Tensor,
    key: Tensor,
    value: Tensor,  # noqa: ARG001 - not needed for the weights
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001 - 0 in evaluation mode
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    is_masked = attn_mask is not None and attn_mask.dtype == torch.bool
    if query.ndim != 4 or query.shape != key.shape or is_masked or is_causal or enable_gqa:
        raise _no_attention()
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query * scale @ key.transpose(-2, -1)
    if attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(dim=-1).mean(dim=1)


def _no_attention() -> SettingsError:
    return SettingsError(
        "The attention of this network cannot be read: attention rollout needs a plain vision "
        "transformer.",
        where="--method attention-rollout",
        fix="Choose another method.",
    )
