"""What is explained: the logit of a class less the mean of all logits."""

from __future__ import annotations

from torch import Tensor


def centred_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the score (B,) of one class an image, of logits (B, K).

    The same number added to all logits changes no probability, and so does not change the score.
    """
    rows = range(len(logits))
    return logits[rows, targets] - logits.mean(dim=1)
