"""What is said of one image file, and how it is written in JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from diascope.bundle.card import Card
from diascope.bundle.prediction import Prediction
from diascope.bundle.prediction_table import NO_PREDICTION


@dataclass(frozen=True)
class Answer:
    """What is said of one image file."""

    sha256: str
    prediction: Prediction | None = None  # None with an error
    error: str | None = None  # why there is no prediction, in a line
    image: NDArray[np.uint8] | None = None  # (S, S, 3): as the network sees it

    def decided_by(self, card: Card) -> Answer:
        """Return what is said at the operating point of a card."""
        if self.prediction is None:
            return self
        predicted = int(card.decide(self.prediction.probabilities[np.newaxis])[0])
        return replace(self, prediction=replace(self.prediction, predicted=predicted))


class PredictionAnswer(BaseModel):
    """What is said of one image."""

    index: int = Field(description="Position of the image in the request, from 0.")
    sha256: str = Field(description="Of the file that was sent.")
    outcome: Literal["predicted", "withheld", "failed"]
    predicted: str | None = Field(description="The class; null unless the outcome is predicted.")
    probabilities: dict[str, float] | None
    prediction_set: list[str] | None = Field(description="Null for a model without sets.")
    ood_score: float | None = Field(description="Above 1 the prediction is withheld.")
    refer: bool | None = Field(description="To a person; null where that is not known.")
    refer_reason: str | None
    error: str | None = Field(description="Why there is no prediction.")


def prediction_answer(answer: Answer, index: int, card: Card) -> PredictionAnswer:
    """Return what is told of an image: nothing of a prediction that is withheld."""
    prediction = answer.prediction
    if prediction is None:
        return PredictionAnswer(
            index=index,
            sha256=answer.sha256,
            outcome="failed",
            predicted=None,
            probabilities=None,
            prediction_set=None,
            ood_score=None,
            refer=True,
            refer_reason=NO_PREDICTION,
            error=answer.error,
        )
    is_out, in_set = prediction.is_withheld, prediction.in_set
    probabilities = dict(zip(card.classes, prediction.probabilities.tolist(), strict=True))
    names = None if in_set is None else np.array(card.classes)[in_set].tolist()
    return PredictionAnswer(
        index=index,
        sha256=answer.sha256,
        outcome="withheld" if is_out else "predicted",
        predicted=None if is_out else card.classes[prediction.predicted],
        probabilities=None if is_out else probabilities,
        prediction_set=None if is_out else names,
        ood_score=prediction.ood_score,
        refer=prediction.is_referred,
        refer_reason=prediction.refer_reason or None,
        error=None,
    )
