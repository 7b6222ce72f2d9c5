"""Whether ONNX models answer as the bundle that they were made of does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import BATCH_SIZE, Bundle
from diascope.bundle.card import Card
from diascope.bundle.onnx_network import not_run, open_session
from diascope.bundle.predictions import is_finite, softmax
from diascope.data.image import fit_image
from diascope.errors import RunError
from diascope.exporters.onnx_models import IMAGE_MODEL, PIXELS_MODEL
from diascope.exporters.spec import Sample
from diascope.system.words import counted

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

TOLERANCE = 1e-5  # of probabilities
NEWER = "Install the newest onnx, onnxscript and onnxruntime; if that does not help, report it."


@dataclass(frozen=True)
class Agreement:
    """What was found where bundle and models agree."""

    n_images: int
    largest: float  # difference of a probability
    at_edge: tuple[str, ...]  # names of images that rounding calls otherwise


def agreement(bundle: Bundle, models: Mapping[str, bytes], samples: Sequence[Sample]) -> Agreement:
    """Hold both models against the bundle, on every image.

    Pixels have to be equal, probabilities within 1e-5, and calls equal but where the probability of
    the bundle lies so near to its limit that rounding decides.

    Raises
    ------
    RunError
        A model answers otherwise, ONNX Runtime does not take it, the bundle gives no finite scores,
        or there is no image to check it on.
    """
    if not samples:
        raise RunError(
            "There is no image to check the export on.", fix="Name images by --check-on."
        )
    import torch

    sessions = {
        name: open_session(content, n_threads=torch.get_num_threads(), where=name)
        for name, content in models.items()
    }
    largest, at_edge = 0.0, []
    for start in range(0, len(samples), BATCH_SIZE):
        part = samples[start : start + BATCH_SIZE]
        names = [one.name for one in part]
        pixels = np.stack([_fitted(one, bundle.card) for one in part])
        of_images = [_run(sessions[IMAGE_MODEL], {"image": one.image}, one.name) for one in part]
        _check_pixels(pixels, np.concatenate([found["pixels"] for found in of_images]), names)
        logits = bundle.predict_logits(pixels)
        _check_finite(logits, names)
        joined = {key: np.concatenate([found[key] for found in of_images]) for key in of_images[0]}
        of_pixels = _run(sessions[PIXELS_MODEL], {"pixels": pixels}, names[0])
        for model, found in ((IMAGE_MODEL, joined), (PIXELS_MODEL, of_pixels)):
            far, edge = _compare(bundle.card, logits, found, model=model, names=names)
            largest, at_edge = max(largest, far), [*at_edge, *edge]
    return Agreement(len(samples), largest, tuple(dict.fromkeys(at_edge)))


def _run(session: InferenceSession, inputs: dict[str, NDArray], image: str) -> dict[str, NDArray]:
    try:
        found = map(np.asarray, session.run(None, inputs))
    except Exception as error:  # its errors have no class in common
        raise not_run(error, where=image) from error
    return dict(zip([one.name for one in session.get_outputs()], found, strict=True))


def _fitted(sample: Sample, card: Card) -> NDArray[np.uint8]:
    return fit_image(sample.image, card.size_px, fit=card.fit)


def _check_pixels(
    wanted: NDArray[np.uint8], found: NDArray[np.uint8], names: Sequence[str]
) -> None:
    for name, of_bundle, of_graph in zip(names, wanted, found, strict=True):
        if not np.array_equal(of_bundle, of_graph):
            share = (of_bundle != of_graph).mean()
            raise RunError(
                f"{IMAGE_MODEL} resizes otherwise than the bundle: {share:.2%} of values differ.",
                where=name,
                fix=NEWER,
            )


def _check_finite(logits: NDArray[np.float32], names: Sequence[str]) -> None:
    bad = [name for name, is_fine in zip(names, is_finite(logits), strict=True) if not is_fine]
    if bad:
        raise RunError(
            f"The network gave no finite score for {counted(len(bad), 'image')}.",
            where=bad[0],
            fix="Train it again; a lower learning rate may help.",
        )


def _compare(
    card: Card,
    logits: NDArray[np.float32],
    found: Mapping[str, NDArray],
    *,
    model: str,
    names: Sequence[str],
) -> tuple[float, list[str]]:
    """Return the largest difference, and which images rounding calls otherwise."""
    probabilities = softmax(logits)
    far = np.abs(found["probabilities"] - probabilities).max(axis=1)
    worst = int(np.argmax(np.nan_to_num(far, nan=np.inf)))
    if not far[worst] <= TOLERANCE:
        raise RunError(
            f"{model} answers otherwise than the bundle: a probability differs by "
            f"{far[worst]:.2g}, and {TOLERANCE:g} is allowed.",
            where=names[worst],
            fix="Use the bundle itself; networks with large activations lose digits in float32.",
        )
    others = (found["predicted"] != card.decide(probabilities)).nonzero()[0]
    near = _is_near_limit(card, probabilities)
    for row in others.tolist():
        if not near[row]:
            raise RunError(
                f"{model} calls another class than the bundle.", where=names[row], fix=NEWER
            )
    return float(far[worst]), [names[int(row)] for row in others]


def _is_near_limit(card: Card, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where a change of every probability by the tolerance may change the call: (N,)."""
    if card.positive is not None and card.threshold is not None:
        positive = probabilities[:, card.classes.index(card.positive)]
        return np.abs(positive - card.threshold) <= TOLERANCE
    weights = np.array(card.decision_weights)
    second, first = np.sort(probabilities * weights, axis=1)[:, -2:].T
    return first - second <= 2 * TOLERANCE * weights.max()
