"""The bundle: a trained network and all that is needed to use it rightly.

Its files are ``model.safetensors``, ``card.json`` and, where there were images enough for them,
``familiar.safetensors`` (what the training images are like) and ``baseline.safetensors`` (what it
says of validation images). What was trained is what is evaluated, predicted and served: the one
preprocessing lives here. Nothing is pickled and no code is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diascope.atomic import atomic_path, write_text
from diascope.baseline import FILE as BASELINE
from diascope.baseline import Baseline
from diascope.card import Card, damaged, no_bundle
from diascope.data.image import fit_image
from diascope.errors import DataError, ImageError, RunError, SourceError
from diascope.models.find import find_model
from diascope.out_of_distribution import FILE as FAMILIAR
from diascope.out_of_distribution import Familiar
from diascope.predictions import is_finite, softmax

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH_SIZE = 128


class Bundle:
    """A trained network that predicts.

    Parameters
    ----------
    card : Card
    module : nn.Module
        Maps (B, 3, S, S) to logits (B, K).
    familiar : Familiar, optional
        What the training images are like.
    baseline : Baseline, optional
        What it says of validation images.
    """

    def __init__(
        self,
        card: Card,
        module: nn.Module,
        familiar: Familiar | None = None,
        baseline: Baseline | None = None,
    ) -> None:
        import torch

        self.card = card
        self.familiar = familiar
        self.baseline = baseline
        self.module = module.eval().to(memory_format=torch.channels_last)  # the faster order

    @cached_property
    def _scoring_module(self) -> nn.Module:
        """The network as it is fastest to score with, made at its first use."""
        import torch

        from diascope.models.fused import fused

        return fused(self.module).to(memory_format=torch.channels_last)

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
        return self._look_at(images, n_views=self.card.views, keeps_features=False)[0]

    def predict_with_unlikeness(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Score images as `predict_logits` does, and tell how unlike the training images they are.

        Returns
        -------
        logits : float32 (N, K)
        unlikeness : float32 (N,) or None
            Above 1 an image is to be refused, see `diascope.out_of_distribution`; None for a bundle
            that does not know what is familiar.
        """
        knows = self.familiar is not None
        logits, features = self._look_at(images, n_views=self.card.views, keeps_features=knows)
        if self.familiar is None or features is None:
            return logits, None
        return logits, self.familiar.unlikeness(features, images)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return what the network has of images in front of its last linear layer.

        Of an ensemble it is that of the last member.

        Returns
        -------
        float32 (N, D), or None for a network without such a layer
        """
        return self._look_at(images, n_views=1, keeps_features=True)[1]

    def _look_at(
        self, images: NDArray[np.uint8], *, n_views: int, keeps_features: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the logits and, where they are kept, the features of the first view."""
        import torch

        from diascope.data.augment import dihedral
        from diascope.device import full_precision

        linear = [m for m in self._scoring_module.modules() if isinstance(m, torch.nn.Linear)]
        last = linear[-1:] if keeps_features else []
        seen: list[Tensor] = []  # of every view of a batch
        hooks = [m.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for m in last]
        logits = [np.empty((0, len(self.classes)), dtype=np.float32)]
        features = []
        try:
            with torch.inference_mode(), full_precision():
                for start in range(0, len(images), BATCH_SIZE):
                    batch = np.ascontiguousarray(images[start : start + BATCH_SIZE])
                    x = self.to_input(batch)
                    seen.clear()
                    views = [self._scoring_module(dihedral(x, view)) for view in range(n_views)]
                    logits.append(torch.stack(views).mean(dim=0).cpu().numpy())
                    features += [values.flatten(1).cpu().numpy() for values in seen[:1]]
        finally:
            for hook in hooks:
                hook.remove()
        return (
            self._calibrated(np.concatenate(logits)),
            np.concatenate(features) if features else None,
        )

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
        return self.card.decide(probabilities)

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and, last, ``card.json``."""
        from safetensors.torch import save_file

        tensors = {name: t.detach().cpu() for name, t in self.module.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as temporary:
            save_file({name: t.contiguous() for name, t in tensors.items()}, temporary)
        update = {
            "weights_sha256": _file_digest(folder / "model.safetensors"),
            "familiar_sha256": "",
            "baseline_sha256": "",
        }
        if self.familiar is not None:
            self.familiar.save(folder)
            update["familiar_sha256"] = _file_digest(folder / FAMILIAR)
        if self.baseline is not None:
            self.baseline.save(folder)
            update["baseline_sha256"] = _file_digest(folder / BASELINE)
        self.card = self.card.model_copy(update=update)
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
            check_weights(folder, card)
            module = _build(card, folder)
            module.load_state_dict(load_file(folder / "model.safetensors"))
            familiar = remembered = None
            if card.familiar_sha256:
                familiar = Familiar.load(folder)
                if _file_digest(folder / FAMILIAR) != card.familiar_sha256:
                    raise ValueError("what is familiar is not what the card names")
            if card.baseline_sha256:
                remembered = Baseline.load(folder, card.baseline_sha256)
        except FileNotFoundError as error:
            raise no_bundle(folder) from error
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise damaged(folder) from error
        return cls(card, module.to(best_device()), familiar, remembered)


def check_weights(folder: Path, card: Card) -> None:
    """Check that the weights in a folder are the ones that a card names.

    Raises
    ------
    RunError
        They are others, or not there.
    """
    try:
        is_right = _file_digest(folder / "model.safetensors") == card.weights_sha256
    except FileNotFoundError as error:
        raise no_bundle(folder) from error
    if not is_right:
        raise RunError(
            "The weights are not the ones that the card names.",
            where=folder,
            fix="Restore model.safetensors from a copy, or train again with another --out.",
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
