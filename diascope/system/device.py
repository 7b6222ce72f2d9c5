"""Where networks run: on a GPU where there is one, otherwise on the processor."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FRACTION_FOR_DATA = 0.5  # of a GPU's free memory; the rest is for the network and its activations
COPIED_AT_ONCE = 4096  # rows


def best_device() -> torch.device:
    """Return the device to train and to score on: CUDA, Apple's MPS, or the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Return the context in which convolutions run in ``"bf16"`` or ``"fp32"``."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def full_precision() -> AbstractContextManager:
    """Return the context in which CUDA's convolutions are no less exact than the processor's."""
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


def resident(
    array: NDArray[Any], device: torch.device, *, free_bytes: int | None = None
) -> NDArray[Any] | Tensor:
    """Copy an array into a GPU's memory, if it fits; else return it as it is.

    A training then reads its batches there and does not wait for the bus. What does not fit is
    read from the memory map, batch by batch.

    Parameters
    ----------
    array : (N, ...)
        Memory-mapped, perhaps larger than any memory.
    device : torch.device
        Nothing is copied for a processor: the pages of the map are its memory.
    free_bytes : int, optional
        Free memory of the device; by default it is read from the device.
    """
    if device.type != "cuda":
        return array
    free = torch.cuda.mem_get_info(device)[0] if free_bytes is None else free_bytes
    if array.nbytes > FRACTION_FOR_DATA * free:
        return array
    dtype = torch.from_numpy(array[:0].copy()).dtype
    copied = torch.empty(array.shape, dtype=dtype, device=device)
    for start in range(0, len(array), COPIED_AT_ONCE):
        part = np.array(array[start : start + COPIED_AT_ONCE])
        copied[start : start + len(part)] = torch.from_numpy(part)
    return copied


def take(
    array: NDArray[Any] | Tensor, rows: tuple[NDArray[np.integer], ...], device: torch.device
) -> Tensor:
    """Return ``array[rows]`` on a device, wherever the array lies."""
    if isinstance(array, Tensor):
        return array[tuple(torch.from_numpy(part).to(array.device) for part in rows)].to(device)
    return torch.from_numpy(array[rows]).to(device)
