"""Bars of probabilities, with the threshold from which on a class is called."""

from __future__ import annotations

from typing import Any

from diascope.bundle.card import Card
from diascope.bundle.prediction import Prediction
from diascope.reporting.explain.page import probability_rows

NEAR_THE_EDGE = 0.2  # a text at a mark so near would stand out of the picture


def bars(prediction: Prediction, card: Card) -> list[dict[str, Any]]:
    """Return the classes with their bars, the most probable first; none where it is withheld."""
    if prediction.is_withheld:
        return []
    rows = probability_rows(prediction, card)
    positive = card.title_of(card.positive) if card.positive is not None else None
    return [{**row, "mark": _mark(card) if row["title"] == positive else None} for row in rows]


def _mark(card: Card) -> dict[str, str] | None:
    """Return where the threshold stands on the bar, and what is written there."""
    if card.threshold is None:
        return None
    anchor = "middle"
    if card.threshold < NEAR_THE_EDGE:
        anchor = "start"
    elif card.threshold > 1 - NEAR_THE_EDGE:
        anchor = "end"
    return {
        "x": f"{100 * card.threshold:.2f}%",
        "anchor": anchor,
        "text": f"predicted from {100 * card.threshold:.3g}\xa0%",
    }
