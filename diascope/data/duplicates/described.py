"""What is kept of pictures while they are compared: as much as a fixed memory holds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.agreement import Flat
from diascope.data.duplicates.flatten import flatten
from diascope.data.duplicates.local_features import Features, describe

FEATURE_BYTES, FLAT_BYTES = 3 << 29, 1 << 28

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by a key, those last used, while they fit into the memory meant for them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """Return a value, or None where it is not kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Value, n_bytes: int, *, in_place: bool = True) -> None:
        """Keep a value, in the place of those not used for longest, or only where there is room."""
        with self._lock:
            if key in self._values or not (in_place or self._bytes + n_bytes <= self._max_bytes):
                return
            self._values[key] = value, n_bytes
            self._bytes += n_bytes
            while self._bytes > self._max_bytes:
                _, (_, n_dropped) = self._values.popitem(last=False)
                self._bytes -= n_dropped


@dataclass(frozen=True, slots=True)
class Described:
    """The features of one picture, and its height and width in px."""

    features: Features
    shape: tuple[int, int]


class DescribedPictures:
    """Flattened pictures and their features by path or row, so that few are decoded twice.

    Memory does not grow with the number of pictures: of very many, the features of those that are
    decoded first are kept, and the flattened pictures that were used last.
    """

    def __init__(self) -> None:
        self.features: Kept[Described] = Kept(FEATURE_BYTES)
        self.flats: Kept[tuple[Flat, tuple[int, int]]] = Kept(FLAT_BYTES)

    def see(self, path: Hashable, image: NDArray[np.uint8]) -> None:
        """Describe a picture, uint8 (H, W, 3), 0-255, and keep its features while there is room."""
        flat, shape = self.flatten(path, image)
        described = Described(describe(*flat), shape)
        self.features.put(path, described, described.features.n_bytes, in_place=False)

    def flatten(self, path: Hashable, image: NDArray[np.uint8]) -> tuple[Flat, tuple[int, int]]:
        """Flatten a picture and keep it for a while; also return its height and width in px."""
        flat = flatten(image)
        found = flat, image.shape[:2]
        self.flats.put(path, found, flat[0].nbytes + flat[1].nbytes)
        return found
