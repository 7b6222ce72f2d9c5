"""The optimisers: Adam, AdamW and Muon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
FASTER = 10  # times the rate of AdamW on other weights
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients of the Newton-Schulz iteration
N_ITERATIONS = 5


def make_optimizer(
    module: nn.Module, name: str, *, learning_rate: float, weight_decay: float, precision: str
) -> torch.optim.Optimizer:
    """Return an optimiser of the weights that are not frozen.

    ``"adam"`` is Kingma & Ba 2015, without decay; ``"adamw"`` Loshchilov & Hutter 2019, where
    biases and normalisation weights do not decay; ``"muon"`` `Muon` on convolutions and AdamW on
    the rest. Muon multiplies matrices in ``precision``, ``"fp32"`` or ``"bf16"``.
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
    return Muon([matrices, vectors, filters], precision=precision, **how)


class Muon(torch.optim.AdamW):
    """Muon on the filters of convolutions, AdamW on all other weights.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) takes the step of Nesterov
    momentum, a matrix with a row an output channel, and replaces it by nearly the nearest
    orthogonal matrix: all directions are learned at one speed, the rare ones too.

    The parameter groups for it have ``are_filters``.
    """

    def __init__(self, groups: list[dict[str, Any]], *, precision: str, **how: Any) -> None:
        super().__init__(groups, **how)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Take a step; the gradients of the filters are used up by it."""
        for group in self.param_groups:
            for weight in group["params"] if group.get("are_filters") else ():
                if weight.grad is not None:
                    self._turn(weight, weight.grad, group)
                    weight.grad = None  # so that AdamW passes it over
        super().step(closure)

    def _turn(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
            state["step"] = torch.zeros(())  # AdamW looks for one when a state is read back
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        step = orthogonal(gradient.lerp(momentum, MOMENTUM).flatten(1).to(self.dtype))
        n_rows, n_columns = step.shape
        rate = FASTER * group["lr"] * max(1, n_rows / n_columns) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(rate * step.view_as(weight))


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
