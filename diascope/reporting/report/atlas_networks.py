"""What one network of a run says of the cases of the atlas: similar images, and heat maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import Finding, MapVerdict, MapVerdicts
from diascope.bundle.neighbours import Neighbour
from diascope.data.manifest import label_indices
from diascope.data.sample import spread_rows
from diascope.data.splits.folds import split_columns
from diascope.explanations import filters, similar
from diascope.explanations.filters import FirstLayer, first_layer_filters
from diascope.explanations.map_testing import best_verdict, explainer_by
from diascope.explanations.similar import describe, nearest, typical_distance
from diascope.reporting.report.facts import Facts


@dataclass(frozen=True)
class HeatMap:
    """A heat map of one image."""

    evidence: NDArray[np.float32] = field(repr=False)  # (S, S): for the predicted class, 0 or more
    findings: tuple[Finding, ...]  # of the tests of this one map


@dataclass(frozen=True)
class Looked:
    """What a network says of cases, which are known by the ids of their images."""

    number: int  # of the fold; 0 where there are none
    verdicts: MapVerdicts | None
    shown: MapVerdict | None  # on the maps that are shown; None where none are
    n_val: int  # validation images, on which maps can be tested
    n_compared: int | None  # training images; None for a network without features
    n_training: int
    typical: float | None  # the distance between training images that are most alike
    neighbours: dict[str, list[Neighbour]]
    heat_maps: dict[str, HeatMap]


def training_rows(facts: Facts, number: int, most: int) -> tuple[NDArray[np.intp], int]:
    """Choose training images of a network, evenly by class and group.

    An ensemble learned from all images outside test: each member is validated on other ones.

    Returns
    -------
    rows : int (n,)
        Rows of the manifest, ascending.
    n_training : int
        Of how many they were chosen.
    """
    plan, manifest = facts.run.plan, facts.manifest
    column = split_columns(plan.folds)[number]
    learned = ["train", "val"] if plan.members else ["train"]
    rows = np.flatnonzero(manifest[column].is_in(learned).to_numpy())
    part = manifest[rows]
    labels = label_indices(part, tuple(facts.classes)).to_numpy()
    chosen = spread_rows(labels, part["group"].to_list(), most, seed=plan.seed)
    return rows[chosen], len(rows)


def look(
    facts: Facts, number: int, cases: dict[str, int], *, n_neighbours: int, most: int
) -> Looked:
    """Ask a network about cases.

    Parameters
    ----------
    number : int
        Of the network.
    cases : dict of str to int
        The predicted class of each image.
    most : int
        Training images to compare with.
    """
    bundle = Bundle.load(facts.run.network_folders[number])
    groups = facts.manifest["group"].to_list()
    row_of = {image_id: row for row, image_id in enumerate(facts.manifest["image_id"])}
    rows, n_training = training_rows(facts, number, most)
    training = describe(bundle, _pixels(facts, rows))
    own = sorted(row_of[image_id] for image_id in cases)
    queries = None if training is None else describe(bundle, _pixels(facts, np.array(own)))
    neighbours: dict[str, list[Neighbour]] = {}
    if training is not None and queries is not None:
        found = nearest(queries, training, groups=groups, n_wanted=n_neighbours)
        ids = facts.manifest["image_id"].gather(queries.rows).to_list()
        neighbours = dict(zip(ids, found, strict=True))
    shown = best_verdict(bundle.map_verdicts) if bundle.map_verdicts else None
    return Looked(
        number,
        bundle.map_verdicts,
        shown,
        int((facts.manifest[split_columns(facts.run.plan.folds)[number]] == "val").sum()),
        None if training is None else len(training.rows),
        n_training,
        None if training is None else typical_distance(training, groups=groups),
        neighbours,
        _heat_maps(facts, bundle, shown, cases) if shown else {},
    )


def _heat_maps(
    facts: Facts, bundle: Bundle, verdict: MapVerdict, cases: dict[str, int]
) -> dict[str, HeatMap]:
    from diascope.explanations.verdict import judge_map  # takes seconds to import

    explainer = explainer_by(verdict, bundle)
    found = {}
    for image_id, target in cases.items():
        image = facts.images and facts.images.seen(image_id)
        if image is not None:
            pixels = np.array(image)
            evidence = explainer.maps(pixels[np.newaxis], np.array([target]))[0]
            found[image_id] = HeatMap(evidence, judge_map(explainer, pixels, target, evidence))
    return found


def filters_of(facts: Facts, number: int) -> tuple[FirstLayer, NDArray[np.uint8]] | None:
    """Return the filters of a network's first layer, and the training images they were shown.

    The images are uint8 (N, S, S, 3). None where the first layer is no convolution.
    """
    bundle = Bundle.load(facts.run.network_folders[number])
    rows, _ = training_rows(facts, number, filters.MOST_IMAGES)
    found = list(_pixels(facts, rows))
    if not found:
        return None
    images = np.stack([pixels for _, pixels in found])
    groups = facts.manifest["group"].gather([row for row, _ in found]).to_list()
    layer = first_layer_filters(bundle, images, groups)
    return None if layer is None else (layer, images)


def most_compared(n_networks: int) -> int:
    """Return how many training images are compared for each of some networks."""
    return similar.MOST_IMAGES // max(1, n_networks)


def _pixels(
    facts: Facts, rows: NDArray[np.integer] | Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the rows that can be read, with their pixels as the network sees them."""
    image_ids = facts.manifest["image_id"]
    for row in np.asarray(rows, dtype=np.intp).tolist():
        pixels = facts.images and facts.images.seen(image_ids[row])
        if pixels is not None:
            yield row, pixels
