"""What the filters of the first convolution look like, and what they respond to most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diascope.bundle.bundle import Bundle
from diascope.system.device import full_precision

MOST_IMAGES = 200  # in which patches are looked for
N_FILTERS, N_PATCHES = 24, 8
AT_ONCE = 16  # images whose maps are held in memory


@dataclass(frozen=True, slots=True)
class Patch:
    """A square of an image."""

    number: int  # of the image
    top: int
    left: int
    response: float  # of the filter, before batch normalisation


@dataclass(frozen=True)
class Filter:
    """A filter of the first convolution."""

    number: int
    picture: NDArray[np.uint8]  # (k, k, 3): grey is 0, and the strongest weight is 0 or 255
    patches: tuple[Patch, ...]  # the strongest first


@dataclass(frozen=True)
class FirstLayer:
    """The filters of the first convolution that vary most over images, the most varied first."""

    name: str
    n_filters: int  # in all
    field_px: tuple[int, int]  # height and width of a patch
    filters: tuple[Filter, ...]


class _FoundError(Exception):
    """The first layer has answered: the rest of the network need not run."""


def first_layer_filters(
    bundle: Bundle, images: NDArray[np.uint8], groups: Sequence[str]
) -> FirstLayer | None:
    """Find the patches to which each filter responds most, from as many groups as possible.

    A patch lies within the image, and is all that the filter saw of it. At most one patch is taken
    of each image. A filter whose sign is turned by the batch normalisation right behind it is shown
    turned, and so are its responses.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
        As the network sees them.
    groups : sequence of str
        The group of each image.

    Returns
    -------
    FirstLayer, or None
        None where the first layer is no convolution of an RGB image, or where it responds equally
        to everything.
    """
    network = bundle.module
    layer = dict(network.named_modules()).get(bundle.card.first_layer)
    if not isinstance(layer, nn.Conv2d) or layer.weight.shape[1] != 3 or not len(images):
        return None
    with torch.inference_mode(), full_precision():
        signs = _signs(network, layer, bundle.to_input(images[:1]))
        found = _strongest(bundle, layer, signs, images)
    if found is None:
        return None
    responses, places, spread = found
    weights = (layer.weight.detach() * signs.view(-1, 1, 1, 1)).float().cpu().numpy()
    order = np.argsort(-spread, kind="stable")[:N_FILTERS]
    filters = tuple(
        Filter(
            int(number),
            _picture(weights[number]),
            tuple(
                _patch(one, places[one, number], responses[one, number])
                for one in _by_turns(responses[:, number], groups)[:N_PATCHES]
            ),
        )
        for number in order
        if spread[number] > 0
    )
    field = tuple(np.add(1, np.multiply(layer.dilation, np.subtract(layer.kernel_size, 1))))
    shown = FirstLayer(
        bundle.card.first_layer, len(weights), (int(field[0]), int(field[1])), filters
    )
    return shown if filters else None


def _signs(network: nn.Module, layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Return 1 for each filter, or -1 where the batch normalisation behind turns its sign: (C,)."""
    answered: list[Tensor] = []
    signs = torch.ones(layer.out_channels, device=x.device)

    def look(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if answered and inputs[0] is answered[0] and module.affine:
            signs.copy_(torch.where(module.weight < 0, -1.0, 1.0))

    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        answered.append(output)

    hooks = [layer.register_forward_hook(note)]
    hooks += [
        module.register_forward_pre_hook(look)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return signs


def _strongest(
    bundle: Bundle, layer: nn.Conv2d, signs: Tensor, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]] | None:
    """Return where each filter responds most in each image.

    Returns
    -------
    responses : float32 (N, C)
        The strongest response.
    places : int (N, C, 2)
        Top and left of what the filter saw there.
    spread : float64 (C,)
        The standard deviation of the responses at all places of all images.
    """
    responses, places = [], []
    total, squares, n_places = 0.0, 0.0, 0
    for start in range(0, len(images), AT_ONCE):
        x = bundle.to_input(np.ascontiguousarray(images[start : start + AT_ONCE]))
        maps = _answer(bundle.module, layer, x)
        if maps is None:
            return None
        tops, lefts = (
            _starts(layer, axis, n_places=maps.shape[2 + axis], side=x.shape[2 + axis])
            for axis in (0, 1)
        )
        rows = [y for y, top in enumerate(tops) if 0 <= top <= x.shape[2] - _field(layer, 0)]
        columns = [n for n, left in enumerate(lefts) if 0 <= left <= x.shape[3] - _field(layer, 1)]
        if not rows or not columns:
            return None
        inside = maps[:, :, rows][:, :, :, columns] * signs.view(1, -1, 1, 1)
        best, at = inside.flatten(2).max(dim=2)
        y, x_ = np.divmod(at.cpu().numpy(), len(columns))
        responses.append(best.float().cpu().numpy())
        where = (np.array(tops)[np.array(rows)[y]], np.array(lefts)[np.array(columns)[x_]])
        places.append(np.stack(where, axis=2))
        values = inside.double()
        total = total + values.sum(dim=(0, 2, 3)).cpu().numpy()
        squares = squares + (values**2).sum(dim=(0, 2, 3)).cpu().numpy()
        n_places += len(values) * len(rows) * len(columns)
    variance = np.asarray(squares) / n_places - (np.asarray(total) / n_places) ** 2
    spread = np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 0)), 0)
    return np.concatenate(responses), np.concatenate(places), spread


def _answer(network: nn.Module, layer: nn.Conv2d, x: Tensor) -> Tensor | None:
    """Return the maps of a layer, (B, C, H, W); None if it does not see the image itself."""
    caught: list[Tensor] = []

    def catch(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs[0].shape == x.shape:
            caught.append(output.clone())
        raise _FoundError

    hook = layer.register_forward_hook(catch)
    try:
        network(x)
    except _FoundError:
        pass
    finally:
        hook.remove()
    return caught[0] if caught else None


def _field(layer: nn.Conv2d, axis: int) -> int:
    """Return the height or width of what a filter sees, in px."""
    return layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1


def _starts(layer: nn.Conv2d, axis: int, *, n_places: int, side: int) -> list[int]:
    """Return where in the image each place of the maps begins to see, in px; below 0 outside."""
    stride, field = layer.stride[axis], _field(layer, axis)
    before = layer.padding[axis] if not isinstance(layer.padding, str) else -1
    if before < 0 or (side + 2 * before - field) // stride + 1 != n_places:
        before = max((n_places - 1) * stride + field - side, 0) // 2  # "same", as timm pads too
    return [place * stride - before for place in range(n_places)]


def _by_turns(responses: NDArray[np.float32], groups: Sequence[str]) -> list[int]:
    """Return the numbers of images, the strongest response of each group before any second one."""
    taken: Counter[str] = Counter()
    turns: list[tuple[int, int]] = []
    for number in map(int, np.argsort(-responses, kind="stable")):
        turns.append((taken[groups[number]], number))
        taken[groups[number]] += 1
    return [number for _, number in sorted(turns, key=lambda turn: turn[0])]


def _patch(number: int, place: NDArray[np.intp], response: np.float32) -> Patch:
    return Patch(number, top=int(place[0]), left=int(place[1]), response=float(response))


def _picture(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return weights, (3, k, k), as a picture (k, k, 3): grey is 0."""
    most = float(np.abs(weights).max()) or 1.0
    return np.round(127.5 * (1 + weights / most)).astype(np.uint8).transpose(1, 2, 0)
