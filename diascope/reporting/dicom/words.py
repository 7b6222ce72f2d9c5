"""What reports and pictures in DICOM say in words."""

from __future__ import annotations

from diascope.bundle.card import Card
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.prediction import Prediction
from diascope.reporting.explain.words import decision_text, ood_text, set_text
from diascope.system.words import printable

RESEARCH = "FOR RESEARCH USE ONLY. Not verified by a person, not a medical device."
OF_DATES = "Dates and times of this instance are those of the source image."
MOST_SHORT = 64  # characters of the DICOM value representation LO


def algorithm_name(card: Card) -> str:
    """Return what the network is called where people read it."""
    return printable(f"diascope {card.model} on {card.data}").replace("\\", "/")


def algorithm_parameters(card: Card, point: NamedPoint | None) -> str:
    """Return the settings that a call follows from, in one line: some readers take no second."""
    lines = [f"bundle={card.digest}"]
    if point is not None and card.positive is not None:
        lines += [
            f"operating_point={point.name}",
            f"threshold={point.threshold:.6g}",
            f"positive={card.positive}",
        ]
    elif len(set(card.decision_weights)) > 1:
        weights = zip(card.classes, card.decision_weights, strict=True)
        lines += [f"decision_weight_{name}={weight:.6g}" for name, weight in weights]
    lines += [f"calibrated_on={card.n_calibrated} images", f"window={card.window}"]
    return printable("; ".join(lines))


def comment(prediction: Prediction, card: Card) -> str:
    """Say what is called and why, and what it may be used for."""
    sentences = (
        RESEARCH,
        decision_text(prediction, card),
        set_text(prediction, card),
        ood_text(prediction),
        f"Intended use: {card.intended_use}",
        OF_DATES,
    )
    return printable(" ".join(text for text in sentences if text))
