"""The verdicts on the heat maps of a bundle: made where they are not there, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import MOST_IMAGES, MapVerdict, MapVerdicts
from diascope.data.manifest import label_indices
from diascope.data.sample import balanced_rows
from diascope.errors import SettingsError
from diascope.system.progress import ShowProgress

if TYPE_CHECKING:
    from diascope.explanations.heat_maps import Explainer

LEVELS = ("pass", "weak", "fail")  # the best first


def explainers_of(bundle: Bundle, methods: Sequence[str] = ()) -> list[Explainer]:
    """Return the methods, by default the usual ones, that can explain a bundle.

    Some need layers that it may not have.
    """
    from diascope.explanations.heat_maps import DEFAULT_METHODS, Explainer

    found = []
    for method in methods or DEFAULT_METHODS:
        try:
            found.append(Explainer.of(bundle, method))
        except SettingsError:
            continue
    return found


def rows_to_test(table: pl.DataFrame, classes: Sequence[str]) -> NDArray[np.intp]:
    """Choose at most `MOST_IMAGES` rows of validation images, from all classes and many groups.

    The table is a manifest with ``label, group, split``; the result is intp (n,), ascending. Where
    there are no validation images, it is empty.
    """
    rows = np.flatnonzero((table["split"] == "val").to_numpy())
    if not rows.size:
        return rows
    of_val = table[rows]
    labels = label_indices(of_val, tuple(classes)).to_numpy()
    return rows[balanced_rows(labels, of_val["group"].to_list(), MOST_IMAGES, seed=0)]


def judged(
    bundle: Bundle,
    explainers: Sequence[Explainer],
    images: NDArray[np.uint8],
    labels: NDArray[np.integer] | None = None,
    *,
    groups: Sequence[str] | None = None,
    source: str,
    progress: ShowProgress,
) -> MapVerdicts:
    """Return verdicts on the maps of all explainers; those that the bundle has are not made again.

    All verdicts of a bundle are on the same images: on others, they are all made again.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
        To test on, as the network sees them.
    labels : int (N,), optional
        Their true classes, where these are known.
    groups : sequence of str, optional
        Their groups, for the intervals.
    source : str
        Which images these are, such as ``"60 validation images"``.
    """
    from diascope.explanations.verdict import judge_maps

    verdicts = bundle.map_verdicts
    if verdicts is None or verdicts.images != source:
        weights_sha256 = bundle.card.weights_sha256
        verdicts = MapVerdicts(weights_sha256=weights_sha256, images=source, verdicts=())
    for explainer in explainers:
        if verdicts.of(explainer.method, explainer.layer_name) is None:
            verdicts = verdicts.added(
                judge_maps(explainer, images, labels=labels, groups=groups, progress=progress)
            )
    return verdicts


def best_verdict(verdicts: MapVerdicts) -> MapVerdict | None:
    """Return the verdict of the best level, and of these of the best score; None if all fail."""
    usable = [one for one in verdicts.verdicts if one.level != LEVELS[-1]]
    return min(usable, key=lambda one: (LEVELS.index(one.level), -one.score), default=None)


def explainer_by(verdict: MapVerdict, bundle: Bundle) -> Explainer:
    """Return the explainer that a verdict is on."""
    from diascope.explanations.heat_maps import Explainer

    return Explainer.of(bundle, verdict.method, verdict.layer or None)
