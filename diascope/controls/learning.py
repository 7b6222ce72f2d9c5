"""How controls learn: boosted trees, as good as anything on a table; and a probe for shuffles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

RIDGE = 0.01  # penalty, for each image that is learned from


def boosted_scores(
    features: NDArray[np.float32],
    labels: NDArray[np.integer],
    judged: NDArray[np.float32],
    *,
    n_classes: int,
) -> NDArray[np.float64]:
    """Learn with gradient-boosted trees, and score other images.

    Nothing is tuned and nothing drawn: scikit-learn's settings, without early stopping. One thread
    does it: with several, the many small steps mostly wait for each other.

    Parameters
    ----------
    features : float32 (n, D)
    labels : int (n,)
    judged : float32 (m, D)
    n_classes : int
        K

    Returns
    -------
    float64 (m, K), 0-1
        Rows sum to 1; a class that was not learned has probability 0.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    scores = np.zeros((len(judged), n_classes))
    known = np.unique(labels)
    if len(known) == 1:
        scores[:, known[0]] = 1
        return scores
    model = HistGradientBoostingClassifier(random_state=0)
    model.set_params(early_stopping=False)
    with threadpool_limits(1, "openmp"):
        scores[:, known] = model.fit(features, labels).predict_proba(judged)
    return scores


def shuffled_scores(
    features: NDArray[np.float32],
    labels: NDArray[np.integer],
    judged: NDArray[np.float32],
    *,
    n_classes: int,
    n_shuffles: int,
    seed: int,
) -> NDArray[np.float64]:
    """Score images with a ridge regression on the labels, and on the labels dealt anew.

    Parameters
    ----------
    features : float32 (n, D)
        Standardised by themselves.
    labels : int (n,)
    judged : float32 (m, D)
    n_classes : int
        K
    n_shuffles : int
        R
    seed : int
        Of the shuffles.

    Returns
    -------
    float64 (R + 1, m, K)
        First of the true labels, then of each shuffle. Higher is likelier; not probabilities.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-6, spread, 1)
    learned, asked = (((part - mean) / spread).astype(float) for part in (features, judged))
    gram = learned.T @ learned + RIDGE * len(learned) * np.eye(learned.shape[1])
    hat = np.linalg.solve(gram, learned.T)  # (D, n): from targets to weights
    targets = np.eye(n_classes)[labels]
    rng = np.random.default_rng([seed, len(labels)])
    dealt = [targets, *(targets[rng.permutation(len(targets))] for _ in range(n_shuffles))]
    return np.stack([asked @ (hat @ one) for one in dealt])
