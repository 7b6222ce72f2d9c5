"""The card of a bundle: what a network is, what it takes, and how its scores are to be read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diascope.bundle.predictions import softmax
from diascope.data.codes import Code, code_of
from diascope.data.image import AlphaBackground, Fit
from diascope.data.pixels import Pixels
from diascope.data.value_range import CheckedRange
from diascope.data.window import FILE, Window
from diascope.errors import DataError, RunError
from diascope.metrics.operating_point import OperatingPoint
from diascope.metrics.prediction_sets import PredictionSets
from diascope.models.spec import MOST_WEIGHT_BYTES, Head
from diascope.system.files import file_digest
from diascope.system.sealed import read_sealed, write_sealed
from diascope.system.words import printable
from diascope.task import Task

WEIGHTS = "model.safetensors"

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, le=1e12)]
Temperature = Annotated[float, Field(ge=1e-6, le=1e6)]
Offset = Annotated[float, Field(ge=-1e4, le=1e4)]  # of logits
Deviation = Annotated[float, Field(ge=0.001, le=1)]

FIX = "Restore it from a copy, or train again with another --out."


class Recalibration(BaseModel):
    """What the probabilities of a network were fitted to, after it was delivered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str  # name of the local data set
    data_sha256: str  # of the images that were fitted to
    parent_sha256: str  # of the card as delivered


