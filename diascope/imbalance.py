"""Classes of unequal size: how the training makes up for them, and how that is undone.

Each method but ``"none"`` teaches the network as if all classes were equally frequent. Its logits
then refer to that prior, and `logit_offset` brings them back to the prior that the card declares.
Which class is called is another question, see `decision_weights`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

METHODS = ("none", "class_weights", "balanced_sampling", "logit_adjustment")


def class_shares(labels: NDArray[np.integer], n_classes: int) -> NDArray[np.float64]:
    """Return the share of each class, float64 (K,)."""
    return np.bincount(labels, minlength=n_classes) / len(labels)


def loss_terms(
    method: str, shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the loss multiplies by and what it adds to the logits, for each class.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    shares : float64 (K,)
        Share of each class among the training images.

    Returns
    -------
    weights, shift : float64 (K,)
        Inverse frequency w_c = n / (K n_c) for ``"class_weights"``, else 1; the log of the shares
        for ``"logit_adjustment"`` (Menon et al. 2021, arXiv:2007.07314), else 0.

    Examples
    --------
    >>> loss_terms("class_weights", np.array([0.75, 0.25]))[0].round(3).tolist()
    [0.667, 2.0]
    """
    weights, shift = np.ones(len(shares)), np.zeros(len(shares))
    if method == "class_weights":
        weights = 1 / (len(shares) * shares)
    elif method == "logit_adjustment":
        shift = np.log(shares)
    return weights, shift


def smoothing_shares(method: str, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what smoothed labels are mixed with: the shares of the images drawn, (K,).

    Mixed with equal shares, as is usual, every image would be taught to be of a rare class more
    often than such images occur, and `decision_weights` would multiply that.

    Examples
    --------
    >>> smoothing_shares("logit_adjustment", np.array([0.75, 0.25])).tolist()
    [0.75, 0.25]
    >>> smoothing_shares("balanced_sampling", np.array([0.75, 0.25])).tolist()
    [0.5, 0.5]
    """
    if method == "balanced_sampling":
        return np.full(len(shares), 1 / len(shares))
    return shares


def balanced_order(
    rows: NDArray[np.integer], labels: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.integer]:
    """Draw as many rows as there are, with replacement, each class equally often on average."""
    counts = np.bincount(labels[rows])
    chances = 1 / counts[labels[rows]]
    return rng.choice(rows, size=len(rows), p=chances / chances.sum())


def logit_offset(method: str, shares: NDArray[np.float64]) -> tuple[float, ...]:
    """Return what is added to the logits so that they refer to the training shares, (K,).

    Examples
    --------
    >>> logit_offset("none", np.array([0.75, 0.25]))
    (0.0, 0.0)
    >>> [round(value, 3) for value in logit_offset("class_weights", np.array([0.75, 0.25]))]
    [0.405, -0.693]
    """
    if method == "none":
        return (0.0,) * len(shares)
    return tuple(float(value) for value in np.log(shares * len(shares)))


def decision_weights(decision: str, shares: NDArray[np.float64]) -> tuple[float, ...]:
    """Return what probabilities are multiplied by before the largest is called, (K,).

    ``"most_probable"`` calls the most probable class, which makes the fewest errors.
    ``"balanced"`` divides by the prior, which makes the mean recall of the classes largest: a rare
    class is called when it is much more probable than usual.
    """
    if decision == "most_probable":
        return (1.0,) * len(shares)
    return tuple(float(value) for value in 1 / (len(shares) * shares))


def two_class_threshold(weights: tuple[float, ...], positive: int | None) -> float | None:
    """Return the probability from which on the positive class is called, 0-1.

    None without a positive class, of two.

    Examples
    --------
    >>> two_class_threshold(decision_weights("balanced", np.array([0.75, 0.25])), 1)
    0.25
    """
    if positive is None:
        return None
    return weights[1 - positive] / sum(weights)
