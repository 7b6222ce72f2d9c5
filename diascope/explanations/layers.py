"""Find the layers of a network that keep places, and read what they give for a batch.

A layer keeps places if its output is a stack of maps, (B, C, H, W) or (B, H, W, C), or a token a
place, (B, P + H * W, C) with P tokens before them. Nothing is asked of the network but that a
square image has square maps, so that any network of timm can be read.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from diascope.bundle.bundle import Bundle
from diascope.errors import SettingsError
from diascope.models.ensemble import Ensemble

FEWEST_PX = 7
MOST_PREFIX_TOKENS = 8  # class and register tokens
# What stands inside a block: its output is of other channels, or of a branch alone
INNER = ("attn", "mlp", "token_mixer", "se", "drop_path")
NOT_READ = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Softmax, nn.Flatten)
NEAREST = 4
LEAST_EVIDENCE = 1e-4  # of what the channels of a place say, what is left of their sum


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that keeps places."""

    name: str  # as ``network.named_modules()`` calls it
    kind: Literal["maps", "maps_last", "tokens"]
    n_channels: int
    side: int  # height and width of its maps
    n_prefix: int = 0  # tokens before those of places

    def maps(self, output: Tensor) -> Tensor:
        """Return the output of the layer as maps (B, C, H, W)."""
        if self.kind == "maps":
            return output
        if self.kind == "maps_last":
            return output.permute(0, 3, 1, 2)
        places = output[:, self.n_prefix :].transpose(1, 2)
        return places.unflatten(2, (self.side, self.side))


def networks_of(bundle: Bundle) -> list[nn.Module]:
    """Return the members of an ensemble, or the network; they take what `Bundle.to_input` gives."""
    module = bundle.module
    return list(module.members) if isinstance(module, Ensemble) else [module]


def sample_input(bundle: Bundle) -> Tensor:
    """Return two images of noise as input of a network, the same each time."""
    side = bundle.card.size_px
    rng = np.random.default_rng(0)
    return bundle.to_input(rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8))


def find_layers(network: nn.Module, x: Tensor) -> list[Layer]:
    """Return the layers that keep places, in the order in which they finish.

    Where several finish with the same maps, such as a stage and its last block, only the outermost
    counts. Layers of one place are left out.

    Parameters
    ----------
    x : float Tensor (B, 3, S, S)
        What `Bundle.to_input` gives; one image will do.
    """
    with torch.no_grad():
        outputs = _run(network, _named(network), x)[1]
    return _unrepeated(_layers_of(outputs, n_images=len(x)), outputs)


def default_layer(network: nn.Module, x: Tensor, *, fewest_px: int = FEWEST_PX) -> Layer:
    """Return the layer whose maps are explained unless another is named.

    It is the last one whose places have a say in the scores (in a vision transformer only the
    class token has, behind the last attention).

    Parameters
    ----------
    x : float Tensor (B, 3, S, S)
        What `Bundle.to_input` gives; two images will do.
    fewest_px : int
        A side of the maps, where the network has such a layer: places of a coarser map are too
        large to point at anything.

    Raises
    ------
    SettingsError
        The network has no layer that keeps places.
    """
    with torch.enable_grad():
        logits, outputs = _run(network, _named(network), x.detach().requires_grad_())
        found = _unrepeated(_layers_of(outputs, n_images=len(x)), outputs)
        found = [layer for layer in found if not is_inner(layer.name)] or found
        gradients = (
            torch.autograd.grad(
                logits[:, 0].sum() - logits.mean(dim=1).sum(),
                [outputs[layer.name] for layer in found],
                allow_unused=True,
            )
            if found
            else ()
        )
    heard = [
        layer
        for layer, gradient in zip(found, gradients, strict=True)
        if gradient is not None
        and _has_a_say(layer.maps(outputs[layer.name]), layer.maps(gradient))
    ]
    if not heard:
        raise SettingsError(
            "No layer of this network keeps places, so there are no maps of its layers.",
            fix="Use --method occlusion or integrated-gradients, which need none.",
        )
    fine = [layer for layer in heard if layer.side >= fewest_px]
    return _outermost_last(found, fine or heard)


def _outermost_last(found: Sequence[Layer], heard: Sequence[Layer]) -> Layer:
    """Return the last layer heard; of maps, the last stage and not a part of the next one.

    Where that stage has no say, since a normalisation follows, its first layer behind it has.
    """
    last = heard[-1]
    if last.kind == "tokens":
        return last
    of_this_side = [layer for layer in found if layer.side == last.side]
    depth = min(layer.name.count(".") for layer in of_this_side)
    stage = [layer for layer in of_this_side if layer.name.count(".") == depth][-1]
    behind = of_this_side[of_this_side.index(stage) :]
    return next((layer for layer in behind if layer in heard), last)


