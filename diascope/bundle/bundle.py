"""The bundle: a trained network and everything needed to use it as it was trained.

Its files are ``model.safetensors``, ``card.json`` and, where there were enough images for them,
``ood.safetensors`` (to recognise images that are out of distribution) and
``drift_reference.safetensors`` (its predictions on validation images); ``cases.safetensors``
(images to be shown) where a licence lets them be passed on; ``golden.safetensors`` (images with the
answers that other machines have to give); and ``explanations.json`` where heat maps were tested.
What was trained is what is evaluated, predicted and served: the one preprocessing
lives here. Nothing is pickled and no code is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.card import WEIGHTS, Card
from diascope.bundle.cases import Cases
from diascope.bundle.drift_reference import DriftReference
from diascope.bundle.golden import FEW, Golden, GoldenCheck, check_golden, make_golden
from diascope.bundle.images import Image, each_image, read_image
from diascope.bundle.map_verdicts import MapVerdicts
from diascope.bundle.onnx_network import OnnxNetwork
from diascope.bundle.ood import OodDetector
from diascope.bundle.operating_points import at_point, find_point
from diascope.bundle.predictions import is_finite, softmax
from diascope.errors import RunError
from diascope.system.files import atomic_path, file_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH_SIZE = 128


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained network that predicts; `dataclasses.replace` changes it, and no part is lost."""

    card: Card
    module: nn.Module  # maps (B, 3, S, S) to logits (B, K); it is put into evaluation mode
    ood: OodDetector | None = None
    drift_reference: DriftReference | None = None
    map_verdicts: MapVerdicts | None = None  # on its heat maps, where these were tested
    cases: Cases | None = None  # images to be shown, where their licence lets them be passed on
    golden: Golden | None = None  # made when it is first saved
    # Scores in place of the module, as long as it is of both; see `diascope.bundle.onnx_engine`
    onnx_network: OnnxNetwork | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        import torch

        self.module.eval().to(memory_format=torch.channels_last)  # the faster layout

    @cached_property
    def scoring_module(self) -> nn.Module:
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

        from diascope.bundle.preprocess import normalise, to_unit

        x = torch.from_numpy(images).to(next(self.module.parameters()).device)
        return normalise(to_unit(x), self.card.mean, self.card.std)

    def predict_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score images, uint8 (N, S, S, 3), in full precision, averaged over the views.

        The logits, float32 (N, K), refer to the prior of the card, and are calibrated.
        """
        return self._forward(images, n_views=self.card.views, keeps_features=False)[0]

    def predict_with_ood_scores(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the logits of `predict_logits` and out-of-distribution scores, float32 (N,).

        Above 1 an image is out of distribution; None for a bundle without a detector.
        """
        logits, features = self._forward(
            images, n_views=self.card.views, keeps_features=self.ood is not None
        )
        if self.ood is None or features is None:
            return logits, None
        return logits, self.ood.scores(features, images)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return the input of the network's last linear layer: float32 (N, D), or None without one.

        Of an ensemble it is that of the last member.
        """
        return self._forward(images, n_views=1, keeps_features=True)[1]

    def _forward(
        self, images: NDArray[np.uint8], *, n_views: int, keeps_features: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return calibrated logits and, if they are kept, the features of the first view."""
        import torch

        graph = self.onnx_network
        if graph and len(images) and graph.is_of(self.module, self.card, n_views=n_views):
            return graph.run(images)
        from diascope.bundle.preprocess import dihedral
        from diascope.system.device import full_precision

        linear = [m for m in self.scoring_module.modules() if isinstance(m, torch.nn.Linear)]
        last = linear[-1:] if keeps_features else []
        inputs: list[Tensor] = []  # of the last layer, for every view of a batch
        hooks = [m.register_forward_pre_hook(lambda _, x: inputs.append(x[0])) for m in last]
        logits = [np.empty((0, len(self.classes)), dtype=np.float32)]
        features = []
        try:
            with torch.inference_mode(), full_precision():
                for start in range(0, len(images), BATCH_SIZE):
                    batch = np.ascontiguousarray(images[start : start + BATCH_SIZE])
                    x = self.to_input(batch)
                    inputs.clear()
                    views = [self.scoring_module(dihedral(x, view)) for view in range(n_views)]
                    logits.append(torch.stack(views).mean(dim=0).cpu().numpy())
                    features += [values.flatten(1).cpu().numpy() for values in inputs[:1]]
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
        """Score images by what a frozen backbone made of them; see `predict_logits`.

        Features, float32 (V, N, D), are of each view, as `diascope.training.features` makes them.
        """
        import torch

        from diascope.system.device import full_precision

        head = self.module.get_submodule("head")
        with torch.inference_mode(), full_precision():
            views = torch.from_numpy(features).to(next(head.parameters()).device)
            logits = torch.stack([head(view) for view in views]).mean(dim=0).cpu().numpy()
        return self._calibrated(logits)

    def predict_proba(self, images: Image | Iterable[Image]) -> NDArray[np.float64]:
        """Return class probabilities, float64 (N, K), of images of any size.

        Rows sum to 1; the columns are in the order of `classes`.

        Parameters
        ----------
        images : iterable, or a single image
            Any number of images: a list, a generator, or an array uint8 (N, H, W, 3). An image is
            the path of a file, or decoded in RGB, uint8 (H, W, 3), 0-255. A single image may also
            be passed by itself, and there is then one row.

        Raises
        ------
        SourceError, ImageError
            A file cannot be read, or not as an image.
        DataError
            Something else is passed, an array is not uint8 (H, W, 3), or it has no pixels.
        RunError
            The network gives scores that are not finite.
        """
        logits = [self.predict_logits(pixels) for pixels in self._batches(each_image(images))]
        logits = np.concatenate([np.empty((0, len(self.classes)), np.float32), *logits])
        n_bad = int((~is_finite(logits)).sum())
        if n_bad:
            raise RunError(
                f"The network gave no finite score for {n_bad} of {len(logits)} images.",
                fix="Train it again; a lower learning rate may help.",
            )
        return softmax(logits)

    def _batches(self, images: Iterable[Image]) -> Iterator[NDArray[np.uint8]]:
        """Yield the input of the network, uint8 (B, S, S, 3), some images at a time."""
        remaining = iter(images)
        while batch := list(islice(remaining, BATCH_SIZE)):
            yield np.stack([read_image(image, self.card.pixels) for image in batch])

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the predicted class indices (N,) of probabilities (N, K)."""
        return self.card.decide(probabilities)

    def at(self, operating_point: str) -> Bundle:
        """Return the bundle as it calls at an operating point, such as ``"sensitivity=0.95"``.

        Raises
        ------
        SettingsError
            It has no operating point of that name.
        """
        point = find_point(self.card, name=operating_point, threshold=None)
        return replace(self, card=at_point(self.card, point))

    def check_golden(self, *, n_scored: int = FEW) -> GoldenCheck | None:
        """Compare the answers of this machine with those of the one that trained.

        None for a bundle without golden images; see `diascope.bundle.golden.check_golden`.
        """
        if self.golden is None:
            return None
        return check_golden(self.golden, self.card, self.predict_logits, n_scored=n_scored)

    def save(self, folder: Path) -> Bundle:
        """Write the files, ``card.json`` last; return the bundle with their digests in its card.

        Golden images keep the answers that they had where the bundle was first saved.
        """
        from safetensors.torch import save_file

        tensors = {name: t.detach().cpu() for name, t in self.module.state_dict().items()}
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file({name: t.contiguous() for name, t in tensors.items()}, temporary)
        golden = self.golden
        if golden is None:
            examples = list(self.cases.example_images) if self.cases else []
            golden = make_golden(self.card, self.predict_logits, examples)
        digests = {
            "weights_sha256": file_digest(folder / WEIGHTS),
            "ood_sha256": self.ood.save(folder) if self.ood else "",
            "drift_reference_sha256": (
                self.drift_reference.save(folder) if self.drift_reference else ""
            ),
            "cases_sha256": self.cases.save(folder) if self.cases else "",
            "golden_sha256": golden.save(folder) if golden else "",
        }
        saved = replace(self, golden=golden, card=self.card.model_copy(update=digests))
        saved.card.save(folder)
        if self.map_verdicts:
            self.map_verdicts.save(folder)
        return saved

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle and check that its files are the ones that its card names.

        Raises
        ------
        RunError
            A file is missing or damaged, the weights do not fit the card, or the card names a
            code file as its model.
        UnknownNameError
            The model is not installed.
        """
        from diascope.bundle.build import load_network
        from diascope.system.device import best_device

        card = Card.load(folder)
        card.check_weights(folder)
        module = load_network(card, folder)
        return cls(
            card,
            module.to(best_device()),
            OodDetector.load(folder, card.ood_sha256) if card.ood_sha256 else None,
            DriftReference.load(folder, card.drift_reference_sha256, n_classes=len(card.classes))
            if card.drift_reference_sha256
            else None,
            MapVerdicts.load(folder, card.weights_sha256),
            Cases.load(folder, card) if card.cases_sha256 else None,
            Golden.load(folder, card) if card.golden_sha256 else None,
        )
