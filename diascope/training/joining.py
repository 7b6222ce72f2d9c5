"""How the ranks of a training find each other, and end together."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from types import FrameType
from typing import Any, NoReturn

import torch

from diascope.errors import DiascopeError, RunError, SettingsError
from diascope.system.device import best_device
from diascope.system.environment import Launch, launch, meeting_place
from diascope.training.distributed import ALONE, Ranks
from diascope.training.signs_of_life import GO_ON, LINGER_SECONDS, beat_of

JOIN_SECONDS = 120.0  # until all ranks must have come
STEP_MINUTES = 30  # for one sum; a dead rank is noticed long before
_numbers = itertools.count()  # of the trainings of this process: the store keeps what was


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
    usual = _when_ended(_say_why if ranks.is_first else signal.SIG_DFL)
    try:
        _check_software(ranks)
        yield ranks
        ranks.leave()
    except BaseException as error:
        _when_ended(signal.SIG_IGN)  # torchrun ends all at once: first comes what is to be said
        is_to_tell = ranks.stop()
        if isinstance(error, DiascopeError) and not is_to_tell:
            time.sleep(LINGER_SECONDS)
            raise SystemExit(2) from None
        raise
    _when_ended(usual)
    torch.distributed.destroy_process_group()


def _join(place: Launch) -> Ranks:
    from torch.distributed.distributed_c10d import PrefixStore, init_process_group
    from torch.distributed.rendezvous import rendezvous

    backend = _choose_device(place)
    began = time.monotonic()
    try:
        found, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=JOIN_SECONDS)))
        store = PrefixStore(f"training {next(_numbers)}", found)
        own = PrefixStore("diascope", store)
        own.set(beat_of(place.rank), "0")
        init_process_group(
            backend,
            store=PrefixStore("sums", store),
            rank=place.rank,
            world_size=place.n_ranks,
            timeout=timedelta(minutes=STEP_MINUTES),
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"The {place.n_ranks} ranks did not come together in "
            f"{time.monotonic() - began:.0f} s: {str(error).splitlines()[0]}",
            where=f"rank {place.rank}, at {meeting_place()}",
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


def _when_ended(action: Any) -> Any:
    """Choose what a SIGTERM does; return what it did. Only the main thread can."""
    if threading.current_thread() is threading.main_thread():
        return signal.signal(signal.SIGTERM, action)
    return action


def _say_why(_number: int, _frame: FrameType | None) -> NoReturn:
    raise RunError(
        "The training was stopped from outside: another rank has ended, or the time of the job "
        "is over.",
        fix=GO_ON,
    )
