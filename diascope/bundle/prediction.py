"""What a bundle says of one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.prediction_table import OUT_OF_DISTRIBUTION
from diascope.bundle.predictions import is_finite, softmax
from diascope.metrics.prediction_sets import reasons_to_refer

NO_SCORE = "the network gave no finite score"


@dataclass(frozen=True)
class Prediction:
    """What a bundle says of one image; K classes."""

    probabilities: NDArray[np.float64]  # (K,), calibrated
    predicted: int  # class index, by the decision rule of the bundle
    in_set: NDArray[np.bool_] | None  # (K,): the prediction set; None for a bundle without sets
    ood_score: float | None  # above 1 the prediction is withheld; None without a detector

    @property
    def is_withheld(self) -> bool:
        """Whether the image is out of distribution, so that the prediction is withheld."""
        return self.ood_score is not None and self.ood_score > 1

    @property
    def refer_reason(self) -> str:
        """Why a person has to look at the image; empty where there is no reason.

        Without prediction sets that is not known, and it is empty, too.
        """
        if self.is_withheld:
            return OUT_OF_DISTRIBUTION
        if self.in_set is None:
            return ""
        return str(reasons_to_refer(self.in_set[np.newaxis], np.array([self.predicted]))[0])

    @property
    def is_referred(self) -> bool | None:
        """Whether a person has to look at the image; None where that is not known."""
        if self.in_set is None and not self.is_withheld:
            return None
        return bool(self.refer_reason)


def predict_each(bundle: Bundle, images: NDArray[np.uint8]) -> list[Prediction | None]:
    """Return what is said of images, uint8 (N, S, S, 3); None where a score is not finite."""
    return predictions_of(bundle, *bundle.predict_with_ood_scores(images))


def predictions_of(
    bundle: Bundle, logits: NDArray[np.float32], ood_scores: NDArray[np.floating] | None
) -> list[Prediction | None]:
    """Return what follows from logits (N, K) and OOD scores (N,); see `predict_each`."""
    rows = is_finite(logits).nonzero()[0]
    probabilities = softmax(logits[rows])
    predicted = bundle.decide(probabilities)
    in_sets = bundle.card.sets_of(logits[rows])
    found: list[Prediction | None] = [None] * len(logits)
    for at, row in enumerate(rows.tolist()):
        found[row] = Prediction(
            probabilities=probabilities[at],
            predicted=int(predicted[at]),
            in_set=None if in_sets is None else in_sets[at],
            ood_score=None if ood_scores is None else float(ood_scores[row]),
        )
    return found
