"""How far probabilities are from what happened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def squared_errors(
    labels: NDArray[np.intp],
    probabilities: NDArray[np.float64],
    *,
    positive_index: int | None = None,
) -> NDArray[np.float64]:
    """Return the squared error of each image's probabilities; their mean is the Brier score.

    Brier 1950, "Verification of forecasts expressed in terms of probability", Monthly Weather
    Review 78:1-3.

    Parameters
    ----------
    labels : intp (N,)
        Class indices, 0 to K - 1.
    probabilities : float64 (N, K), 0-1
        One column a class.
    positive_index : int, optional
        With a positive class the error of its probability alone, 0-1, as is the custom for two
        classes; without one the sum over the classes, 0-2.

    Returns
    -------
    float64 (N,)

    Examples
    --------
    >>> squared_errors(np.array([1]), np.array([[0.5, 0.5]]), positive_index=1)
    array([0.25])
    """
    happened = labels[:, None] == np.arange(probabilities.shape[1])
    errors = (probabilities - happened) ** 2
    return errors.sum(axis=1) if positive_index is None else errors[:, positive_index]
