"""Local features of a picture: points that are found again after turning, scaling and cropping.

SIFT (Lowe, International Journal of Computer Vision 60:91, 2004) on the flattened picture,
compared by the Hellinger distance (RootSIFT: Arandjelovic and Zisserman, CVPR 2012). A mirrored
picture has the same features with the cells of each descriptor in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FEATURE_PX = 80  # pixels that show something, for each feature that is kept
MIN_FEATURES, MAX_FEATURES = 50, 300  # of a picture, where it has so many
CONTRAST = 0.01
_CELLS = np.arange(128).reshape(4, 4, 8)
MIRRORED_ORDER = _CELLS[::-1][:, :, -np.arange(8) % 8].ravel()


@dataclass(frozen=True, slots=True)
class Features:
    """Features of one picture, in little memory: there may be nine million in a data set."""

    # float32 (F, 4): position x, y in px of the flattened picture; diameter in px; orientation in
    # radians, from x towards y.
    geometry: NDArray[np.float32]
    descriptors: NDArray[np.uint8]  # (F, 128)

    def __len__(self) -> int:
        return len(self.geometry)

    @property
    def points(self) -> NDArray[np.float32]:
        """Positions x, y in px, float32 (F, 2)."""
        return self.geometry[:, :2]

    @property
    def sizes(self) -> NDArray[np.float32]:
        """Diameters in px, float32 (F,)."""
        return self.geometry[:, 2]

    @property
    def angles(self) -> NDArray[np.float32]:
        """Orientations in radians, float32 (F,)."""
        return self.geometry[:, 3]

    @property
    def n_bytes(self) -> int:
        """Memory that the features take, with what Python adds."""
        return 144 * len(self) + 600


def describe(flat: NDArray[np.uint8], valid: NDArray[np.bool_]) -> Features:
    """Find the strongest features of a picture: one for 80 pixels that show something, at most.

    Parameters
    ----------
    flat, valid : uint8 and bool (h, w)
        Of `diascope.data.duplicates.flatten.flatten`.
    """
    n_wanted = int(np.clip(valid.sum() // FEATURE_PX, MIN_FEATURES, MAX_FEATURES))
    sift = cv2.SIFT.create(nfeatures=n_wanted, contrastThreshold=CONTRAST)
    keys, descriptors = sift.detectAndCompute(flat, None)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    geometry = np.array([(*key.pt, key.size, key.angle) for key in keys], np.float32)
    geometry = geometry.reshape(-1, 4)
    geometry[:, 3] = np.radians(geometry[:, 3])
    return Features(geometry, np.clip(descriptors, 0, 255).astype(np.uint8))


def root(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return descriptors as unit vectors whose dot product is the Hellinger similarity."""
    values = descriptors.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))


def mirrored(descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the descriptors that the mirrored picture has."""
    return descriptors[:, MIRRORED_ORDER]


def reflected(features: Features, width: int) -> Features:
    """Return the features that the picture of this width has when mirrored left to right."""
    geometry = features.geometry.copy()
    geometry[:, 0] = width - 1 - geometry[:, 0]
    geometry[:, 3] = np.pi - geometry[:, 3]
    return Features(geometry, mirrored(features.descriptors))
