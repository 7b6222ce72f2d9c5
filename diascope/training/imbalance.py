"""Classes of unequal size: how the training compensates for them.

Each method but ``"none"`` teaches the network as if all classes were equally frequent;
`diascope.bundle.prior.logit_offset` undoes that when the network is used.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from diascope.training.gradient_step import Loss


def make_loss(
    method: str,
    fractions: NDArray[np.float64],
    *,
    label_smoothing: float,
    device: torch.device,
) -> Loss:
    """Return the loss for training images of which ``fractions`` (K,) are in each class."""
    mixed_in = torch.from_numpy(smoothing_fractions(method, fractions)).float()
    targets = torch.eye(len(fractions)).lerp(mixed_in, label_smoothing)
    weights, shift = (torch.from_numpy(term).float() for term in loss_terms(method, fractions))
    return Loss(targets.to(device), weights.to(device), shift.to(device))


def epoch_order(
    method: str,
    rows: NDArray[np.integer],
    labels: NDArray[np.integer],
    rng: np.random.Generator,
) -> NDArray[np.integer]:
    """Return the rows of an epoch in random order.

    For ``"balanced_sampling"`` as many rows are sampled with replacement, each class equally often
    on average.
    """
    if method != "balanced_sampling":
        return rng.permutation(rows)
    counts = np.bincount(labels[rows])
    chances = 1 / counts[labels[rows]]
    return rng.choice(rows, size=len(rows), p=chances / chances.sum())


def loss_terms(
    method: str, fractions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the class weights of the loss, and what it adds to the logits.

    ``fractions`` (K,) are those of the training images in each class.

    Returns
    -------
    weights, shift : float64 (K,)
        Inverse frequency w_c = n / (K n_c) for ``"class_weights"``, else 1; the log of the
        fractions for ``"logit_adjustment"`` (Menon et al. 2021, arXiv:2007.07314), else 0.

    Examples
    --------
    >>> loss_terms("class_weights", np.array([0.75, 0.25]))[0].round(3).tolist()
    [0.667, 2.0]
    """
    weights, shift = np.ones(len(fractions)), np.zeros(len(fractions))
    if method == "class_weights":
        weights = 1 / (len(fractions) * fractions)
    elif method == "logit_adjustment":
        shift = np.log(fractions)
    return weights, shift


def smoothing_fractions(method: str, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what smoothed labels are mixed with: the class fractions of the images shown, (K,).

    With equal parts, as is usual, the network would learn to expect a rare class more often than
    it occurs, and `decision_weights` would multiply that.

    Examples
    --------
    >>> smoothing_fractions("logit_adjustment", np.array([0.75, 0.25])).tolist()
    [0.75, 0.25]
    >>> smoothing_fractions("balanced_sampling", np.array([0.75, 0.25])).tolist()
    [0.5, 0.5]
    """
    if method == "balanced_sampling":
        return np.full(len(fractions), 1 / len(fractions))
    return fractions
