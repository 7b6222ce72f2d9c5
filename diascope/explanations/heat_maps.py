"""Heat maps: where in an image the evidence for a class lies, by several methods.

The maps hold evidence for the class, 0 or more, in units of the logit (`attention-rollout`: in
parts of 1). They are averaged over the views and the members by which the bundle predicts, before
evidence against the class is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import MapVerdict
from diascope.bundle.predictions import softmax
from diascope.bundle.preprocess import dihedral, undo_dihedral
from diascope.errors import DataError, SettingsError, UnknownNameError
from diascope.explanations.attention import rollout
from diascope.explanations.cams import grad_cam, hires_cam, score_cam
from diascope.explanations.layers import (
    Layer,
    default_layer,
    named_layer,
    networks_of,
    sample_input,
)
from diascope.explanations.perturbed import (
    blurred,
    integrated_gradients,
    occlusion,
    windows_in_a_row,
)
from diascope.system.device import full_precision

BATCH_SIZE = 32
GRAIN = 1 / 32  # of the side: integrated gradients are blurred by it, since they are noisy
# A side of the maps that are explained, where there are such. HiResCAM may take finer ones: to
# average the gradients over all places, as Grad-CAM does, is right only close to the head.
FEWEST_PX, FEWEST_PX_OF_HIRES_CAM = 4, 7
CAMS = {"grad-cam": grad_cam, "hires-cam": hires_cam, "score-cam": score_cam}
OF_PIXELS = {"integrated-gradients": integrated_gradients, "occlusion": occlusion}
ROLLOUT = "attention-rollout"
METHODS = (*CAMS, *OF_PIXELS, ROLLOUT)
DEFAULT_METHODS = ("grad-cam", "hires-cam", "integrated-gradients", "occlusion")


@dataclass(frozen=True)
class HeatMaps:
    """The heat maps of N images by one method."""

    method: str
    layer: str  # whose maps were explained; empty where the method needs none
    side: int  # of the places that the map tells apart, in a row
    targets: NDArray[np.int64]  # (N,): the class that is explained
    maps: NDArray[np.float32] = field(repr=False)  # (N, S, S): evidence for it, 0 or more


@dataclass(frozen=True)
class Explainer:
    """A method, ready for a bundle."""

    bundle: Bundle
    method: str
    layer: Layer | None  # whose maps are explained; None for a method of pixels

    @classmethod
    def of(cls, bundle: Bundle, method: str, layer: str | None = None) -> Explainer:
        """Return a method with the layer of this name, or with that found by `default_layer`.

        Raises
        ------
        SettingsError
            No such method or layer; or the network has no maps or no attention to explain.
        """
        if method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
        if method in OF_PIXELS:
            if layer is not None:
                raise SettingsError(
                    f"The method {method} explains pixels, and takes no layer.",
                    where="--layer",
                    fix=f"Leave --layer out, or choose {' or '.join(CAMS)}.",
                )
            return cls(bundle, method, None)
        with full_precision(), torch.inference_mode(mode=False):
            network, x = networks_of(bundle)[0], sample_input(bundle)
            if layer is not None:
                found = named_layer(network, x, layer)
            else:
                fewest_px = FEWEST_PX_OF_HIRES_CAM if method == "hires-cam" else FEWEST_PX
                found = default_layer(network, x, fewest_px=fewest_px)
            if method == ROLLOUT:
                rollout(network, x, found)
        return cls(bundle, method, found)

    @property
    def layer_name(self) -> str:
        """The layer whose maps are explained; empty for a method of pixels."""
        return self.layer.name if self.layer else ""

    @property
    def verdict(self) -> MapVerdict | None:
        """The verdict that the bundle has on these maps; None where they were not tested."""
        verdicts = self.bundle.map_verdicts
        return verdicts.of(self.method, self.layer_name) if verdicts else None

    @property
    def side(self) -> int:
        """How many places of a map in a row the method tells apart."""
        if self.layer is not None:
            return self.layer.side
        size_px = self.bundle.card.size_px
        if self.method == "occlusion":
            return len(windows_in_a_row(size_px)[1])
        return min(size_px, round(1 / (2 * GRAIN)))  # two standard deviations of the blur apart

    def evidence(
        self, images: NDArray[np.uint8], targets: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return the signed evidence, float32 (N, S, S), of uint8 (N, S, S, 3) for classes (N,)."""
        found = [np.empty((0, *images.shape[1:3]), np.float32)]
        with full_precision(), torch.inference_mode(mode=False):
            for start in range(0, len(images), BATCH_SIZE):
                part = slice(start, start + BATCH_SIZE)
                x = self.bundle.to_input(np.ascontiguousarray(images[part]))
                chosen = torch.as_tensor(np.asarray(targets[part]), device=x.device)
                found.append(self._of_batch(x, chosen).cpu().numpy())
        return np.concatenate(found)

    def maps(self, images: NDArray[np.uint8], targets: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the evidence for classes, 0 or more: float32 (N, S, S)."""
        return np.maximum(self.evidence(images, targets), 0)

    def _of_batch(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over members and views."""
        found = [
            undo_dihedral(self._of_view(network, dihedral(x, view), targets), view)
            for network in networks_of(self.bundle)
            for view in range(self.bundle.card.views)
        ]
        return torch.stack(found).mean(dim=0)

    def _of_view(self, network: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        if self.layer is None:
            evidence = OF_PIXELS[self.method](network, x, targets)
            is_noisy = self.method == "integrated-gradients"
            return blurred(evidence[:, None], GRAIN)[:, 0] if is_noisy else evidence
        if self.method == ROLLOUT:
            evidence = rollout(network, x, self.layer)
        else:
            evidence = CAMS[self.method](network, x, targets, self.layer)
        size = x.shape[2:]
        return functional.interpolate(evidence[:, None], size=size, mode="bilinear")[:, 0]


def heat_maps(
    bundle: Bundle,
    images: NDArray[np.uint8],
    *,
    method: str = "grad-cam",
    targets: Sequence[int] | NDArray[np.integer] | None = None,
    layer: str | None = None,
) -> HeatMaps:
    """Return a heat map of each image.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
        As the network sees them, see `diascope.data.pixels.Pixels`.
    method : str
        One of `METHODS`.
    targets : int (N,), optional
        Class indices to explain; by default the predicted class of each image.
    layer : str, optional
        The layer whose maps are explained; by default that of `default_layer`.

    Raises
    ------
    SettingsError
        No such method, layer or class; or the network has no maps or no attention to explain.
    DataError
        The images are of another kind or size.
    """
    side = bundle.card.size_px
    if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
        raise DataError(
            f"The images are {images.dtype} {images.shape}, not uint8 (N, {side}, {side}, 3).",
            where="images",
        )
    explainer = Explainer.of(bundle, method, layer)
    chosen = predicted(bundle, images) if targets is None else np.asarray(targets)
    n_classes = len(bundle.classes)
    is_whole = chosen.dtype.kind in "iu" or not chosen.size
    if (
        chosen.shape != (len(images),)
        or not is_whole
        or not np.isin(chosen, range(n_classes)).all()
    ):
        raise SettingsError(
            f"The targets are not one class index, 0 to {n_classes - 1}, for each image.",
            where="targets",
        )
    chosen = chosen.astype(np.int64)
    maps = explainer.maps(images, chosen)
    return HeatMaps(method, explainer.layer_name, explainer.side, chosen, maps)


def predicted(bundle: Bundle, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the predicted class of images, uint8 (N, S, S, 3): int64 (N,)."""
    return bundle.decide(softmax(bundle.predict_logits(images))).astype(np.int64)
