"""The model card of a network that was recalibrated on local images: before and after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card, Recalibration
from diascope.bundle.preparation import preprocessing_lines
from diascope.data.spec import DatasetCard
from diascope.reporting.cards.markdown import bullets, table, words
from diascope.reporting.cards.model_card import (
    front_matter,
    held_images,
    page,
    proportions,
    thresholds,
    usage,
)
from diascope.reporting.measures import estimate_text, measure
from diascope.reporting.report.limits import limits
from diascope.system.files import write_text
from diascope.system.words import counted, plural


def recalibrated_card(
    bundle: Bundle, origin: Recalibration, local: DatasetCard, facts: Mapping[str, Any]
) -> str:
    """Return the card of a bundle that was recalibrated on local data.

    Parameters
    ----------
    facts : mapping
        The content of ``recalibration.json``.
    """
    card = bundle.card
    datasets = (card.data, origin.data)
    return page(
        front_matter(card, modality=local.modality, datasets=datasets, licence=""),
        f"{card.model}, trained on {card.data}, recalibrated on {origin.data}",
        [
            ("Intended use", f"**{words(card.intended_use)}**"),
            ("How to use it", usage(card)),
            ("Preprocessing", bullets(preprocessing_lines(card))),
            ("Origin", _origin(bundle, origin, facts)),
            ("Evaluation", _evaluation(card, facts)),
            ("Thresholds", thresholds(card)),
            ("Limits", bullets(limits(local.group_kind, {}, is_cross_validation=False))),
        ],
    )


def save_recalibrated_card(
    folder: Path, bundle: Bundle, local: DatasetCard, facts: Mapping[str, Any]
) -> None:
    """Write the card beside the weights of a bundle that was recalibrated."""
    origin = bundle.card.recalibration
    if origin is not None:
        text = recalibrated_card(bundle, origin, local, facts)
        write_text(folder / "README.md", text)


def _origin(bundle: Bundle, origin: Recalibration, facts: Mapping[str, Any]) -> str:
    card = bundle.card
    fitted = counted(facts["n_groups_fitted"], facts["group_kind"])
    return bullets(
        [
            f"The network {card.model}, trained on {card.data}. No weight was changed; the "
            "probabilities, the prediction sets and the threshold were fitted.",
            f"Fitted to {counted(facts['n_fitted'], 'image')} of {fitted} of {origin.data}.",
            f"Class proportions that the probabilities refer to: {proportions(card)}.",
            f"SHA-256 of the card as delivered: {origin.parent_sha256}; of the images fitted to: "
            f"{origin.data_sha256}; of the training images: {card.data_sha256}.",
            *held_images(card, bundle.cases),
        ]
    )


def _evaluation(card: Card, facts: Mapping[str, Any]) -> str:
    before, after = facts["before"], facts["after"]
    rows = [
        (
            measure(key, has_positive=card.positive is not None)[0],
            *(estimate_text(one["estimates"][key]) for one in (before, after)),
        )
        for key in before["estimates"]
    ]
    rows.append(
        ("expected calibration error", *(estimate_text(one["ece"]) for one in (before, after)))
    )
    kinds = plural(facts["group_kind"])
    judged = counted(facts["n_groups_judged"], facts["group_kind"])
    texts = [
        f"Evaluated on {counted(facts['n_judged'], 'image')} of {judged} that took no part, with "
        f"95 % intervals by resampling whole {kinds}."
    ]
    if not facts["is_parent_known"]:
        texts.append(
            "Whether any of these images were trained on is not known: only a bundle was given."
        )
    parts = [*map(words, texts), table(("metric", "as delivered", "recalibrated"), rows)]
    return "\n\n".join([*parts, *([bullets(after["warnings"])] if after["warnings"] else [])])
