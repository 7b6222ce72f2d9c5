"""The optimisers: Adam, AdamW and Muon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diascope.training.distributed import ALONE, Ranks

MOMENTUM = 0.95
FASTER = 10  # times the rate of AdamW on other weights
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients of the Newton-Schulz iteration
N_ITERATIONS = 5


def make_optimizer(
    module: nn.Module,
    name: str,
    *,
    learning_rate: float,
    weight_decay: float,
    precision: str,
    ranks: Ranks = ALONE,
) -> torch.optim.Optimizer:
    """Return an optimiser of the weights that are not frozen.

    ``"adam"`` is Kingma & Ba 2015, without decay; ``"adamw"`` Loshchilov & Hutter 2019, where
    biases and normalisation weights do not decay; ``"muon"`` `Muon` on convolutions and AdamW on
    the rest. Muon multiplies matrices in ``precision``, ``"fp32"`` or ``"bf16"``, and shares that
    among ``ranks``, which all have the same weights and gradients.
    """
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    on_gpu = learning[0].device.type == "cuda"  # one kernel, whose rate may change once captured
    how: dict[str, Any] = {"fused": on_gpu, "capturable": on_gpu}
    how["lr"] = torch.tensor(learning_rate, device="cuda") if on_gpu else learning_rate
    if name == "adam":
        return torch.optim.Adam(learning, eps=1e-7, **how)
    how["weight_decay"] = weight_decay
    vectors = {"params": [w for w in learning if w.ndim <= 1], "weight_decay": 0.0}
    if name == "adamw":
        return torch.optim.AdamW([{"params": [w for w in learning if w.ndim > 1]}, vectors], **how)
    matrices = {"params": [w for w in learning if w.ndim in (2, 3)]}
    filters = {"params": [w for w in learning if w.ndim > 3], "are_filters": True}
    return Muon([matrices, vectors, filters], precision=precision, ranks=ranks, **how)


class Muon(torch.optim.AdamW):
    """Muon on the filters of convolutions, AdamW on all other weights.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) takes the step of Nesterov
    momentum, a matrix with a row an output channel, and replaces it by nearly the nearest
    orthogonal matrix: all directions are learned at one speed, the rare ones too.

    The parameter groups for it have ``are_filters``.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        precision: str,
        ranks: Ranks = ALONE,
        **how: Any,
    ) -> None:
        super().__init__(groups, **how)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.ranks = ranks

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Take a step; the gradients of the filters are used up by it."""
        for group in self.param_groups:
            of_group = group["params"] if group.get("are_filters") else []
            filters = [weight for weight in of_group if weight.grad is not None]
            steps = [self._with_momentum(weight, weight.grad) for weight in filters]
            for weight, step in zip(filters, self._orthogonal(steps), strict=True):
                rate = FASTER * group["lr"] * max(1, step.shape[0] / step.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(rate * step.view_as(weight))
                weight.grad = None  # so that AdamW passes it over
        super().step(closure)

    def _with_momentum(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return the step of Nesterov momentum as a matrix, with a row an output channel."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # AdamW looks for one when a state is read back
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM).flatten(1).to(self.dtype)

    def _orthogonal(self, matrices: list[Tensor]) -> list[Tensor]:
        """Return nearly the nearest orthogonal matrices; each is found by one of the ranks."""
        if self.ranks.n_ranks == 1 or not matrices:
            return [orthogonal(matrix) for matrix in matrices]
        is_own = [rank == self.ranks.rank for rank in shares(matrices, self.ranks.n_ranks)]
        turned = [
            orthogonal(matrix) if own else torch.zeros_like(matrix)
            for matrix, own in zip(matrices, is_own, strict=True)
        ]
        together = self.ranks.sum(torch.cat([matrix.flatten() for matrix in turned]))
        parts = together.split([matrix.numel() for matrix in matrices])
        return [part.view(matrix.shape) for part, matrix in zip(parts, matrices, strict=True)]


def shares(matrices: Sequence[Tensor], n_ranks: int) -> list[int]:
    """Return which rank turns each matrix: the most costly first, to the rank with least to do.

    Examples
    --------
    >>> shares([torch.empty(n, 9) for n in (9, 5, 4, 4)], 2)
    [0, 1, 1, 1]
    """
    costs = [min(one.shape) * one.numel() for one in matrices]
    loads, rank_of = [0] * n_ranks, [0] * len(costs)
    for number in sorted(range(len(costs)), key=lambda n: (-costs[n], n)):
        rank = loads.index(min(loads))
        rank_of[number] = rank
        loads[rank] += costs[number]
    return rank_of


def orthogonal(matrix: Tensor) -> Tensor:
    """Return nearly the nearest orthogonal matrix: singular values become 0.7 to 1.2.

    Five Newton-Schulz iterations, in which small singular values grow fast (Jordan 2024).
    """
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    for _ in range(N_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x
