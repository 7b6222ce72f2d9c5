"""Hold new predictions against what a bundle said of its validation images.

An alarm says that the images or the patients are others than those, and no more: the network may
be as good on them. Nor does silence say that it is right: that takes labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.baseline import Baseline
from diascope.card import Card
from diascope.metrics.compare import holm
from diascope.metrics.drift import (
    FALSE_ALARMS,
    FEWEST_GROUPS,
    Binned,
    Drift,
    fewest_groups,
    judge_drift,
    mean_shares,
)
from diascope.metrics.estimate import plural
from diascope.prediction_table import answers_table
from diascope.predictions import softmax

ALARM, NO_ALARM, NOT_TESTED = "alarm", "no alarm", "not tested"
LOG_ODDS_STEP, LOG_UNLIKE_STEP = 0.5, 0.25
LOG_ODDS = np.arange(-6, 6 + LOG_ODDS_STEP, LOG_ODDS_STEP)  # of a probability
LOG_UNLIKE = np.arange(-3, 3 + LOG_UNLIKE_STEP, LOG_UNLIKE_STEP)  # to the base of 2


@dataclass(frozen=True)
class Aspect:
    """One side of what a bundle says of images, in bins.

    Parameters
    ----------
    name : str
    what : tuple of str (V,)
        What each value is, for people: one a histogram, or one a bin.
    values : float64 (V, B)
        The value of an image in a bin.
    step : float or None
        Width of a bin, where bins have an order.
    binned : Binned
        Bins of the images of which it is known.
    """

    name: str
    what: tuple[str, ...]
    values: NDArray[np.float64]
    step: float | None
    binned: Binned

    @property
    def means(self) -> NDArray[np.float64]:
        """The mean values, each group having one vote: float64 (V,); NaN without images."""
        if not len(self.binned.group_of):
            return np.full(len(self.what), np.nan)
        n_bins = self.values.shape[1]
        n_histograms = self.binned.bins.shape[1]
        shares = mean_shares(self.binned, n_bins).reshape(n_histograms, 1, n_bins)
        return (shares * self.values.reshape(n_histograms, -1, n_bins)).sum(axis=2).ravel()


def aspects(card: Card, answers: pl.DataFrame, group_of: NDArray[np.integer]) -> list[Aspect]:
    """Return the sides of what a bundle says that may drift: as many for every table.

    Parameters
    ----------
    card : Card
    answers : DataFrame
        Of `diascope.prediction_table.answers_table`, or read from a table of ``predict``.
    group_of : int (N,)
        The number of each image's group.
    """
    said = answers["predicted"].is_not_null().to_numpy()
    names = [f"probability_{name}" for name in card.classes]
    probabilities = answers.select(names).to_numpy()[said]
    with np.errstate(divide="ignore"):
        log_odds = np.log(probabilities) - np.log1p(-probabilities)
    called = answers["predicted"].replace_strict(
        list(card.classes), range(len(card.classes)), default=None, return_dtype=pl.Int64
    )
    of_said = group_of[said]
    found = [
        Aspect(
            "scores",
            tuple(f"log-odds of {name}" for name in card.classes),
            np.tile(_centres(LOG_ODDS, LOG_ODDS_STEP), (len(card.classes), 1)),
            LOG_ODDS_STEP,
            Binned(np.digitize(log_odds, LOG_ODDS), of_said),
        ),
        Aspect(
            "calls",
            tuple(f"called {name}" for name in card.classes),
            np.eye(len(card.classes)),
            None,
            Binned(called.drop_nulls().to_numpy()[:, None], of_said),
        ),
    ]
    if card.prediction_sets is not None:
        refer = (answers["refer"] == "yes").to_numpy()[said]
        found.append(
            Aspect(
                "referrals",
                ("to refer to a human",),
                np.array([[0.0, 1.0]]),
                None,
                Binned(refer.astype(np.int64)[:, None], of_said),
            )
        )
    if card.familiar_sha256:
        told = answers["unlike_training"].is_not_null().to_numpy()
        unlike = answers["unlike_training"].drop_nulls().to_numpy()
        with np.errstate(divide="ignore"):
            bins = np.digitize(np.log2(unlike), LOG_UNLIKE, right=True)
        found.append(
            Aspect(
                "unlikeness",
                ("unlike_training, log2",),
                _centres(LOG_UNLIKE, LOG_UNLIKE_STEP)[None],
                LOG_UNLIKE_STEP,
                Binned(bins[:, None], group_of[told]),
            )
        )
    return found


def baseline_answers(card: Card, baseline: Baseline) -> pl.DataFrame:
    """Return what ``predict`` would write of the images of a baseline."""
    probabilities = softmax(baseline.logits)
    return answers_table(
        probabilities,
        card.decide(probabilities),
        card.sets_of(baseline.logits),
        card.classes,
        unlikeness=baseline.unlikeness,
    )


def hold_against(
    card: Card, baseline: Baseline, answers: pl.DataFrame, groups: Sequence[str], *, seed: int
) -> dict[str, Any]:
    """Tell whether new answers differ from those of the baseline by more than chance.

    All aspects together raise a false alarm for `FALSE_ALARMS` of the tables (Holm 1979).

    Parameters
    ----------
    card : Card
    baseline : Baseline
    answers : DataFrame
        Of new images.
    groups : sequence of str (N,)
        Their groups.
    seed : int

    Returns
    -------
    dict
        ``verdict``: ``"alarm"``, ``"no alarm"`` or ``"not tested"``; ``tests``, a dict each:
        ``name``, ``what``, ``baseline`` and ``here`` (means with one vote a group), ``distance``,
        ``p``, ``p_holm``, ``verdict``, ``note``, and what took part. Besides the counts
        ``n_images``, ``n_groups``, ``n_unanswered``, ``n_refused``.
    """
    _, group_of = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)
    before = aspects(card, baseline_answers(card, baseline), baseline.group_of)
    after = aspects(card, answers, group_of)
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
        _told(card, old, new, drift, p_holm, len(before))
        for old, new, drift, p_holm in zip(before, after, drifts, corrected, strict=True)
    ]
    verdicts = [test["verdict"] for test in tests]
    n_groups = len(np.unique(group_of))
    return {
        "n_images": answers.height,
        "n_groups": n_groups,
        "n_unanswered": answers["error"].count(),
        "n_refused": int((answers["unlike_training"] > 1).sum()),
        "verdict": next(v for v in (ALARM, NO_ALARM, NOT_TESTED) if v in verdicts),
        "tests": tests,
    }


def _told(
    card: Card, old: Aspect, new: Aspect, drift: Drift, p_holm: float, n_tests: int
) -> dict[str, Any]:
    verdict, note = NO_ALARM, ""
    if drift.distance is None:
        verdict, note = NOT_TESTED, "no image has an answer"
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
        "baseline": None if np.isnan(before[shown]) else float(before[shown]),
        "here": None if np.isnan(after[shown]) else float(after[shown]),
        "distance": drift.distance,
        "p": drift.p,
        "p_holm": None if drift.p is None else p_holm,
        "n_groups_baseline": drift.n_before,
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