class Card(BaseModel):
    """What a bundle is, and how it is used; K classes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    diascope: str  # the version that made it
    model: str = Field(max_length=1000)
    data: str
    data_sha256: str  # of the training images
    group_kind: str
    licence: str  # of the training images
    classes: tuple[str, ...] = Field(min_length=2)  # in the order of the logits
    class_titles: dict[str, str] = {}  # what pages call the classes whose names are codes
    codes: dict[str, Code] = {}  # what other programs know classes by, where that is known
    positive: str | None
    threshold: Fraction | None  # of two classes: the probability from which on it is positive
    prior: tuple[Fraction, ...]  # (K,): of the training images; probabilities refer to it
    # (K,): added to the logits of the network, so that they refer to the prior
    logit_offset: tuple[Offset, ...]
    # The logits are divided by it after that, see `diascope.metrics.calibration`
    temperature: Temperature = 1.0
    # (K,): of more than two classes, that with the largest product with its probability is chosen
    decision_weights: tuple[Weight, ...]
    operating_point: OperatingPoint | None = None  # what the threshold promises, if it does
    # Chosen later, beside that one; see `diascope.bundle.operating_points`
    other_points: tuple[OperatingPoint, ...] = ()
    prediction_sets: PredictionSets | None = None
    no_sets: str = ""  # why there are none, see `diascope.metrics.prediction_sets.why_no_sets`
    ood_sha256: str = ""  # of the file, as the following; empty without one
    drift_reference_sha256: str = ""
    cases_sha256: str = ""
    golden_sha256: str = ""  # see `diascope.bundle.golden`
    citation: str = ""  # of the images that the bundle holds, whose licence is the one above
    recalibration: Recalibration | None = None
    # Images, of groups not learned from, that temperature, threshold and sets were chosen on
    n_calibrated: int = Field(default=0, ge=0)
    size_px: int = Field(ge=8, le=2048)  # these five: see `diascope.data.pixels.Pixels`
    fit: Fit
    alpha_background: AlphaBackground
    value_range: CheckedRange | None = None
    window: Window = FILE
    pixel_rules: int = Field(default=0, ge=0)  # `RULES` of the decoder in training; 0 unknown
    # Per channel, of pixel values in 0-1
    mean: tuple[Fraction, ...] = Field(min_length=3, max_length=3)
    std: tuple[Deviation, ...] = Field(min_length=3, max_length=3)
    views: int = Field(ge=1, le=8)  # turns and mirrors of an image whose logits are averaged
    first_layer: str  # the first convolution
    head: Head | None = None  # behind a pretrained backbone
    initial_weights: str = ""  # SHA-256 of the file that the training began with, if there was one
    seed: int  # of the first member, in an ensemble
    # Networks whose logits are averaged, each with a normalisation of its own; 0 is one network
    members: int = Field(default=0, ge=0, le=100)
    weights_sha256: str = ""
    intended_use: str = "Research. Not a medical device; never the only ground for a decision."

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        try:
            Task(self.classes, self.positive)
        except DataError as error:
            raise ValueError(error.problem) from error
        if not set(self.class_titles) <= set(self.classes):
            raise ValueError("class_titles names a class that does not exist")
        if not set(self.codes) <= set(self.classes):
            raise ValueError("the codes name a class that does not exist")
        if len(self.prior) != len(self.classes) or abs(sum(self.prior) - 1) > 1e-6:
            raise ValueError("the prior does not add up to 1 over the classes")
        if not len(self.logit_offset) == len(self.decision_weights) == len(self.classes):
            raise ValueError("logit_offset and decision_weights must have a number for each class")
        if self.prediction_sets and len(self.prediction_sets.least) != len(self.classes):
            raise ValueError("prediction_sets must have a limit for each class")
        return self

    @classmethod
    def load(cls, folder: Path) -> Card:
        """Read the card of a bundle, and nothing of its weights.

        Raises
        ------
        RunError
            It is missing, damaged, changed by hand, or of another format.
        """
        path = folder / "card.json"
        if not path.is_file():
            raise no_bundle(folder)
        try:
            return cls.model_validate(read_sealed(path, fix=FIX))
        except ValueError as error:
            raise damaged(folder, f"in card.json, {_first_problem(error)}") from error

    def save(self, folder: Path) -> None:
        """Write ``card.json``."""
        write_sealed(folder / "card.json", self.model_dump(mode="json"))

    def check_weights(self, folder: Path) -> None:
        """Check that the weights in a folder are the ones that the card names.

        Raises
        ------
        RunError
            They are others, or missing.
        """
        try:
            found = file_digest(folder / WEIGHTS, most_bytes=MOST_WEIGHT_BYTES)
        except FileNotFoundError as error:
            raise no_bundle(folder) from error
        except OSError as error:
            raise damaged(folder, f"{WEIGHTS} cannot be read: {error.strerror}") from error
        if found != self.weights_sha256:
            raise RunError(
                "The weights are not the ones that the card names.",
                where=folder,
                fix=f"Restore {WEIGHTS} from a copy, or train again with another --out.",
            )

    def title_of(self, name: str) -> str:
        """Return what a class is called where people read it."""
        return self.class_titles.get(name, name)

    def code_of(self, name: str) -> Code:
        """Return the code of a class; a private one where none is stated."""
        return code_of(name, self.codes, title=self.class_titles.get(name))

    @property
    def digest(self) -> str:
        """The first 12 digits of a SHA-256 of all that probabilities follow from.

        Operating points, codes and images to be shown do not change it.
        """
        others = {"threshold", "operating_point", "other_points", "cases_sha256", "citation"}
        others |= {"codes", "golden_sha256"}
        content = self.model_dump_json(exclude=others, exclude_defaults=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def why_no_sets(self) -> str:
        """Why there are no prediction sets, as the end of a sentence; empty where there are."""
        if self.prediction_sets is not None:
            return ""
        return self.no_sets or "no validation images were left to choose their limits on"

    @property
    def pixels(self) -> Pixels:
        """How an image becomes the square that the network sees."""
        return Pixels(self.size_px, self.fit, self.alpha_background, self.value_range, self.window)

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the predicted class indices (N,) of probabilities (N, K)."""
        if self.positive is None or self.threshold is None:
            return (probabilities * np.array(self.decision_weights)).argmax(axis=1)
        positive = self.classes.index(self.positive)
        return np.where(probabilities[:, positive] >= self.threshold, positive, 1 - positive)

    def sets_of(self, logits: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Return which classes are in the prediction set of each image: bool (N, K), or None.

        The logits, float32 (N, K), are those of `Bundle.predict_logits`.
        """
        if self.prediction_sets is None:
            return None
        return self.prediction_sets.contains(softmax(logits * np.float32(self.temperature)))


def no_bundle(folder: Path) -> RunError:
    """Return the error that there is no bundle."""
    return RunError(
        "There is no bundle here.", where=folder, fix="Pass a trained run or its bundle."
    )


def damaged(folder: Path, why: str) -> RunError:
    """Return the error that a bundle's files are damaged or do not fit together."""
    return RunError(f"The bundle is damaged: {why}.", where=folder, fix=FIX)


KINDS = {  # what JSON calls the types that pydantic names
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "tuple_type": "must be a list",
    "named_tuple_type": "must be a list",
    "model_type": "must be an object",
    "dataclass_type": "must be an object",
    "dict_type": "must be an object",
    "string_type": "must be text",
}


def _first_problem(error: ValueError) -> str:
    """Return the first thing that is wrong with a card, as the end of a sentence."""
    if not isinstance(error, ValidationError):
        return printable(str(error)).rstrip(".")
    first = error.errors(include_url=False, include_input=False)[0]
    name, text = printable(".".join(map(str, first["loc"]))), first["msg"]
    if first["type"] == "value_error":
        text = text.removeprefix("Value error, ").rstrip(".")
        return f"{name} {text}" if name else text[:1].lower() + text[1:]
    text = re.sub(r"^\w+ should", "must", text).replace(" after validation", "")
    text = re.sub(r", (unable to|got) .*", "", text, flags=re.DOTALL)
    return f"{name} {KINDS.get(first['type'], text)}"
