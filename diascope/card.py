"""The card of a bundle: what a network is, what it takes, and how its answers are to be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from diascope.data.image import ALPHA_BACKGROUNDS, FITS
from diascope.data.pack import Pixels
from diascope.errors import DataError, RunError
from diascope.metrics.operating_point import OperatingPoint
from diascope.metrics.prediction_sets import PredictionSets
from diascope.models.spec import Head
from diascope.predictions import softmax
from diascope.task import Task

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0)]
Deviation = Annotated[float, Field(ge=0.001, le=1)]


class Recalibration(BaseModel):
    """Where the answers of a network were fitted to, after it was delivered.

    Parameters
    ----------
    data : str
        The local data set.
    data_sha256 : str
        Digest of the images that were fitted to.
    parent_sha256 : str
        Digest of the card as delivered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    data_sha256: str
    parent_sha256: str


class Card(BaseModel):
    """What a bundle says of itself.

    Parameters
    ----------
    diascope : str
        Version that made it.
    model : str
        Name of the architecture.
    data, group_kind, licence : str
        What it was trained on, and under which licence those images are.
    data_sha256 : str
        Digest of the training images.
    classes : tuple of str
        The K classes in the order of the logits.
    positive : str or None
        With two classes, the positive one.
    threshold : float or None
        With two classes: the positive class is predicted from this probability on.
    prior : tuple of float
        Share of each class among the training images, which the probabilities refer to.
    logit_offset : tuple of float (K,)
        Added to the network's logits, so that they refer to the prior: a training that makes up
        for unequal classes teaches another one.
    temperature : float
        What the logits are divided by after that, see `diascope.metrics.temperature`.
    decision_weights : tuple of float (K,)
        With more than two classes: the class is called whose probability times this is largest.
    operating_point : OperatingPoint, optional
        Where the threshold comes from, if it keeps a promise.
    prediction_sets : PredictionSets, optional
        From which probability on a class belongs to the set of an image.
    familiar_sha256 : str
        Digest of ``familiar.safetensors``, which tells images that are unlike those that were
        learned from; empty where there is none.
    baseline_sha256 : str
        Digest of ``baseline.safetensors``, which new predictions are held against; empty where
        there is none.
    recalibration : Recalibration, optional
        Where temperature, prior, sets and threshold were fitted anew, if they were.
    n_calibrated : int
        Images, of groups that were not learned from, that temperature, threshold and sets were
        chosen on.
    size_px, fit, alpha_background : int, str, str
        How a file becomes pixels, see `diascope.data.pack.Pixels`.
    mean, std : tuple of float
        Per channel, of pixel values in 0-1.
    views : int
        Turns and mirrors of each image whose logits are averaged.
    first_layer : str
        Name of the first convolution.
    head : Head or None
        What stands behind a pretrained backbone.
    initial_weights : str
        SHA-256 of the file of weights that the training began with, or nothing.
    seed : int
        Of the first member, in an ensemble.
    members : int
        Networks whose logits are averaged, each with a normalisation of its own; 0 is one network.
    weights_sha256 : str
        Digest of ``model.safetensors``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    diascope: str
    model: str
    data: str
    data_sha256: str
    group_kind: str
    licence: str
    classes: tuple[str, ...] = Field(min_length=2)
    positive: str | None
    threshold: Share | None
    prior: tuple[Share, ...]
    logit_offset: tuple[float, ...]
    temperature: Weight = 1.0
    decision_weights: tuple[Weight, ...]
    operating_point: OperatingPoint | None = None
    prediction_sets: PredictionSets | None = None
    familiar_sha256: str = ""
    baseline_sha256: str = ""
    recalibration: Recalibration | None = None
    n_calibrated: int = Field(default=0, ge=0)
    size_px: int = Field(ge=8, le=2048)
    fit: str
    alpha_background: str
    mean: tuple[Share, ...] = Field(min_length=3, max_length=3)
    std: tuple[Deviation, ...] = Field(min_length=3, max_length=3)
    views: int = Field(ge=1, le=8)
    first_layer: str
    head: Head | None = None
    initial_weights: str = ""
    seed: int
    members: int = Field(default=0, ge=0, le=100)
    weights_sha256: str = ""
    intended_use: str = "Research. Not a medical device; never the only ground for a decision."

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        try:
            Task(self.classes, self.positive)
        except DataError as error:
            raise ValueError(error.problem) from error
        if len(self.prior) != len(self.classes) or abs(sum(self.prior) - 1) > 1e-6:
            raise ValueError("the prior does not share 1 among the classes")
        if not len(self.logit_offset) == len(self.decision_weights) == len(self.classes):
            raise ValueError("there is not one offset and one weight a class")
        if self.prediction_sets and len(self.prediction_sets.least) != len(self.classes):
            raise ValueError("there is not one limit a class")
        if self.fit not in FITS or self.alpha_background not in ALPHA_BACKGROUNDS:
            raise ValueError("there is no such fit or background")
        return self

    @classmethod
    def load(cls, folder: Path) -> Card:
        """Read the card of a bundle, and nothing of its weights.

        Raises
        ------
        RunError
            It is missing or damaged.
        """
        try:
            return cls.model_validate(json.loads((folder / "card.json").read_text("utf-8")))
        except FileNotFoundError as error:
            raise no_bundle(folder) from error
        except (OSError, ValueError) as error:
            raise damaged(folder) from error

    @property
    def pixels(self) -> Pixels:
        """How an image becomes the square that the network sees."""
        return Pixels(self.size_px, self.fit, self.alpha_background)

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the predicted class indices (N,) of probabilities (N, K)."""
        if self.positive is None or self.threshold is None:
            return (probabilities * np.array(self.decision_weights)).argmax(axis=1)
        positive = self.classes.index(self.positive)
        return np.where(probabilities[:, positive] >= self.threshold, positive, 1 - positive)

    def sets_of(self, logits: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Tell which classes are in the prediction set of each image.

        Parameters
        ----------
        logits : float32 (N, K)
            Of `Bundle.predict_logits`.

        Returns
        -------
        bool (N, K), or None where the bundle has no sets
        """
        if self.prediction_sets is None:
            return None
        return self.prediction_sets.contains(softmax(logits * np.float32(self.temperature)))


def no_bundle(folder: Path) -> RunError:
    """Return the error that there is no bundle."""
    return RunError(
        "There is no bundle here.", where=folder, fix="Pass a trained run or its bundle."
    )


def damaged(folder: Path) -> RunError:
    """Return the error that a bundle's files do not fit together."""
    return RunError(
        "The bundle is damaged.",
        where=folder,
        fix="Restore it from a copy, or train again with another --out.",
    )
