"""What a frozen backbone sees, computed once and kept.

``features.npy`` is float32 (V, N, D): V views (quarter turns, then mirrored ones) of N images. The
folder's name is the digest of the pixels, the network and the weights.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diascope.atomic import atomic_path, write_json
from diascope.data.augment import dihedral
from diascope.inputs import normalise, to_unit
from diascope.models.backbone import Classifier
from diascope.progress import Progress, Watch, silent

BATCH_SIZE = 128


def frozen_features(
    module: Classifier,
    images: NDArray[np.uint8],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    views: int,
    made_of: dict[str, str],
    folder: Path,
    watch: Watch = silent,
) -> NDArray[np.float32]:
    """Return the features of all images, computed once and cached.

    Parameters
    ----------
    module : Classifier
        Its backbone is used and not changed.
    images : uint8 (N, S, S, 3), 0-255
    mean, std : tuple of float (3,)
        Per channel, of pixel values in 0-1.
    views : int
        1 to 8.
    made_of : dict
        What identifies pixels, network and weights.
    folder : Path
        Where features are kept.
    watch : callable
        Told the progress.

    Returns
    -------
    float32 (V, N, D)
        Memory-mapped, read-only.
    """
    facts = _facts(made_of, mean, std, views)
    kept = folder / _digest(facts)
    if not (kept / "features.json").is_file():
        with atomic_path(kept / "features.npy") as temporary, temporary.open("wb") as file:
            np.save(file, _compute(module, images, mean, std, views, watch))
        write_json(kept / "features.json", facts)
    return np.load(kept / "features.npy", mmap_mode="r")


def find_features(
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    views: int,
    made_of: dict[str, str],
    folder: Path,
) -> NDArray[np.float32] | None:
    """Return what `frozen_features` has kept of the same images and network; None if nothing."""
    kept = folder / _digest(_facts(made_of, mean, std, views))
    if not (kept / "features.json").is_file():
        return None
    return np.load(kept / "features.npy", mmap_mode="r")


def _facts(
    made_of: dict[str, str], mean: tuple[float, ...], std: tuple[float, ...], views: int
) -> dict[str, Any]:
    return {**made_of, "mean": mean, "std": std, "views": views, "torch": torch.__version__}


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _compute(
    module: Classifier,
    images: NDArray[np.uint8],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    views: int,
    watch: Watch,
) -> NDArray[np.float32]:
    device = next(module.parameters()).device
    module.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH_SIZE):
            batch = torch.from_numpy(np.array(images[start : start + BATCH_SIZE]))
            x = normalise(to_unit(batch.to(device)), mean, std)
            seen = [module.features(dihedral(x, view)) for view in range(views)]
            parts.append(torch.stack(seen).float().cpu().numpy())
            watch(Progress("computing features", min(start + BATCH_SIZE, len(images)), len(images)))
    return np.concatenate(parts, axis=1)
