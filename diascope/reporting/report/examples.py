"""Example images of each class, chosen at random."""

from __future__ import annotations

from typing import Any

import polars as pl

from diascope.data.sample import by_turns
from diascope.reporting.report.facts import Facts

N_EXAMPLES = 64
IN_A_ROW = 8
EXAMPLE_PX = 96


def section(facts: Facts) -> dict[str, Any]:
    """Return the examples of each class; one without a picture could not be read."""
    images = facts.images
    examples = {
        name: [images and images.uri(image_id, EXAMPLE_PX) for image_id in ids]
        for name, ids in chosen_examples(facts).items()
    }
    return {"examples": examples, "is_readable": any(any(uris) for uris in examples.values())}


def chosen_examples(facts: Facts) -> dict[str, list[str]]:
    """Choose images of each class at random, of as many groups as possible.

    Returns
    -------
    dict of str to list of str
        The image ids of each class, at most 16, and fewer where there are many classes. The same
        for every report of a run. None of the test images while these are sealed.
    """
    n_wanted = max(2, min(2 * IN_A_ROW, N_EXAMPLES // len(facts.classes)))
    n_wanted -= n_wanted % IN_A_ROW if n_wanted > IN_A_ROW else 0
    manifest = facts.manifest
    if facts.split == "val" and not facts.run.is_cross_validation:
        manifest = manifest.filter(pl.col("split") != "test")
    return {
        name: by_turns(manifest.filter(pl.col("label") == name), seed=index)["image_id"]
        .head(n_wanted)
        .to_list()
        for index, name in enumerate(facts.classes)
    }
