"""The baseline of a bundle: what it says of images that it neither learned from nor chose by.

New predictions are held against it by ``monitor``. A row is an image; groups have numbers and no
names, images neither, and nothing of their pixels is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.atomic import atomic_path

FILE = "baseline.safetensors"


@dataclass(frozen=True)
class Baseline:
    """What a bundle says of its validation images.

    Parameters
    ----------
    group_of : int32 (N,)
        The number of each image's group.
    logits : float32 (N, K)
        As `Bundle.predict_logits` gives them.
    unlikeness : float32 (N,), optional
        How unlike the training images each is; None for a bundle that cannot tell.
    """

    group_of: NDArray[np.int32]
    logits: NDArray[np.float32]
    unlikeness: NDArray[np.float32] | None

    def save(self, folder: Path) -> None:
        """Write the file beside the weights of a bundle."""
        from safetensors.numpy import save_file

        arrays = {"group_of": self.group_of, "logits": self.logits, "unlikeness": self.unlikeness}
        with atomic_path(folder / FILE) as temporary:
            save_file(
                {k: np.ascontiguousarray(v) for k, v in arrays.items() if v is not None}, temporary
            )

    @classmethod
    def load(cls, folder: Path, sha256: str) -> Baseline:
        """Read the file.

        Raises
        ------
        OSError, ValueError, SafetensorError
            It is missing or damaged, or not the one with this digest.
        """
        from safetensors.numpy import load

        content = (folder / FILE).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"{FILE} is not the one that the card names")
        arrays = load(content)
        if set(arrays) - {"unlikeness"} != {"group_of", "logits"}:
            raise ValueError("its arrays are others")
        return cls(arrays["group_of"], arrays["logits"], arrays.get("unlikeness"))
