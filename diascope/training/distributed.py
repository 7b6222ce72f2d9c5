"""Several processes, the ranks, that train one network together as one process would.

``torchrun`` starts them, on the GPUs of a node or of several. The first rank decides, writes the
run folder and speaks; the others follow. Each computes its part of every batch, and the sums of the
gradients over all ranks are those of the whole batch. torch.distributed sums (NCCL between GPUs,
gloo between processors); its store, a small server that all ranks reach, carries everything else:
what is trained next, where to meet, and a sign of life of each rank every second.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from diascope.errors import DiascopeError, RunError, SettingsError
from diascope.system.device import best_device
from diascope.system.environment import Launch, launch

JOIN_SECONDS = 120.0  # until all ranks must have come
BEAT_SECONDS = 1.0  # between two signs of life
SILENT_SECONDS = 30.0  # without one, after which a rank is given up
LEAVE_SECONDS = 5.0  # after which a rank that hears of the end is ended
STEP_MINUTES = 30  # for one sum; a dead rank is noticed long before
POLL_SECONDS = 0.01
STOPPED, LEFT = "stopped", "left"
GO_ON = (
    "Look at its own message, at the memory of its node and at the network. The same command goes "
    "on from the last epoch, with any number of ranks."
)


class Ranks:
    """The place of this process among those that train together; alone by default."""

    def __init__(
        self, rank: int = 0, n_ranks: int = 1, *, n_local: int = 1, store: Any = None
    ) -> None:
        self.rank, self.n_ranks, self.n_local, self.store = rank, n_ranks, n_local, store
        self.watch = _Watch(store, rank, n_ranks)
        self._n_met = self._n_tasks = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that decides, writes and speaks."""
        return self.rank == 0

    def part(self, n_rows: int) -> slice:
        """Return which of so many rows are those of this rank; parts differ by one row at most.

        Examples
        --------
        >>> [Ranks(rank, 3).part(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        start, stop = (n_rows * rank // self.n_ranks for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks; it takes the place of the tensor."""
        if self.n_ranks > 1:
            with _a_rank_may_be_lost():
                torch.distributed.all_reduce(tensor)
        return tensor

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
        with _a_rank_may_be_lost():
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

    def check_all_have_a_part(self, *, smallest_batch: int, n_val: int) -> None:
        """Check that no rank is without an image, in training and in validation."""
        for n_images, what in ((smallest_batch, "in a batch"), (n_val, "to validate on")):
            if self.n_ranks > 1 and n_images < self.n_ranks:
                raise SettingsError(
                    f"There are {n_images} images {what}, fewer than the {self.n_ranks} ranks.",
                    fix="Start fewer ranks, or pass a larger --set batch_size.",
                )

    def meet(self) -> None:
        """Wait until all ranks are here, for as long as all live."""
        if self.n_ranks == 1:
            return
        self._n_met += 1
        place = f"met {self._n_met}"
        with _a_rank_may_be_lost():
            if self.store.add(place, 1) == self.n_ranks:
                self.store.set(f"{place}: all", "")
        self._wait_for(f"{place}: all")

    def begin_task(self, task: str) -> None:
        """Tell the followers, as the first rank, what is trained next; an empty text is the end."""
        if self.n_ranks > 1:
            with _a_rank_may_be_lost():
                self.store.set(f"task {self._n_tasks}", task)
            self._n_tasks += 1

    def next_task(self) -> str:
        """Wait, as a follower, for what is trained next; empty at the end."""
        self._wait_for(f"task {self._n_tasks}")
        with _a_rank_may_be_lost():
            task = self.store.get(f"task {self._n_tasks}").decode()
        self._n_tasks += 1
        return task

    def _wait_for(self, key: str) -> None:
        with _a_rank_may_be_lost():
            while not self.store.check([key]):
                if self.watch.has_heard_the_end.is_set():
                    raise _lost("Another rank")
                time.sleep(POLL_SECONDS)

    def stop(self) -> bool:
        """Let all other ranks stop; return whether none of them has said why."""
        self.watch.is_over.set()
        try:
            is_first_to_tell = self.store.add(STOPPED, 1) == 1
            time.sleep(2 * BEAT_SECONDS)  # the store may end with this process: let others read it
        except RuntimeError:
            return True
        return is_first_to_tell

    def leave(self) -> None:
        """End together, without an error."""
        self.watch.is_over.set()
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


