"""Micro-batches: what comes in together is scored at once.

A batch waits only for images that are known to come, since they are being decoded, and only for
milliseconds. A single image is scored immediately, alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.prediction import Prediction

LARGEST_BATCH = 32
LONGEST_WAIT = 0.01  # seconds, for those that are being decoded

Waiting = tuple[NDArray[np.uint8], "Future[Prediction | None]"]


class Batcher:
    """A thread with a network, which scores the images that are handed to it.

    Parameters
    ----------
    predict : callable
        Predicts images, uint8 (N, S, S, 3); None where a score is not finite.
    observe : callable
        Called with the size of each batch.
    largest : int
        Images in a batch; with 1, each is scored alone.
    """

    def __init__(
        self,
        predict: Callable[[NDArray[np.uint8]], list[Prediction | None]],
        *,
        observe: Callable[[int], None],
        largest: int = LARGEST_BATCH,
    ) -> None:
        self._predict, self._observe, self._largest = predict, observe, largest
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._n_coming = 0
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Say that an image will be submitted when the block ends, or never."""
        self._n_coming += 1
        try:
            yield
        finally:
            self._n_coming -= 1

    def submit(self, image: NDArray[np.uint8]) -> Future[Prediction | None]:
        """Return what will be the prediction of an image, uint8 (S, S, 3)."""
        future: Future[Prediction | None] = Future()
        self._queue.put((image, future))
        return future

    def close(self) -> None:
        """Finish what was submitted, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._gather()
            batch = [one for one in batch if one[1].set_running_or_notify_cancel()]
            if batch:
                self._score(batch)

    def _gather(self) -> tuple[list[Waiting], bool]:
        """Wait for an image, and for those that come with it; False once there is no more."""
        found = self._queue.get()
        batch: list[Waiting] = []
        until = time.perf_counter() + LONGEST_WAIT
        while found is not None:
            batch.append(found)
            if len(batch) == self._largest:
                return batch, True
            left = until - time.perf_counter() if self._n_coming else 0
            try:
                found = self._queue.get(timeout=max(0, left))
            except Empty:
                return batch, True
        return batch, False

    def _score(self, batch: list[Waiting]) -> None:
        self._observe(len(batch))
        try:
            found = self._predict(np.stack([image for image, _ in batch]))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), prediction in zip(batch, found, strict=True):
            future.set_result(prediction)
