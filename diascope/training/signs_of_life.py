"""Signs of life of the ranks of a training: when one stops, all others do, with one message.

Whatever ends a rank, the others notice: a sum fails at once where a process is gone, and a rank
that hangs gives no sign of life any more. Everything goes through the store of torch.distributed,
a small server that all ranks reach.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from diascope.errors import RunError

BEAT_SECONDS = 1.0  # between two signs of life
LINGER_SECONDS = 2.0  # before a rank ends that may hold the store: the others read it meanwhile
SILENT_SECONDS = 30.0  # without one, after which a rank is given up
LEAVE_SECONDS = 5.0  # after which a rank that hears of the end is ended
STORE = "Rank 0, or the store of all ranks,"
STOPPED = "stopped"  # counts the ranks that have something to say about the end
GO_ON = (
    "Look at its own message, at the memory of its node and at the network. The same command goes "
    "on from the last epoch, with any number of ranks."
)


class Watch(threading.Thread):
    """Gives a sign of life, and ends this process when another rank gives none any more.

    A sum that waits for a dead rank cannot be interrupted in any other way. The first rank watches
    all others, and they watch the first. The clock is this process's own.
    """

    def __init__(self, store: Any, rank: int, n_ranks: int) -> None:
        super().__init__(daemon=True)
        self.store, self.rank, self.n_ranks = store, rank, n_ranks
        self.is_over, self.has_heard_the_end = threading.Event(), threading.Event()
        self._turn = threading.Lock()

    def run(self) -> None:
        """Watch until it is over."""
        watched = [0] if self.rank else list(range(1, self.n_ranks))
        last = dict.fromkeys(watched, (b"", time.monotonic()))
        n_beats = 0
        while not self.is_over.wait(BEAT_SECONDS):
            n_beats += 1
            # A store that hangs, as it does where the first rank holds it and hangs, gives no error
            alarm = threading.Timer(SILENT_SECONDS, self._end, [STORE], {"has_store": False})
            alarm.daemon = True
            alarm.start()
            try:
                self.store.set(beat_of(self.rank), str(n_beats))
                if self.store.check([STOPPED]):
                    self._end()
                beats = self.store.multi_get([beat_of(rank) for rank in watched])
            except RuntimeError:
                self._end(STORE, has_store=False)
            finally:
                alarm.cancel()
            for rank, beat in zip(watched, beats, strict=True):
                if beat != last[rank][0]:
                    last[rank] = beat, time.monotonic()
                elif time.monotonic() - last[rank][1] > SILENT_SECONDS:
                    self._end(f"Rank {rank} of {self.n_ranks}")

    def claim(self, *, has_store: bool = True) -> bool:
        """Return whether the caller is to say why all end: once, and for one of the ranks.

        Without a store the ranks do not know of each other, and each says so.
        """
        if not self._turn.acquire(blocking=False):
            return False
        try:
            return not has_store or self.store.add(STOPPED, 1) == 1
        except RuntimeError:  # the store is lost
            return True

    def _end(self, silent: str = "", *, has_store: bool = True) -> NoReturn:
        """End this process: at once with a message, or after some time to end by itself."""
        self.has_heard_the_end.set()
        if silent and self.claim(has_store=has_store):
            sys.stderr.write(f"error: {lost(silent)}\n")
            sys.stderr.flush()
        elif self.is_over.wait(LEAVE_SECONDS):
            sys.exit()  # of the thread: the process ends by itself
        os._exit(2)


def beat_of(rank: int) -> str:
    """Return where the store has the signs of life of a rank."""
    return f"beat {rank}"


def lost(who: str) -> RunError:
    """Return the error for a rank that is gone."""
    return RunError(f"{who} has stopped or cannot be reached: the training ends.", fix=GO_ON)


@contextmanager
def a_rank_may_be_lost() -> Iterator[None]:
    """Turn the errors of torch.distributed into a `RunError`."""
    try:
        yield
    except RuntimeError as error:
        raise lost("Another rank") from error
