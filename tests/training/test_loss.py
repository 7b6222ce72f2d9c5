"""The loss, held against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from diascope.training.gradient_step import Loss


def test_the_loss_is_the_weighted_cross_entropy_of_shifted_logits():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (11, 3)), rng.integers(0, 3, 11)
    targets = 0.9 * np.eye(3) + 0.1 * np.array([0.7, 0.2, 0.1])
    weights, shift = np.array([0.5, 1.0, 3.0]), np.log([0.7, 0.2, 0.1])
    loss = Loss(*(torch.tensor(term, dtype=torch.float32) for term in (targets, weights, shift)))
    found = loss(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    each = -(targets[labels] * weights * log_softmax(logits + shift, axis=1)).sum(axis=1)
    assert found.item() == pytest.approx(each.mean(), rel=1e-5)
