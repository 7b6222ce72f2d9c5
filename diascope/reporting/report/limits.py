"""Limits: what the figures of a run cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diascope.reporting.measures import EXTERNAL, status
from diascope.reporting.report.facts import Facts, patient_of
from diascope.system.words import plural


def section(facts: Facts) -> dict[str, Any]:
    """Return the limits as sentences."""
    has_folds, external = facts.run.is_cross_validation, facts.external
    of_groups = facts.metrics.get("group_level") or {"why_not": "not evaluated"}
    texts = limits(
        facts.group_kind,
        external,
        is_cross_validation=has_folds,
        has_groups=not of_groups["why_not"],
    )
    return {"texts": texts}


def limits(
    group_kind: str,
    external: Mapping[str, Mapping[str, Any]],
    *,
    is_cross_validation: bool,
    has_groups: bool = False,
) -> list[str]:
    """Return what the figures of a run cannot say.

    Parameters
    ----------
    external : mapping
        The metrics on other data sets, by their names.
    has_groups : bool
        Whether whole groups were evaluated, besides their images.
    """
    patient = patient_of(group_kind)
    by_image = (
        f"Single images were evaluated. That does not show how well a {patient} would be "
        f"diagnosed: no rule from images to {patient} was tested."
    )
    by_group = (
        f"A {patient} was evaluated by images that somebody chose to take and to keep; what a "
        "clinician sees and knows besides was not used."
    )
    found = [
        by_group if has_groups else by_image,
        _other_places(external),
        "The labels are taken as they are. Where they are wrong, a correct prediction counts as "
        "an error and vice versa.",
        "PPV, NPV and the probabilities hold for the class proportions of these images. Where the "
        "predicted class is rarer, the PPV is lower.",
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


def _other_places(external: Mapping[str, Mapping[str, Any]]) -> str:
    """Say which collections the network was tested on, and that there are others."""
    usual = "performance usually falls there"
    if not external:
        return (
            "All images come from one collection. Another device, clinic or population "
            f"was not tested, and {usual}."
        )
    tried = ", ".join(f"{name} ({status(metrics)})" for name, metrics in external.items())
    partly = [name for name, metrics in external.items() if status(metrics) != EXTERNAL]
    shared = f" What {' and '.join(partly)} shares with the data of the training is said there."
    return (
        f"Outside the collection of the training, the network was tried on {tried} and nowhere "
        f"else.{shared * bool(partly)} On other devices, clinics or populations "
        f"it was not tested, and {usual}."
    )