def named_layer(network: nn.Module, x: Tensor, name: str) -> Layer:
    """Return a layer by its name.

    Raises
    ------
    SettingsError
        There is no such layer, or it does not keep places; the nearest names are given.
    """
    found = {layer.name: layer for layer in find_layers(network, x)}
    with torch.no_grad():
        outputs = _run(network, _named(network), x)[1]
    found = {layer.name: layer for layer in _layers_of(outputs, n_images=len(x))} | found
    if name in found:
        return found[name]
    is_there = name in _named(network)
    near = difflib.get_close_matches(name, found, n=NEAREST, cutoff=0.3)
    near = near or list(found)[-NEAREST:]
    raise SettingsError(
        f"The layer {name!r} gives no maps." if is_there else f"The network has no layer {name!r}.",
        where="--layer",
        fix=f"Layers with maps: {', '.join(near)}." if near else "Leave --layer out.",
    )


def read_layers(
    network: nn.Module, x: Tensor, layers: Sequence[Layer]
) -> tuple[Tensor, list[Tensor]]:
    """Return the logits (B, K) and the output of each layer, which `Layer.maps` makes maps of.

    The outputs are parts of the graph where gradients are enabled, and are not changed by layers
    behind them that work in place.
    """
    modules = _named(network)
    logits, outputs = _run(network, {layer.name: modules[layer.name] for layer in layers}, x)
    return logits, [outputs[layer.name] for layer in layers]


def _named(network: nn.Module) -> dict[str, nn.Module]:
    return {
        name: module
        for name, module in network.named_modules()
        if name and not isinstance(module, NOT_READ)
    }


def _run(
    network: nn.Module, modules: dict[str, nn.Module], x: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the logits and the outputs by name, in the order in which the modules finish."""
    outputs: dict[str, Tensor] = {}
    with hooked(modules, outputs):
        logits = network(x)
    return logits, outputs


@contextmanager
def hooked(modules: dict[str, nn.Module], outputs: dict[str, Tensor]) -> Iterator[None]:
    """Note the outputs of modules; what goes on is a copy, which may be changed in place."""

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                return output
            outputs.pop(name, None)  # of a module that runs twice, the last time
            outputs[name] = output
            return output.clone()

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers_of(outputs: dict[str, Tensor], *, n_images: int) -> list[Layer]:
    found = [_layer_of(name, output, n_images) for name, output in outputs.items()]
    return [layer for layer in found if layer is not None]


def _layer_of(name: str, output: Tensor, n_images: int) -> Layer | None:
    """Return how an output keeps places; None where it does not."""
    shape = tuple(output.shape)
    if shape[0] != n_images or not output.is_floating_point():
        return None
    if len(shape) == 4 and shape[2] == shape[3] > 1:
        return Layer(name, "maps", shape[1], shape[2])
    if len(shape) == 4 and shape[1] == shape[2] > 1:
        return Layer(name, "maps_last", shape[3], shape[1])
    if len(shape) == 3:
        side = math.isqrt(shape[1])
        n_prefix = shape[1] - side * side
        if side > 1 and n_prefix <= MOST_PREFIX_TOKENS:
            return Layer(name, "tokens", shape[2], side, n_prefix)
    return None


def _unrepeated(found: Sequence[Layer], outputs: dict[str, Tensor]) -> list[Layer]:
    """Leave out layers inside another one that finishes right after them with the same maps."""
    kept: list[Layer] = []
    for layer in found:
        is_same = bool(kept) and layer.name == kept[-1].name.rpartition(".")[0]
        if is_same and _is_equal(outputs[kept[-1].name], outputs[layer.name]):
            kept.pop()
        kept.append(layer)
    return kept


def _is_equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)


def is_inner(name: str) -> bool:
    """Return whether a layer is a part of a block, of other channels or of a branch alone."""
    return any(part.startswith(INNER) for part in name.split("."))


def _has_a_say(maps: Tensor, gradients: Tensor) -> bool:
    """Return whether maps and gradients, (B, C, H, W), make evidence.

    Behind the last attention of a vision transformer the gradients are 0 at all places; before a
    layer normalisation, which takes all scale away, they are orthogonal to the maps.
    """
    products = maps * gradients
    left = products.sum(dim=1).abs().sum()
    return bool(left > LEAST_EVIDENCE * products.abs().sum())
