"""From trained members to one bundle that averages them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from diascope.bundle.bundle import Bundle
from diascope.bundle.prior import decision_weights, two_class_threshold
from diascope.data.manifest import images_digest
from diascope.models.ensemble import Ensemble, Member
from diascope.task import Task


def join_members(bundles: Sequence[Bundle], *, decision: str, table: pl.DataFrame) -> Bundle:
    """Return a bundle that averages the logits of its members.

    A mean of logits belongs to the prior that is the geometric mean of the members' priors, and its
    offset is the mean of theirs. Each member keeps its normalisation.

    Parameters
    ----------
    decision : str
        The rule of the plan, see `decision_weights`.
    table : DataFrame
        The manifest, with ``split``: all images outside test were learned from by some member.
    """
    cards = [bundle.card for bundle in bundles]
    prior = np.exp(np.log([card.prior for card in cards]).mean(axis=0))
    prior /= prior.sum()
    weights = decision_weights(decision, prior)
    task = Task(cards[0].classes, cards[0].positive)
    card = cards[0].model_copy(
        update={
            "members": len(bundles),
            "data_sha256": images_digest(table.filter(pl.col("split") != "test")["sha256"]),
            "prior": tuple(prior.tolist()),
            "logit_offset": tuple(np.mean([one.logit_offset for one in cards], axis=0).tolist()),
            "decision_weights": weights,
            "threshold": two_class_threshold(weights, task.positive_index),
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "first_layer": f"members.0.network.{cards[0].first_layer}",
            "weights_sha256": "",
        }
    )
    members = [Member(one.module, one.card.mean, one.card.std) for one in bundles]
    return Bundle(card, Ensemble(members))
