"""What is served: models by name, and what each answers to image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import MapVerdict
from diascope.bundle.prediction import Prediction
from diascope.explanations.explained import ExplainedImage
from diascope.explanations.feature_maps import Stage
from diascope.serving.limits import Limits


@dataclass(frozen=True)
class Answer:
    """What is said of one image file."""

    sha256: str
    prediction: Prediction | None = None  # None with an error
    error: str | None = None  # why there is no prediction, in a line
    image: NDArray[np.uint8] | None = None  # (S, S, 3): as the network sees it


class ServedModel:
    """A model with its queues."""

    name: str
    bundle: Bundle  # with the card of its operating point
    model_card: str  # Markdown; empty where there is none
    methods: tuple[str, ...]  # of heat maps, the best verdict first

    def verdict_of(self, method: str) -> MapVerdict | None:
        """Return the verdict on a method; None where it was not tested."""
        raise NotImplementedError

    async def predict(self, contents: Sequence[bytes]) -> list[Answer]:
        """Return what is said of files, in their order; ``Problem`` where the server is busy."""
        raise NotImplementedError

    async def explain(
        self, content: bytes, *, method: str | None = None, target: str | None = None
    ) -> ExplainedImage:
        """Return the heat map of one method, by default the best; no feature maps.

        Raises
        ------
        Problem
            The server is busy, the file is no image, or there is no such method or class.
        """
        raise NotImplementedError

    async def feature_maps(self, content: bytes) -> tuple[Stage, ...]:
        """Return the feature maps of an image; ``Problem`` as of `explain`."""
        raise NotImplementedError

    async def features(self, content: bytes) -> NDArray[np.float32] | None:
        """Return the features (D,) of an image, for similar cases; ``Problem`` as of `explain`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Service:
    """All that is served."""

    models: Mapping[str, ServedModel]  # in the order that they were named; at least one
    limits: Limits

    def model(self, name: str | None) -> ServedModel:
        """Return a model by its name, by default the first; ``Problem`` (404) without one."""
        raise NotImplementedError
