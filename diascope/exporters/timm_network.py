"""A bundle as a plain network of timm: one linear layer behind the pooled features, and no more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from diascope.bundle.card import Card
from diascope.bundle.preprocess import normalise, to_unit
from diascope.errors import SettingsError
from diascope.models.spec import TIMM
from diascope.models.timm_backbone import Classifier

if TYPE_CHECKING:
    from diascope.bundle.bundle import Bundle

ANOTHER = "Export it with --format onnx, which holds every bundle."
SAME = 1e-3  # of logits, relative to the largest: rounding stays far below it


def architecture(card: Card) -> str:
    """Return what timm calls the network, without the tag of pretrained weights."""
    return card.model.removeprefix(TIMM).partition(".")[0]


def check_layout(bundle: Bundle) -> None:
    """Check by its card that timm has a place for everything that a bundle does to an image.

    Raises
    ------
    SettingsError
        It has not, and why.
    """
    card = bundle.card
    if card.members:
        raise _refused(f"it is an ensemble of {card.members} networks, and timm loads one")
    if not card.model.startswith(TIMM) or not isinstance(bundle.module, Classifier):
        raise _refused(
            f"timm has no architecture called {card.model}",
            fix=f"{ANOTHER} Or train with --model timm:NAME --set fit=stretch.",
        )
    if card.head is not None and card.head.dense_units:
        raise _refused(
            f"its head has a dense layer of {card.head.dense_units} units, and those of timm have "
            "none"
        )


@dataclass(frozen=True)
class TimmNetwork:
    """A network of timm, and the normalisation of pixel values in 0-1 that it expects."""

    module: nn.Module  # on the processor
    mean: tuple[float, ...]
    std: tuple[float, ...]


def timm_network(bundle: Bundle) -> TimmNetwork:
    """Return the network as timm builds it, with the weights of a bundle.

    Offset and temperature of the card are part of its last layer: softmax of what it returns are
    the calibrated probabilities of one view. Where images are padded, normalisation is part of the
    first layer, since timm pads with the colour that it subtracts.

    Raises
    ------
    SettingsError
        timm's network computes something else.
    """
    import timm

    check_layout(bundle)
    card, module = bundle.card, bundle.module
    pooling: dict[str, Any] = {"global_pool": "max"} if pool(card) == "max" else {}
    try:
        network = timm.create_model(
            architecture(card), pretrained=False, num_classes=len(card.classes), **pooling
        ).eval()
    except (TypeError, RuntimeError, AssertionError, ValueError) as error:
        raise _refused("timm's network of this name has no such pooling") from error
    layer = network.get_classifier()  # pyright: ignore[reportCallIssue]
    weight, bias = folded(card, module)
    if not isinstance(layer, nn.Linear | nn.Conv2d) or layer.bias is None:
        raise _refused("timm's network of this name does not end in one linear layer")
    if layer.weight.numel() != weight.numel():
        raise _refused(
            f"timm's network of this name has other layers before the last one: that takes "
            f"{layer.weight.shape[1]} features, and ours {weight.shape[1]}"
        )
    backbone = module.get_submodule("backbone").state_dict()
    network.load_state_dict({name: t.cpu() for name, t in backbone.items()}, strict=False)
    with torch.no_grad():
        layer.weight.copy_(weight.view_as(layer.weight))
        layer.bias.copy_(bias)
    found = TimmNetwork(network, card.mean, card.std)
    if card.fit == "pad" and any(round(255 * value) for value in card.mean):
        _fold_normalisation(network, card)
        found = TimmNetwork(network, (0.0,) * 3, (1.0,) * 3)
    _check_computes_the_same(found, bundle)
    return found


def pool(card: Card) -> str:
    """Return how feature maps are pooled."""
    return card.head.pool if card.head else "avg"


def folded(card: Card, module: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight (K, D) and bias (K,) of the last layer, with offset and temperature in them."""
    last = [m for m in module.get_submodule("head").modules() if isinstance(m, nn.Linear)][-1]
    weight, bias = (t.detach().cpu().double() for t in (last.weight, last.bias))
    offset = torch.tensor(card.logit_offset, dtype=torch.float64)
    return (weight / card.temperature).float(), ((bias + offset) / card.temperature).float()


def _fold_normalisation(network: nn.Module, card: Card) -> None:
    """Let the first layer subtract the mean and divide by the standard deviation.

    That is the same only where the layer has no border of zeros: with one, zeros are the mean.
    """
    known: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    name = known.get("first_conv")
    layer = network.get_submodule(name) if isinstance(name, str) else None
    if type(layer) is not nn.Conv2d or layer.bias is None or set(layer.padding) != {0}:
        raise _refused(
            "images are padded with black, and the transform of timm pads with the mean colour "
            f"that it subtracts ({', '.join(f'{value:.3f}' for value in card.mean)})",
            fix="Train with --set fit=stretch or normalise=none, or export with --format onnx.",
        )
    with torch.no_grad():
        std = torch.tensor(card.std, dtype=torch.float64).view(1, 3, 1, 1)
        mean = torch.tensor(card.mean, dtype=torch.float64).view(1, 3, 1, 1)
        weight = layer.weight.double() / std
        layer.bias.copy_(layer.bias.double() - (weight * mean).sum(dim=(1, 2, 3)))
        layer.weight.copy_(weight)


def _check_computes_the_same(network: TimmNetwork, bundle: Bundle) -> None:
    """Compare on noise: some networks of timm normalise between pooling and the last layer."""
    card = bundle.card
    one_view = replace(bundle, card=card.model_copy(update={"views": 1}))
    shape = (4, card.size_px, card.size_px, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = one_view.predict_logits(images)
    x = normalise(to_unit(torch.from_numpy(images)), network.mean, network.std)
    with torch.inference_mode():
        found = network.module(x).numpy()
    if not np.abs(found - expected).max() <= SAME * max(1.0, float(np.abs(expected).max())):
        raise _refused(
            "timm's network of this name computes something else between the features and the "
            "last layer, such as a normalisation"
        )


def _refused(why: str, *, fix: str = ANOTHER) -> SettingsError:
    return SettingsError(f"This bundle cannot be laid out for timm: {why}.", fix=fix)
