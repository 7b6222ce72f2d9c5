"""What all models of a server share: decoders, threads, and places to wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from diascope.data.decoder_processes import DecoderProcesses
from diascope.serving.keep import Keeper
from diascope.serving.limits import Limits
from diascope.serving.metrics import Metrics
from diascope.serving.problems import busy

RETRY_SECONDS = 2


class Places:
    """How many may wait; whoever finds it full is refused."""

    def __init__(self, most: int, what: str, metrics: Metrics) -> None:
        self._most, self._what, self._metrics = most, what, metrics
        self.taken = 0

    @contextmanager
    def held(self, n_wanted: int) -> Iterator[None]:
        """Take places until the block ends; ``Problem`` (503) where there are too few."""
        if self.taken + n_wanted > self._most:
            raise busy(f"{self.taken} {self._what} wait already", seconds=RETRY_SECONDS)
        self._add(n_wanted)
        try:
            yield
        finally:
            self._add(-n_wanted)

    def _add(self, number: int) -> None:
        self.taken += number
        self._metrics.waiting(self._what, self.taken)


@dataclass(frozen=True)
class Workshop:
    """What all models share: decoders, threads, places to wait, and the counters."""

    limits: Limits
    metrics: Metrics
    decoders: DecoderProcesses
    decoding: ThreadPoolExecutor
    explaining: ThreadPoolExecutor  # of one thread
    images: Places
    explanations: Places
    keeper: Keeper | None  # None stores nothing

    @classmethod
    def open(cls, limits: Limits, metrics: Metrics, keeper: Keeper | None) -> Workshop:
        """Start the processes and threads."""
        n_processes = max(1, min(4, os.cpu_count() or 1))
        return cls(
            limits=limits,
            metrics=metrics,
            decoders=DecoderProcesses(n_processes, seconds=limits.decode_seconds),
            decoding=ThreadPoolExecutor(n_processes, "decoding"),
            explaining=ThreadPoolExecutor(1, "explaining"),
            images=Places(limits.waiting_images, "images", metrics),
            explanations=Places(limits.waiting_explanations, "explanations", metrics),
            keeper=keeper,
        )

    def close(self) -> None:
        """End them, when nothing waits any more."""
        self.explaining.shutdown()
        self.decoding.shutdown()
        self.decoders.close()
