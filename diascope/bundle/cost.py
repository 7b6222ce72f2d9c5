"""What a bundle costs: parameters, multiply-adds, bytes, and time and energy as measured here.

Multiply-adds are counted by torch's `FlopCounterMode` while one image is scored as `predict` scores
it, all views and all members included. It counts convolutions, matrix products and attention, as
two floating-point operations for each multiply-add (1 MAC = 2 FLOPs), and nothing else:
normalisation, activations, pooling and additions are left out, as is usual.

Times are measured once and kept in ``cost.json`` of the run: a report measures nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import WEIGHTS
from diascope.system.energy import read_energy
from diascope.system.machine import processor
from diascope.system.sealed import read_sealed, write_sealed

FILE = "cost.json"
FIX = "Remove the file and run `diascope evaluate` again."
FLOPS_OF_A_MULTIPLY_ADD = 2
MEASURED_SECONDS = 0.5  # for each of two measurements, or three rounds where that takes longer
FEWEST_ROUNDS, MOST_ROUNDS = 3, 50
LARGEST_BATCH = 32


@dataclass(frozen=True)
class Speed:
    """How long a prediction took on one machine, from pixels of the right size to logits."""

    one_image_ms: float  # an image by itself, median
    batch_image_ms: float  # an image of a batch, median
    batch_size: int
    joules_per_image: float | None  # in batches; None where the machine does not tell
    device: str  # the name of the GPU, or of the processor
    threads: int  # of the processor
    measured: str  # when, in ISO 8601


@dataclass(frozen=True)
class Cost:
    """What a bundle costs."""

    n_parameters: int  # of all members
    multiply_adds: int  # for one prediction of one image, all views and members included
    n_views: int  # turns and mirrors of the image that are in it
    n_bytes: int  # of the file of weights
    speed: Speed


def multiply_adds(bundle: Bundle) -> int:
    """Return the multiply-adds of one prediction of one image."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        bundle.predict_logits(_images(bundle, 1))
    return counter.get_total_flops() // FLOPS_OF_A_MULTIPLY_ADD


def cost_of(bundle: Bundle, folder: Path) -> Cost:
    """Count and measure what a bundle costs on this machine; ``folder`` holds its files."""
    return Cost(
        n_parameters=sum(one.numel() for one in bundle.module.parameters()),
        multiply_adds=multiply_adds(bundle),
        n_views=bundle.card.views,
        n_bytes=(folder / WEIGHTS).stat().st_size,
        speed=measure_speed(bundle),
    )


def measure_speed(bundle: Bundle) -> Speed:
    """Time predictions of images by themselves and in batches, for about a second in all.

    A batch is as large as suits the time, 32 images at most. Other programs that run at the same
    time slow it down: it is what this machine gave, and no property of the network.
    """
    import torch

    alone, _ = _seconds(lambda: bundle.predict_logits(_images(bundle, 1)))
    batch_size = int(np.clip(MEASURED_SECONDS / FEWEST_ROUNDS / alone, 1, LARGEST_BATCH))
    together, joules = _seconds(lambda: bundle.predict_logits(_images(bundle, batch_size)))
    on_gpu = next(bundle.module.parameters()).device.type == "cuda"
    return Speed(
        one_image_ms=round(1000 * alone, 3),
        batch_image_ms=round(1000 * together / batch_size, 3),
        batch_size=batch_size,
        # the counters are those of the processor alone
        joules_per_image=None if joules is None or on_gpu else round(joules / batch_size, 4),
        device=torch.cuda.get_device_name() if on_gpu else processor(),
        threads=torch.get_num_threads(),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _seconds(call: Callable[[], object]) -> tuple[float, float | None]:
    """Return the median seconds of a call after one to warm up, and its mean joules."""
    call()
    seconds, before, started = [], read_energy(), time.perf_counter()
    while len(seconds) < FEWEST_ROUNDS or (
        time.perf_counter() - started < MEASURED_SECONDS and len(seconds) < MOST_ROUNDS
    ):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    joules = read_energy().joules_since(before)
    return float(np.median(seconds)), None if joules is None else joules / len(seconds)


def _images(bundle: Bundle, number: int) -> np.ndarray:
    """Return images without content, uint8 (N, S, S, 3)."""
    size_px = bundle.card.size_px
    return np.zeros((number, size_px, size_px, 3), np.uint8)


def save_cost(run_folder: Path, bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Measure what a network costs, unless it is known, and return it as `read_cost` does."""
    known = read_cost(run_folder)
    if known is None or known["weights_sha256"] != bundle.card.weights_sha256:
        found = asdict(cost_of(bundle, folder))
        content = {"weights_sha256": bundle.card.weights_sha256, **found}
        write_sealed(run_folder / FILE, content)
    return read_cost(run_folder) or {}


def read_cost(run_folder: Path) -> dict[str, Any] | None:
    """Return what a network of a run costs, the fields of `Cost`; None where nobody measured it.

    Raises
    ------
    RunError
        The file is damaged.
    """
    path = run_folder / FILE
    return read_sealed(path, fix=FIX) if path.is_file() else None
