"""The prior that probabilities refer to, and the decision rule that follows from it.

A training that compensates for classes of unequal size (`diascope.training.imbalance`) teaches the
network as if all classes were equally frequent. `logit_offset` brings its logits back to the prior
that the card declares. Which class is predicted is another question, see `decision_weights`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_fractions(labels: NDArray[np.integer], n_classes: int) -> NDArray[np.float64]:
    """Return the fraction of images in each class, float64 (K,)."""
    return np.bincount(labels, minlength=n_classes) / len(labels)


def logit_offset(method: str, fractions: NDArray[np.float64]) -> tuple[float, ...]:
    """Return what is added to the logits so that they refer to the prior of the training, (K,).

    Examples
    --------
    >>> logit_offset("none", np.array([0.75, 0.25]))
    (0.0, 0.0)
    >>> [round(value, 3) for value in logit_offset("class_weights", np.array([0.75, 0.25]))]
    [0.405, -0.693]
    """
    if method == "none":
        return (0.0,) * len(fractions)
    return tuple(float(value) for value in np.log(fractions * len(fractions)))


def decision_weights(decision: str, fractions: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the factors of the probabilities before the largest is predicted, (K,).

    ``"most_probable"`` predicts the most probable class, which makes the fewest errors.
    ``"balanced"`` divides by the prior, which makes the mean recall of the classes largest: a rare
    class is predicted when it is much more probable than usual.
    """
    if decision == "most_probable":
        return (1.0,) * len(fractions)
    return tuple(float(value) for value in 1 / (len(fractions) * fractions))


def two_class_threshold(weights: tuple[float, ...], positive: int | None) -> float | None:
    """Return the probability from which on the positive class is predicted, 0-1.

    None where the task has no positive class.

    Examples
    --------
    >>> two_class_threshold(decision_weights("balanced", np.array([0.75, 0.25])), 1)
    0.25
    """
    if positive is None:
        return None
    return weights[1 - positive] / sum(weights)
