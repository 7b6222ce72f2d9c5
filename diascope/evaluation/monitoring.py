"""Compare new predictions with the drift reference of a bundle.

An alarm says that the images or the patients differ from those of the reference, and no more: the
network may be as good on them. Nor does silence say that it is right: that takes labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.card import Card
from diascope.bundle.drift_reference import DriftReference
from diascope.bundle.prediction_table import tabulate
from diascope.bundle.predictions import softmax
from diascope.metrics.differences import holm
from diascope.metrics.drift import (
    FALSE_ALARMS,
    FEWEST_GROUPS,
    Binned,
    Drift,
    fewest_groups,
    judge_drift,
    mean_histograms,
)
from diascope.system.words import plural

ALARM, NO_ALARM, NOT_TESTED = "alarm", "no alarm", "not tested"
LOG_ODDS_STEP, LOG_OOD_STEP = 0.5, 0.25
LOG_ODDS = np.arange(-6, 6 + LOG_ODDS_STEP, LOG_ODDS_STEP)  # of a probability
LOG_OOD = np.arange(-3, 3 + LOG_OOD_STEP, LOG_OOD_STEP)  # to the base of 2


@dataclass(frozen=True)
class Aspect:
    """One side of the predictions on images, in bins."""

    name: str
    # tuple of str (V,): what each value is, for people: one a histogram, or one a bin
    what: tuple[str, ...]
    values: NDArray[np.float64]  # float64 (V, B): the value of an image in a bin
    step: float | None  # Width of a bin, where bins have an order
    binned: Binned  # Bins of the images of which it is known

    @property
    def means(self) -> NDArray[np.float64]:
        """The mean values, each group having one vote: float64 (V,); NaN without images."""
        if not len(self.binned.group_of):
            return np.full(len(self.what), np.nan)
        n_bins = self.values.shape[1]
        n_histograms = self.binned.bins.shape[1]
        shares = mean_histograms(self.binned, n_bins).reshape(n_histograms, 1, n_bins)
        return (shares * self.values.reshape(n_histograms, -1, n_bins)).sum(axis=2).ravel()


def aspects(card: Card, table: pl.DataFrame, group_of: NDArray[np.integer]) -> list[Aspect]:
    """Return the sides of predictions that may drift: as many for every table.

    Parameters
    ----------
    card : Card
    table : DataFrame
        Of `diascope.bundle.prediction_table.tabulate`, or read from a table of ``predict``.
    group_of : int (N,)
        The number of each image's group.
    """
    is_predicted = table["predicted"].is_not_null().to_numpy()
    names = [f"probability_{name}" for name in card.classes]
    probabilities = table.select(names).to_numpy()[is_predicted]
    with np.errstate(divide="ignore"):
        log_odds = np.log(probabilities) - np.log1p(-probabilities)
    called = table["predicted"].replace_strict(
        list(card.classes), range(len(card.classes)), default=None, return_dtype=pl.Int64
    )
    group_of_predicted = group_of[is_predicted]
    sides = [
        Aspect(
            "scores",
            tuple(f"log-odds of {name}" for name in card.classes),
            np.tile(_centres(LOG_ODDS, LOG_ODDS_STEP), (len(card.classes), 1)),
            LOG_ODDS_STEP,
            Binned(np.digitize(log_odds, LOG_ODDS), group_of_predicted),
        ),
        Aspect(
            "calls",
            tuple(f"called {name}" for name in card.classes),
            np.eye(len(card.classes)),
            None,
            Binned(called.drop_nulls().to_numpy()[:, None], group_of_predicted),
        ),
    ]
    if card.prediction_sets is not None:
        refer = (table["refer"] == "yes").to_numpy()[is_predicted]
        sides.append(
            Aspect(
                "referrals",
                ("to refer to a human",),
                np.array([[0.0, 1.0]]),
                None,
                Binned(refer.astype(np.int64)[:, None], group_of_predicted),
            )
        )
    if card.ood_sha256:
        is_scored = table["ood_score"].is_not_null().to_numpy()
        ood_scores = table["ood_score"].drop_nulls().to_numpy()
        with np.errstate(divide="ignore"):
            bins = np.digitize(np.log2(ood_scores), LOG_OOD, right=True)
        sides.append(
            Aspect(
                "ood_score",
                ("ood_score, log2",),
                _centres(LOG_OOD, LOG_OOD_STEP)[None],
                LOG_OOD_STEP,
                Binned(bins[:, None], group_of[is_scored]),
            )
        )
    return sides


def reference_table(card: Card, reference: DriftReference) -> pl.DataFrame:
    """Return what ``predict`` would write of the images of a drift reference."""
    probabilities = softmax(reference.logits)
    return tabulate(
        probabilities,
        card.decide(probabilities),
        card.sets_of(reference.logits),
        card.classes,
        ood_scores=reference.ood_scores,
    )


def compare_with_reference(
    card: Card, reference: DriftReference, table: pl.DataFrame, groups: Sequence[str], *, seed: int
) -> dict[str, Any]:
    """Test whether new predictions differ from those of the reference by more than chance.

    All aspects together raise a false alarm for `FALSE_ALARMS` of the tables (Holm 1979).

    Parameters
    ----------
    card : Card
    reference : DriftReference
    table : DataFrame
        Of new images.
    groups : sequence of str (N,)
        Their groups.
    seed : int

    Returns
    -------
    dict
        ``verdict``: ``"alarm"``, ``"no alarm"`` or ``"not tested"``; ``tests``, a dict each:
        ``name``, ``what``, ``reference`` and ``here`` (means with one vote a group), ``distance``,
        ``p``, ``p_holm``, ``verdict``, ``note``, and what took part. Besides the counts
        ``n_images``, ``n_groups``, ``n_not_predicted``, ``n_out_of_distribution``.
    """
    _, group_of = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)
    before = aspects(card, reference_table(card, reference), reference.group_of)
    after = aspects(card, table, group_of)
    drifts = [
        judge_drift(
            old.binned,
            new.binned,
            n_bins=old.values.shape[1],
            step=old.step,
            n_tests=len(before),
            seed=seed,
        )
        for old, new in zip(before, after, strict=True)
    ]
    corrected = holm([1.0 if drift.p is None else drift.p for drift in drifts])
    tests = [
        _as_dict(card, old, new, drift, p_holm, len(before))
        for old, new, drift, p_holm in zip(before, after, drifts, corrected, strict=True)
    ]
    verdicts = [test["verdict"] for test in tests]
    n_groups = len(np.unique(group_of))
    return {
        "n_images": table.height,
        "n_groups": n_groups,
        "n_not_predicted": table["error"].count(),
        "n_out_of_distribution": int((table["ood_score"] > 1).sum()),
        "verdict": next(v for v in (ALARM, NO_ALARM, NOT_TESTED) if v in verdicts),
        "tests": tests,
    }


def _as_dict(
    card: Card, old: Aspect, new: Aspect, drift: Drift, p_holm: float, n_tests: int
) -> dict[str, Any]:
    verdict, note = NO_ALARM, ""
    if drift.distance is None:
        verdict, note = NOT_TESTED, "no image has a prediction"
    elif drift.p is None:
        least = fewest_groups(max(FEWEST_GROUPS, drift.n_before), n_tests)
        verdict, kinds = NOT_TESTED, plural(card.group_kind)
        note = f"{drift.n_after} {kinds} against {drift.n_before}: it takes {least}"
    elif p_holm <= FALSE_ALARMS:
        verdict = ALARM
    before, after = old.means, new.means
    shown = _shown(card, before, after)
    return {
        "name": old.name,
        "what": old.what[shown],
        "reference": None if np.isnan(before[shown]) else float(before[shown]),
        "here": None if np.isnan(after[shown]) else float(after[shown]),
        "distance": drift.distance,
        "p": drift.p,
        "p_holm": None if drift.p is None else p_holm,
        "n_groups_reference": drift.n_before,
        "n_groups_here": drift.n_after,
        "n_images_a_group": drift.n_images,
        "verdict": verdict,
        "note": note,
    }


def _shown(card: Card, before: NDArray[np.float64], after: NDArray[np.float64]) -> int:
    """Return which value stands for all: that of the positive class, or the one that moved most."""
    if card.positive is not None and len(before) > 1:
        return card.classes.index(card.positive)
    return int(np.nan_to_num(np.abs(after - before)).argmax())


def _centres(edges: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the middles of bins; of the open ones half a step beyond their edge."""
    return np.concatenate([edges - step / 2, [edges[-1] + step / 2]])
