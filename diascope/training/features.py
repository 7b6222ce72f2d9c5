"""The features of a frozen backbone, computed once and cached.

``features.npy`` is float32 (V, N, D): V views (quarter turns, then mirrored ones) of N images. The
folder's name is the digest of the pixels, the network and the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diascope.bundle.preprocess import dihedral, normalise, to_unit
from diascope.models.timm_backbone import Classifier
from diascope.system.array_cache import cached_array, find_array
from diascope.system.progress import Progress, ShowProgress, silent

BATCH_SIZE = 128
DAMAGED = "The cached features are damaged: they are computed again."


def frozen_features(
    module: Classifier,
    images: NDArray[np.uint8],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    views: int,
    made_of: dict[str, str],
    folder: Path,
    progress: ShowProgress = silent,
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

    Returns
    -------
    float32 (V, N, D)
        Memory-mapped, read-only.
    """
    facts = _facts(made_of, mean, std, views)

    def write(path: Path, is_again: bool) -> None:
        remark = DAMAGED if is_again else ""

        def show(n_done: int) -> None:
            progress(Progress("computing features", n_done, len(images), remark=remark))

        _write(path, module, images, mean, std, views, show)

    return cached_array(*_files(folder, facts), facts=facts, write=write, progress=progress)


def find_features(
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    views: int,
    made_of: dict[str, str],
    folder: Path,
) -> NDArray[np.float32] | None:
    """Return the features that `frozen_features` has cached for the same arguments.

    None where there are none, or damaged ones.
    """
    return find_array(*_files(folder, _facts(made_of, mean, std, views)))[0]


def _facts(
    made_of: dict[str, str], mean: tuple[float, ...], std: tuple[float, ...], views: int
) -> dict[str, Any]:
    return {**made_of, "mean": mean, "std": std, "views": views, "torch": torch.__version__}


def _files(folder: Path, facts: dict[str, Any]) -> tuple[Path, Path]:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return folder / digest / "features.npy", folder / digest / "features.json"


def _write(
    path: Path,
    module: Classifier,
    images: NDArray[np.uint8],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    views: int,
    show: Callable[[int], None],
) -> None:
    """Write the features of all images, a batch at a time: together they may exceed the memory."""
    device = next(module.parameters()).device
    module.eval()
    with path.open("wb") as file, torch.inference_mode():
        data_start = 0
        for start in range(0, len(images), BATCH_SIZE):
            batch = torch.from_numpy(np.array(images[start : start + BATCH_SIZE]))
            x = normalise(to_unit(batch.to(device)), mean, std)
            features = [module.features(dihedral(x, view)) for view in range(views)]
            part = torch.stack(features).float().cpu().numpy()  # (V, B, D)
            if not start:
                shape = (views, len(images), part.shape[2])
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                data_start = file.tell()
            for view, of_view in enumerate(part):
                file.seek(data_start + (view * len(images) + start) * of_view[0].nbytes)
                file.write(of_view.astype("<f4", copy=False).tobytes())
            show(min(start + BATCH_SIZE, len(images)))
