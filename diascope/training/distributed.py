"""Several processes, the ranks, that train one network together as one process would.

``torchrun`` starts them, on the GPUs of a node or of several. The first rank decides, writes the
run folder and speaks; the others follow. Each computes its part of every batch, and the sums of the
gradients over all ranks are those of the whole batch. torch.distributed sums (NCCL between GPUs,
gloo between processors); its store carries what is trained next, and where to meet.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diascope.errors import RunError, SettingsError
from diascope.system.device import best_device
from diascope.training.signs_of_life import (
    LEAVE_SECONDS,
    Watch,
    a_rank_may_be_lost,
    lost,
)

POLL_SECONDS = 0.01
LEFT = "left"  # counts the followers that have ended


class Ranks:
    """The place of this process among those that train together; alone by default."""

    def __init__(
        self, rank: int = 0, n_ranks: int = 1, *, n_local: int = 1, store: Any = None
    ) -> None:
        self.rank, self.n_ranks, self.n_local, self.store = rank, n_ranks, n_local, store
        self.watch = Watch(store, rank, n_ranks)
        self._n_met = self._n_tasks = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that decides, writes and speaks."""
        return self.rank == 0

    def part(self, n_rows: int) -> slice:
        """Return which of so many rows are those of this rank; parts differ by one row at most.

        Raises
        ------
        SettingsError
            There is not a row for each rank.

        Examples
        --------
        >>> [Ranks(rank, 3).part(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        if n_rows < self.n_ranks:
            raise SettingsError(
                f"{n_rows} images of a batch or of validation cannot be divided among "
                f"{self.n_ranks} ranks.",
                fix="Start fewer ranks, or pass a larger --set batch_size.",
            )
        start, stop = (n_rows * rank // self.n_ranks for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks; it takes the place of the tensor."""
        if self.n_ranks > 1:
            with a_rank_may_be_lost():
                torch.distributed.all_reduce(tensor)
        return tensor

    def of_each(self, own: Tensor) -> Tensor:
        """Return what each rank has, (n_ranks, ...): for small tensors, which it gets at once.

        A sum of gloo takes several times as long, since it goes round all ranks twice.
        """
        if self.n_ranks == 1:
            return own[None]
        for_each = own.expand(self.n_ranks, *own.shape).contiguous()
        of_each = torch.empty_like(for_each)
        with a_rank_may_be_lost():
            torch.distributed.all_to_all_single(of_each, for_each)
        return of_each

    def gathered(self, own: Tensor, n_rows: int) -> Tensor:
        """Return the rows of all ranks, (n_rows, ...), of which ``own`` are those of this one."""
        if self.n_ranks == 1:
            return own
        whole = own.new_zeros(n_rows, *own.shape[1:])
        whole[self.part(n_rows)] = own
        return self.sum(whole)

    def sum_gradients(self, weights: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Replace the gradient of each weight by its sum over all ranks; return that of a loss."""
        if self.n_ranks == 1:
            return loss
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        parts = [*(gradient.flatten() for gradient in gradients), loss.reshape(1)]
        *sums, total = self.sum(torch.cat(parts)).split([len(part) for part in parts])
        for gradient, summed in zip(gradients, sums, strict=True):
            gradient.copy_(summed.view(gradient.shape))
        return total[0]

    def agreed(self, value: float) -> float:
        """Return the value of the first rank, by which all decide."""
        return float(self._of_first(torch.tensor(value, dtype=torch.float64)))

    def _of_first(self, tensor: Tensor) -> Tensor:
        if self.n_ranks == 1:
            return tensor
        copy = tensor.detach().to(best_device()).contiguous()
        with a_rank_may_be_lost():
            torch.distributed.broadcast(copy, 0)
        return copy

    def begin_together(self, module: nn.Module, *, epoch: int, where: Path) -> None:
        """Wait until all ranks have the network and the images, and give all the same weights.

        Raises
        ------
        RunError
            The ranks read checkpoints of different epochs.
        """
        if self.n_ranks == 1:
            return
        self.meet()
        if self.agreed(epoch) != epoch:
            raise RunError(
                f"Rank {self.rank} reads another checkpoint than rank 0.",
                where=where,
                fix="Put the run on a file system that all nodes share.",
            )
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.copy_(self._of_first(tensor))

    def meet(self) -> None:
        """Wait until all ranks are here, for as long as all live."""
        if self.n_ranks == 1:
            return
        self._n_met += 1
        place = f"met {self._n_met}"
        with a_rank_may_be_lost():
            if self.store.add(place, 1) == self.n_ranks:
                self.store.set(f"{place}: all", "")
        self._wait_for(f"{place}: all")

    def begin_task(self, task: str) -> None:
        """Tell the followers, as the first rank, what is trained next; an empty text is the end."""
        if self.n_ranks > 1:
            with a_rank_may_be_lost():
                self.store.set(f"task {self._n_tasks}", task)
            self._n_tasks += 1

    def next_task(self) -> str:
        """Wait, as a follower, for what is trained next; empty at the end."""
        self._wait_for(f"task {self._n_tasks}")
        with a_rank_may_be_lost():
            task = self.store.get(f"task {self._n_tasks}").decode()
        self._n_tasks += 1
        return task

    def _wait_for(self, key: str) -> None:
        with a_rank_may_be_lost():
            while not self.store.check([key]):
                if self.watch.has_heard_the_end.is_set():
                    raise lost("Another rank")
                time.sleep(POLL_SECONDS)

    def stop(self) -> bool:
        """Let all other ranks stop; return whether none of them has said why."""
        is_to_tell = self.watch.claim()
        self.watch.is_over.set()
        return is_to_tell

    def leave(self) -> None:
        """End together, without an error."""
        self.watch.is_over.set()
        self.watch.join()
        with a_rank_may_be_lost():
            if self.is_first:
                self.begin_task("")
                self._wait_until_the_others_left()
            else:
                self.store.add(LEFT, 1)

    def _wait_until_the_others_left(self) -> None:
        """Wait, for some seconds at most: the store may end with this process."""
        deadline = time.monotonic() + LEAVE_SECONDS
        while self.store.add(LEFT, 0) < self.n_ranks - 1 and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


ALONE = Ranks()
