"""The learning rate of each step, as a share of its peak."""

from __future__ import annotations

import math

HOLD_EPOCHS = 10
DECAY = 0.1


def constant(epoch: float, epochs: float) -> float:  # noqa: ARG001 - every schedule is called alike
    """Return 1: the rate never changes."""
    return 1.0


def one_cycle(epoch: float, epochs: float, *, warm_up: float = 0.2) -> float:
    """Rise in a straight line over the first share ``warm_up``, then fall in half a cosine to 0.

    Smith & Topin 2018, arXiv:1708.07120.

    Parameters
    ----------
    epoch : float
        Where the step is, in epochs: its middle, so more than 0 and less than ``epochs``.
    epochs : float
        All of them; the last one may be cut short.

    Returns
    -------
    float
        0-1

    Examples
    --------
    >>> [round(one_cycle(epoch, 10), 2) for epoch in (0.5, 1, 2, 6, 9.5)]
    [0.25, 0.5, 1.0, 0.5, 0.01]
    """
    done = epoch / epochs
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def hold_then_decay(epoch: float, epochs: float) -> float:  # noqa: ARG001
    """Keep the peak for 10 epochs, then multiply it by exp(0.1 (10 - t)) in epoch t, from 0 on.

    Examples
    --------
    >>> [round(hold_then_decay(epoch, 40), 3) for epoch in (0.5, 9.5, 10.5, 11.5, 20.5)]
    [1.0, 1.0, 1.0, 0.905, 0.368]
    """
    return math.exp(DECAY * min(0, HOLD_EPOCHS - math.floor(epoch)))


SCHEDULES = {
    "constant": constant,
    "one_cycle": one_cycle,
    "hold_then_decay": hold_then_decay,
}
