"""Limits: what the figures of a run cannot say."""

from __future__ import annotations

from typing import Any

from diascope.reporting.report.facts import Facts, patient_of
from diascope.system.words import plural


def section(facts: Facts) -> dict[str, Any]:
    """Return the limits as sentences."""
    has_folds = facts.run.is_cross_validation
    return {"texts": limits(facts.group_kind, is_cross_validation=has_folds)}


def limits(group_kind: str, *, is_cross_validation: bool) -> list[str]:
    """Return what the figures of a run cannot say."""
    patient = patient_of(group_kind)
    found = [
        f"Single images were evaluated. That does not show how well a {patient} would be "
        f"diagnosed: no rule from images to {patient} was tested.",
        "All images come from one collection. Another device, clinic or "
        "population was not tried, and performance usually falls there.",
        "The labels are taken as they are. Where they are wrong, a correct prediction counts as "
        "an error and vice versa.",
        "PPV, NPV and the probabilities hold for the class proportions of these images. Where the "
        "positive class is rarer, the PPV is lower.",
        "A good figure does not show what the network looks at. Colour, size, frame or device may "
        "give a class away.",
        f"The intervals describe the sampling of {plural(group_kind)}. They do not cover another "
        "training seed, another data set or wrong labels.",
    ]
    if is_cross_validation:
        found.append(
            "The folds share most of their training images, so their spread understates how much "
            "a new training on new data would differ (Bengio & Grandvalet 2004)."
        )
    return found
