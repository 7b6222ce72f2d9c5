"""The model card of a network that was fitted to local images: what it was, and what it became."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from diascope.atomic import write_text
from diascope.card import Card, Recalibration
from diascope.data.spec import DatasetCard
from diascope.metrics.estimate import counted, plural
from diascope.reporting.markdown import bullets, figure, one_line, sections, table, words
from diascope.reporting.model_card import slug, thresholds, usage
from diascope.reporting.summary import limits
from diascope.reporting.tables import measure


def recalibrated_card(
    card: Card, origin: Recalibration, local: DatasetCard, facts: Mapping[str, Any]
) -> str:
    """Return the card: front matter in YAML, then Markdown.

    Parameters
    ----------
    card : Card
        Of the network as fitted.
    origin : Recalibration
        Its own.
    local : DatasetCard
        The data that it was fitted to.
    facts : mapping
        The content of ``recalibration.json``.
    """
    front = {
        "license": "other",
        "license_name": "not-stated",
        "library_name": "diascope",
        "pipeline_tag": "image-classification",
        "tags": [slug(tag) for tag in ("medical-imaging", local.modality, card.model)],
        "datasets": [one_line(name) for name in dict.fromkeys((card.data, origin.data))],
    }
    body = sections(
        [
            ("Intended use", f"**{words(card.intended_use)}**"),
            ("How to use it", usage(card)),
            ("What it was made from", _origin(card, origin, facts)),
            ("Evaluation", _evaluation(card, facts)),
            ("Thresholds", thresholds(card)),
            ("Limits", bullets(limits(local.group_kind, is_cross_validation=False))),
        ]
    )
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=10_000)
    title = words(f"{card.model}, learned from {card.data}, fitted to {origin.data}")
    return f"---\n{head}---\n\n# {title}\n\n{body}\n"


def save_recalibrated_card(
    folder: Path, card: Card, local: DatasetCard, facts: Mapping[str, Any]
) -> None:
    """Lay the card beside the weights of a bundle that was fitted."""
    if card.recalibration is not None:
        text = recalibrated_card(card, card.recalibration, local, facts)
        write_text(folder / "README.md", text)


def _origin(card: Card, origin: Recalibration, facts: Mapping[str, Any]) -> str:
    fitted = counted(facts["n_groups_fitted"], facts["group_kind"])
    share = ", ".join(f"{n} {p:.1%}" for n, p in zip(card.classes, card.prior, strict=True))
    return bullets(
        [
            f"A network of {card.model} that learned from {card.data}. No weight was changed; the "
            "probabilities, the sets of classes and the threshold were fitted.",
            f"Fitted to {counted(facts['n_fitted'], 'image')} of {fitted} of {origin.data}.",
            f"Shares that the probabilities refer to: {share}.",
            f"SHA-256 of the card as delivered: {origin.parent_sha256}; of the images fitted to: "
            f"{origin.data_sha256}; of the images learned from: {card.data_sha256}.",
        ]
    )


def _evaluation(card: Card, facts: Mapping[str, Any]) -> str:
    before, after = facts["before"], facts["after"]
    rows = [
        (
            measure(key, has_positive=card.positive is not None)[0],
            *(figure(one["estimates"][key]) for one in (before, after)),
        )
        for key in before["estimates"]
    ]
    rows.append(("expected calibration error", *(figure(one["ece"]) for one in (before, after))))
    kinds = plural(facts["group_kind"])
    text = (
        f"Judged on {counted(facts['n_judged'], 'image')} of "
        f"{counted(facts['n_groups_judged'], facts['group_kind'])} that took no part, with 95 % "
        f"intervals by resampling whole {kinds}."
    )
    known = (
        ""
        if facts["is_parent_known"]
        else (
            "\n\n"
            + words(
                "That none of these images was learned from is not known: only a bundle was given."
            )
        )
    )
    noted = f"\n\n{bullets(after['warnings'])}" if after["warnings"] else ""
    shown = table(("measure", "as delivered", "as fitted"), rows)
    return f"{words(text)}{known}\n\n{shown}{noted}"
