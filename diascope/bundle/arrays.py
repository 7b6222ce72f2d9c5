"""Files of named arrays in a bundle, each known by its SHA-256 in the card."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.card import damaged
from diascope.system.files import write_bytes
from diascope.system.reading import OddFileError, read_ordinary

MOST_BYTES = 1 << 30  # of a file: a longer one is not ours


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write arrays as safetensors and return the SHA-256 of the file."""
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def load_arrays(
    path: Path,
    sha256: str,
    *,
    names: Collection[str],
    optional: Collection[str] = (),
    most_bytes: int = MOST_BYTES,
) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file.

    Raises
    ------
    RunError
        The file is missing, too long, has another SHA-256, or holds other arrays.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = read_ordinary(path, most_bytes=most_bytes)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise damaged(path.parent, f"{path.name} is not the file that the card names")
        arrays = load(content)
    except FileNotFoundError as error:
        raise damaged(path.parent, f"{path.name} is missing") from error
    except OddFileError as error:
        raise damaged(
            path.parent, f"{path.name} {str(error.strerror).removeprefix('it ')}"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path.parent, f"{path.name} cannot be read") from error
    if set(arrays) - set(optional) != set(names):
        raise damaged(path.parent, f"{path.name} holds other arrays")
    return arrays


def check_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, Any]) -> None:
    """Check kinds and shapes of the arrays of a file, and that their numbers are finite.

    ``shapes`` has, of some arrays, the kind of their numbers (``"f"`` or ``"i"``, or with their
    bytes, as ``"u1"``) and the shape: a number for each axis, or None where the length is free.

    Raises
    ------
    RunError
        An array is not as expected.
    """
    for name, (kind, shape) in shapes.items():
        array = arrays[name]
        is_right = array.dtype.str[1:].startswith(kind) and array.ndim == len(shape)
        is_right = is_right and all(
            n in (None, found) for n, found in zip(shape, array.shape, strict=True)
        )
        if not is_right or not np.isfinite(array).all():
            raise damaged(path.parent, f"{name} in {path.name} is not such an array as is expected")
