"""The bundle: a trained network and all that is needed to use it rightly.

Two files: ``model.safetensors`` and ``card.json``. What was trained is what is evaluated, predicted
and served: the one preprocessing lives here. Nothing is pickled and no code is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from diascope.atomic import atomic_path, write_text
from diascope.data.image import ALPHA_BACKGROUNDS, FITS, fit_image
from diascope.data.pack import Pixels
from diascope.errors import DataError, ImageError, RunError, SourceError
from diascope.metrics.operating_point import OperatingPoint
from diascope.metrics.prediction_sets import PredictionSets
from diascope.models.find import find_model
from diascope.models.spec import Head
from diascope.predictions import is_finite, softmax
from diascope.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH_SIZE = 128

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0)]
Deviation = Annotated[float, Field(ge=0.001, le=1)]


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
            raise _no_bundle(folder) from error
        except (OSError, ValueError) as error:
            raise _damaged(folder) from error

    @property
    def pixels(self) -> Pixels:
        """How an image becomes the square that the network sees."""
        return Pixels(self.size_px, self.fit, self.alpha_background)


class Bundle:
    """A trained network that predicts.

    Parameters
    ----------
    card : Card
    module : nn.Module
        Maps (B, 3, S, S) to logits (B, K).
    """

    def __init__(self, card: Card, module: nn.Module) -> None:
        import torch

        self.card = card
        self.module = module.eval().to(memory_format=torch.channels_last)  # the faster order

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities."""
        return self.card.classes

    def to_input(self, images: NDArray[np.uint8]) -> Tensor:
        """Normalise uint8 (B, S, S, 3), 0-255, for the network: float32 (B, 3, S, S).

        The batch lies on the network's device.
        """
        import torch

        from diascope.inputs import normalise, to_unit

        x = torch.from_numpy(images).to(next(self.module.parameters()).device)
        return normalise(to_unit(x), self.card.mean, self.card.std)

    def predict_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score images of the network's size, in full precision, averaged over the views.

        The logits refer to the prior of the card, and are calibrated.

        Parameters
        ----------
        images : uint8 (N, S, S, 3), 0-255

        Returns
        -------
        float32 (N, K)
        """
        import torch

        from diascope.data.augment import dihedral
        from diascope.device import full_precision

        logits = [np.empty((0, len(self.classes)), dtype=np.float32)]
        with torch.inference_mode(), full_precision():
            for start in range(0, len(images), BATCH_SIZE):
                batch = np.ascontiguousarray(images[start : start + BATCH_SIZE])
                x = self.to_input(batch)
                views = [self.module(dihedral(x, view)) for view in range(self.card.views)]
                logits.append(torch.stack(views).mean(dim=0).cpu().numpy())
        return self._calibrated(np.concatenate(logits))

    def _calibrated(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        offset = np.array(self.card.logit_offset, dtype=np.float32)
        return (logits + offset) / np.float32(self.card.temperature)

    def predict_logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score what the backbone saw of images, without looking again; see `predict_logits`.

        Parameters
        ----------
        features : float32 (V, N, D)
            Of each view of the card, as `diascope.features` computes them.

        Returns
        -------
        float32 (N, K)
        """
        import torch

        head = self.module.get_submodule("head")
        from diascope.device import full_precision

        with torch.inference_mode(), full_precision():
            seen = torch.from_numpy(features).to(next(head.parameters()).device)
            logits = torch.stack([head(view) for view in seen]).mean(dim=0).cpu().numpy()
        return self._calibrated(logits)

    def predict_proba(
        self, images: Sequence[NDArray[np.uint8] | Path | str]
    ) -> NDArray[np.float64]:
        """Return class probabilities of images of any size.

        Parameters
        ----------
        images : sequence
            Paths of image files, or decoded RGB images, uint8 (H, W, 3), 0-255.

        Returns
        -------
        float64 (N, K)
            Rows sum to 1; the columns are in the order of `classes`.

        Raises
        ------
        ImageError
            A file cannot be read as an image.
        DataError
            An array is not uint8 (H, W, 3).
        RunError
            The network gives scores that are not finite.
        """
        size_px = self.card.size_px
        pixels = np.empty((len(images), size_px, size_px, 3), np.uint8)
        for number, image in enumerate(images):
            pixels[number] = self._to_pixels(image)
        logits = self.predict_logits(pixels)
        n_bad = int((~is_finite(logits)).sum())
        if n_bad:
            raise RunError(
                f"The network gave no finite score for {n_bad} of {len(images)} images.",
                fix="Train it again; a lower learning rate may help.",
            )
        return softmax(logits)

    def _to_pixels(self, image: NDArray[np.uint8] | Path | str) -> NDArray[np.uint8]:
        """Turn a file or a decoded image into what the network sees: uint8 (S, S, 3)."""
        if isinstance(image, Path | str):
            try:
                return self.card.pixels.read(Path(image).read_bytes())
            except OSError as error:
                raise SourceError(
                    f"The file cannot be read: {error.strerror}.", where=image
                ) from error
            except ImageError as error:
                raise ImageError(error.problem, where=image) from error
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise DataError(f"An image is {array.dtype} {array.shape}, and not uint8 (H, W, 3).")
        return fit_image(array, self.card.size_px, fit=self.card.fit)

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the predicted class indices (N,) of probabilities (N, K)."""
        if self.card.positive is None or self.card.threshold is None:
            return (probabilities * np.array(self.card.decision_weights)).argmax(axis=1)
        positive = self.card.classes.index(self.card.positive)
        is_positive = probabilities[:, positive] >= self.card.threshold
        return np.where(is_positive, positive, 1 - positive)

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and, last, ``card.json``."""
        from safetensors.torch import save_file

        tensors = {name: t.detach().cpu() for name, t in self.module.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as temporary:
            save_file({name: t.contiguous() for name, t in tensors.items()}, temporary)
        digest = _file_digest(folder / "model.safetensors")
        self.card = self.card.model_copy(update={"weights_sha256": digest})
        self.save_card(folder)

    def save_card(self, folder: Path) -> None:
        """Write ``card.json``: of the weights that lie there."""
        write_text(folder / "card.json", self.card.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle and check that its weights are the ones that its card names.

        Raises
        ------
        RunError
            A file is missing or damaged, the weights do not fit the card, or the card names a
            code file as its model.
        UnknownNameError
            The model is not installed.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from diascope.device import best_device

        card = Card.load(folder)
        try:
            if _file_digest(folder / "model.safetensors") != card.weights_sha256:
                raise RunError(
                    "The weights are not the ones that the card names.",
                    where=folder,
                    fix="Restore model.safetensors from a copy, or train again with another --out.",
                )
            module = _build(card, folder)
            module.load_state_dict(load_file(folder / "model.safetensors"))
        except FileNotFoundError as error:
            raise _no_bundle(folder) from error
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise _damaged(folder) from error
        return cls(card, module.to(best_device()))


def _no_bundle(folder: Path) -> RunError:
    return RunError(
        "There is no bundle here.", where=folder, fix="Pass a trained run or its bundle."
    )


def _damaged(folder: Path) -> RunError:
    return RunError(
        "The bundle is damaged.",
        where=folder,
        fix="Restore it from a copy, or train again with another --out.",
    )


def _build(card: Card, folder: Path) -> nn.Module:
    """Build the network that a card names, from what is installed and never from a file."""
    if card.model.endswith(".py"):
        raise RunError(
            f"The bundle names the code file {card.model}; code files named in a bundle are "
            "never run.",
            where=folder,
            fix="Install the model as a plugin (entry point group diascope.models), and train "
            "with its name.",
        )
    from diascope.models.ensemble import Ensemble, Member

    spec = find_model(card.model, card.head)
    if card.size_px < spec.min_size_px:
        raise ValueError(f"{card.model} needs {spec.min_size_px} px")
    networks = [spec.build(len(card.classes), card.size_px) for _ in range(card.members or 1)]
    if not card.members:
        return networks[0]
    return Ensemble([Member(network, card.mean, card.std) for network in networks])


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