class _Watch(threading.Thread):
    """Gives a sign of life, and ends this process when another rank gives none any more.

    A sum that waits for a dead rank cannot be interrupted in any other way. The first rank watches
    all others, and they watch the first. The clock is this process's own.
    """

    def __init__(self, store: Any, rank: int, n_ranks: int) -> None:
        super().__init__(daemon=True)
        self.store, self.rank, self.n_ranks = store, rank, n_ranks
        self.is_over, self.has_heard_the_end = threading.Event(), threading.Event()

    def run(self) -> None:
        """Watch until it is over."""
        watched = [0] if self.rank else list(range(1, self.n_ranks))
        last = dict.fromkeys(watched, (b"", time.monotonic()))
        n_beats = 0
        while not self.is_over.wait(BEAT_SECONDS):
            n_beats += 1
            try:
                self.store.set(_beat(self.rank), str(n_beats))
                if self.store.check([STOPPED]):
                    self._end()
                beats = self.store.multi_get([_beat(rank) for rank in watched])
            except RuntimeError:
                self._end("The store of the first rank")
            for rank, beat in zip(watched, beats, strict=True):
                if beat != last[rank][0]:
                    last[rank] = beat, time.monotonic()
                elif time.monotonic() - last[rank][1] > SILENT_SECONDS:
                    self._end(f"Rank {rank} of {self.n_ranks}")

    def _end(self, silent: str = "") -> NoReturn:
        """End this process: at once with a message, or when it had time to end by itself."""
        self.has_heard_the_end.set()
        if not silent and self.is_over.wait(LEAVE_SECONDS):
            sys.exit()  # of the thread: the process is ending
        if silent and _is_first_to_tell(self.store):
            sys.stderr.write(f"error: {_lost(silent)}\n")
            sys.stderr.flush()
        os._exit(2)


def _beat(rank: int) -> str:
    return f"beat {rank}"


def _is_first_to_tell(store: Any) -> bool:
    try:
        return store.add(STOPPED, 1) == 1
    except RuntimeError:  # the store is lost, too
        return True


def _lost(who: str) -> RunError:
    return RunError(f"{who} has stopped or cannot be reached: the training ends.", fix=GO_ON)


@contextmanager
def _a_rank_may_be_lost() -> Iterator[None]:
    """Turn the errors of torch.distributed into a `RunError`."""
    try:
        yield
    except RuntimeError as error:
        raise _lost("Another rank") from error


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other ranks that torchrun started, for the length of the block.

    When one rank stops, whatever the reason, all others do: one of them with a message.

    Raises
    ------
    RunError, SettingsError
        The ranks do not find each other, or do not fit together.
    SystemExit
        With code 2, where another rank has said what is wrong.
    """
    place = launch()
    if place is None:
        yield ALONE
        return
    try:
        ranks = _join(place)
    except DiascopeError:
        if place.local_rank:
            raise SystemExit(2) from None
        raise
    try:
        with _stopped_from_outside(ranks):
            _check_software(ranks)
            yield ranks
            ranks.leave()
    except BaseException as error:
        is_first_to_tell = ranks.stop()
        if isinstance(error, DiascopeError) and not is_first_to_tell:
            raise SystemExit(2) from None
        raise
    torch.distributed.destroy_process_group()


def _join(place: Launch) -> Ranks:
    from torch import distributed

    backend = _choose_device(place)
    try:
        store, _, _ = next(
            distributed.rendezvous("env://", timeout=timedelta(seconds=JOIN_SECONDS))
        )
        own = distributed.PrefixStore("diascope", store)
        own.set(_beat(place.rank), "0")
        distributed.init_process_group(
            backend,
            store=distributed.PrefixStore("sums", store),
            rank=place.rank,
            world_size=place.n_ranks,
            timeout=timedelta(minutes=STEP_MINUTES),
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"The {place.n_ranks} ranks did not come together in {JOIN_SECONDS:.0f} s: "
            f"{str(error).splitlines()[0]}",
            fix="Check that every node can reach the rendezvous address and port of torchrun, and "
            "that all ranks were started.",
        ) from error
    ranks = Ranks(place.rank, place.n_ranks, n_local=place.n_local, store=own)
    ranks.watch.start()
    return ranks


def _choose_device(place: Launch) -> str:
    """Let this rank have a GPU of its own, where there are any; return how ranks exchange sums."""
    kind = best_device().type
    if kind == "cuda":
        if place.n_local > torch.cuda.device_count():
            raise SettingsError(
                f"{place.n_local} ranks were started on a node with {torch.cuda.device_count()} "
                "GPUs.",
                fix="Pass --nproc-per-node gpu to torchrun.",
            )
        torch.cuda.set_device(place.local_rank)
        return "nccl"
    if kind == "mps":
        raise SettingsError(
            "Several ranks cannot share the GPU of an Apple computer.",
            fix="Start `diascope train` without torchrun.",
        )
    return "gloo"


def _check_software(ranks: Ranks) -> None:
    """Check that all ranks run the same software: others would compute otherwise."""
    software = f"diascope {version('diascope')}, torch {torch.__version__}"
    if ranks.is_first:
        ranks.store.set("software", software)
    ranks.meet()
    first = ranks.store.get("software").decode()
    if first != software:
        raise RunError(
            f"Rank {ranks.rank} has {software}, and rank 0 has {first}.",
            fix="Install the same versions on all nodes.",
        )


@contextmanager
def _stopped_from_outside(ranks: Ranks) -> Iterator[None]:
    """Let the first rank say why it ends when torchrun ends it: because another rank has ended."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise RunError(
            "The training was stopped from outside: another rank has ended, or the time of the job "
            "is over.",
            fix=GO_ON,
        )

    if not (ranks.is_first and threading.current_thread() is threading.main_thread()):
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
