"""One step of gradient descent on a batch.

On a CUDA device the step of each batch size is captured once and then replayed as one graph:
small networks have a hundred small kernels, and starting them one by one takes longer than they do.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diascope.system.device import autocast
from diascope.training.distributed import ALONE, Ranks
from diascope.training.whole_batch import whole_batch

N_EAGER = 3  # steps before a capture: libraries choose their kernels and memory meanwhile


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of shifted logits."""

    targets: Tensor  # float32 (K, K): row k holds the target probabilities of an image of class k
    weights: Tensor  # float32 (K,): of each class
    shift: Tensor  # float32 (K,): added to the logits

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """Map logits (B, K) and class indices int64 (B,) to the mean loss."""
        return F.cross_entropy(logits.float() + self.shift, self.targets[y], weight=self.weights)


@dataclass(frozen=True)
class _Captured:
    """A step as a graph, with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    x: Tensor
    y: Tensor
    loss: Tensor

    def replay(self, x: Tensor, y: Tensor) -> Tensor:
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        return self.loss.clone()


class GradientStep:
    """Trains a network on one batch at a time.

    On CUDA the optimiser needs ``capturable=True`` and a tensor as its learning rate. The precision
    is ``"fp32"`` or ``"bf16"``. Each of several ranks takes a step on its part of a batch, and all
    take the step of the whole; nothing is captured then.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        *,
        precision: str,
        ranks: Ranks = ALONE,
    ) -> None:
        self.module, self.optimizer, self.loss = module, optimizer, loss
        self.precision, self.ranks = precision, ranks
        on_gpu = next(module.parameters()).device.type == "cuda"
        self.is_captured = on_gpu and ranks.n_ranks == 1
        self._captured: dict[torch.Size, _Captured] = {}
        self._n_eager: Counter[torch.Size] = Counter()

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of all weights."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def __call__(self, x: Tensor, y: Tensor, *, n_batch: int | None = None) -> Tensor:
        """Take a step on inputs (B, ...) and class indices int64 (B,); return the loss, ().

        These are the part of this rank, of a batch of ``n_batch``; the loss is that of the whole.
        """
        if self.ranks.n_ranks > 1:
            return self._learn(x, y, n_batch=n_batch)
        if x.shape in self._captured:
            return self._captured[x.shape].replay(x, y)
        self._n_eager[x.shape] += 1
        if not self.is_captured or self._n_eager[x.shape] < N_EAGER:
            return self._learn(x, y)
        if self._n_eager[x.shape] == N_EAGER:
            return self._learn_if_it_can_be_captured(x, y)
        self._captured[x.shape] = self._capture(x, y)
        return self._captured[x.shape].replay(x, y)

    def _learn_if_it_can_be_captured(self, x: Tensor, y: Tensor) -> Tensor:
        """Take a step, and find out whether the network waits for values, which no graph can do."""
        try:
            with warnings.catch_warnings(action="ignore"):  # it warns that it is a prototype
                torch.cuda.set_sync_debug_mode("error")
            return self._learn(x, y)
        except RuntimeError:
            self.is_captured = False
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return self._learn(x, y)

    def _learn(self, x: Tensor, y: Tensor, *, n_batch: int | None = None) -> Tensor:
        n_batch = n_batch or len(x)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(x.device, self.precision), whole_batch(self.ranks, n_batch):
            logits = self.module(x)
        loss = self.loss(logits, y) * (len(x) / n_batch)
        loss.backward()
        total = self.ranks.sum_gradients(self.module.parameters(), loss.detach())
        self.optimizer.step()
        return total

    def _capture(self, x: Tensor, y: Tensor) -> _Captured:
        """Record a step without taking it."""
        x, y, graph = x.clone(), y.clone(), torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            loss = self._learn(x, y)
        return _Captured(graph, x, y, loss)
