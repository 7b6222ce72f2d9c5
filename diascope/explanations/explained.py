"""Explain images: what a bundle predicts, the heat maps of several methods, and feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.map_verdicts import Finding, MapVerdict
from diascope.bundle.prediction import NO_SCORE, Prediction, predict_each
from diascope.errors import DiascopeError, SettingsError, UnknownNameError
from diascope.explanations.feature_maps import Stage, stage_layers, stage_maps
from diascope.explanations.heat_maps import DEFAULT_METHODS, OF_PIXELS, Explainer
from diascope.explanations.layers import Layer


@dataclass(frozen=True)
class MethodMap:
    """The heat map of one image by one method."""

    method: str
    layer: str  # whose maps were explained; empty for a method of pixels
    side: int  # of the places that the map tells apart, in a row
    verdict: MapVerdict | None  # on the method and this network; None where it was not tested
    findings: tuple[Finding, ...]  # of this map alone
    heat_map: NDArray[np.float32] = field(repr=False)  # (S, S): evidence for the target, 0 or more

    @property
    def level(self) -> str:
        """The level of the verdict, or ``"not tested"``."""
        return self.verdict.level if self.verdict else "not tested"


@dataclass(frozen=True)
class ExplainedImage:
    """One image with all that is said of it."""

    image: NDArray[np.uint8] = field(repr=False)  # (S, S, 3), 0-255: as the network sees it
    prediction: Prediction
    target: int  # the class that is explained
    maps: tuple[MethodMap, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class ImageExplainer:
    """A bundle with the methods that explain its predictions."""

    bundle: Bundle
    explainers: tuple[Explainer, ...]
    target: int | None = None  # the class to explain; None for the predicted class
    with_stages: bool = True  # whether feature maps are made, too

    @cached_property
    def stages(self) -> list[Layer]:
        """The layers whose feature maps are shown."""
        return stage_layers(self.bundle) if self.with_stages else []

    def explained(self, images: NDArray[np.uint8]) -> Iterator[ExplainedImage | str]:
        """Yield what is said of images, uint8 (N, S, S, 3), or why nothing can be."""
        predictions = predict_each(self.bundle, images)
        scored = [one for one in predictions if one is not None]
        predicted = np.array([one.predicted for one in scored], np.int64)
        targets = predicted if self.target is None else np.full_like(predicted, self.target)
        rows = [row for row, one in enumerate(predictions) if one is not None]
        heat_maps = [explainer.maps(images[rows], targets) for explainer in self.explainers]
        place = {row: at for at, row in enumerate(rows)}
        for row, (image, prediction) in enumerate(zip(images, predictions, strict=True)):
            if prediction is None:
                yield NO_SCORE
                continue
            at = place[row]
            target = int(targets[at])
            yield ExplainedImage(
                image=image,
                prediction=prediction,
                target=target,
                maps=tuple(
                    _method_map(explainer, image, target, maps[at])
                    for explainer, maps in zip(self.explainers, heat_maps, strict=True)
                ),
                stages=tuple(stage_maps(self.bundle, image, self.stages)),
            )


def _method_map(
    explainer: Explainer, image: NDArray[np.uint8], target: int, heat_map: NDArray[np.float32]
) -> MethodMap:
    from diascope.explanations.verdict import judge_map

    return MethodMap(
        method=explainer.method,
        layer=explainer.layer_name,
        side=explainer.side,
        verdict=explainer.verdict,
        findings=judge_map(explainer, image, target, heat_map),
        heat_map=heat_map,
    )


def choose_explainers(
    bundle: Bundle, methods: Sequence[str] | None, layer: str | None
) -> tuple[tuple[Explainer, ...], list[str]]:
    """Return the methods that explain a bundle, and a line for each that cannot.

    A layer is for those methods that take one.

    Parameters
    ----------
    methods : sequence of str, optional
        Of `diascope.explanations.heat_maps.METHODS`; by default those of `DEFAULT_METHODS` that are
        possible with this network.

    Raises
    ------
    SettingsError
        A method that was named is not possible, there is no such method or layer, or no method that
        was named takes a layer.
    """
    chosen = list(dict.fromkeys(methods or DEFAULT_METHODS))
    takes_layer = [method for method in chosen if method not in OF_PIXELS]
    found: list[Explainer] = []
    left_out: list[str] = []
    for method in chosen:
        of_layer = layer if method in takes_layer or not takes_layer else None
        try:
            found.append(Explainer.of(bundle, method, of_layer))
        except UnknownNameError:
            raise
        except DiascopeError as error:
            if methods or of_layer is not None:
                raise
            left_out.append(f"{method} is left out: {error.problem}")
    return tuple(found), left_out


def class_index(card: Card, target: str | int) -> int:
    """Return the index of a class by its name, its title or its index.

    Raises
    ------
    UnknownNameError
        There is no class of this name.
    SettingsError
        There is no class of this index.
    """
    if not isinstance(target, str):
        if not 0 <= target < len(card.classes):
            raise SettingsError(
                f"There is no class {target}: they are 0 to {len(card.classes) - 1}.",
                where="targets",
            )
        return int(target)
    if target in card.classes:
        return card.classes.index(target)
    titles = [card.title_of(name) for name in card.classes]
    if target in titles:
        return titles.index(target)
    raise UnknownNameError("class", target, dict.fromkeys([*card.classes, *titles]))
