"""Find the one turn, scale and shift under which the features of two pictures lie on each other.

Every match proposes a transform by its own orientation and size, each proposal is refined on the
matches that agree with it, and the one that most agree with is kept: no randomness anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diascope.data.duplicates.local_features import Features, root

RATIO = 0.85  # of the distances to the nearest and to the second nearest (Lowe 2004)
TOLERANCE_PX, LOOSE_PX = 3.0, 8.0
SHRINKING_PX = np.linspace(LOOSE_PX, TOLERANCE_PX, 5).tolist()
ANGLE_TOLERANCE, SIZE_TOLERANCE = 0.45, 0.5  # radians; logarithm of the ratio of sizes
N_REFINED = 5  # proposals that are worth refining
SCALES = (1 / 4, 4)


@dataclass(frozen=True)
class Alignment:
    """A similarity transform from the first picture to the second, and what speaks for it."""

    # Scale and turn: a point ``x + iy`` of the first picture lies at ``factor * z + shift``.
    factor: complex
    shift: complex  # in px of the second picture
    # (n,): the matched points that agree
    first: NDArray[np.complex128]
    second: NDArray[np.complex128]
    n_matches: int  # all matches, agreeing or not

    @property
    def n_inliers(self) -> int:
        """Number of different places that agree."""
        return len(np.unique(np.round(self.first / TOLERANCE_PX)))


def align(first: Features, second: Features) -> Alignment | None:
    """Align two pictures by their features.

    Returns
    -------
    Alignment or None
        None where fewer than three matches agree on anything.
    """
    rows, columns = _match(first.descriptors, second.descriptors)
    if len(rows) < 3:
        return None
    here, there = _complex(first.points[rows]), _complex(second.points[columns])
    turns = second.angles[columns].astype(np.float64) - first.angles[rows]
    growth = np.log(second.sizes[columns].astype(np.float64) / first.sizes[rows])
    factors = np.exp(growth + 1j * turns)
    agree = _agree(here, there, factors, factors, there - factors * here, LOOSE_PX)
    best: tuple[int, complex, complex, NDArray[np.bool_]] | None = None
    for proposal in np.argsort(-agree.sum(axis=1), kind="stable")[:N_REFINED]:
        refined = _refine(here, there, factors, agree[proposal])
        if refined is not None and (best is None or refined[0] > best[0]):
            best = refined
    if best is None or not SCALES[0] <= abs(best[1]) <= SCALES[1]:
        return None
    _, factor, shift, inliers = best
    return Alignment(factor, shift, here[inliers], there[inliers], len(rows))


def _complex(points: NDArray[np.float32]) -> NDArray[np.complex128]:
    return points[:, 0] + 1j * points[:, 1].astype(np.float64)


def _match(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the features that are each other's nearest, and clearly nearer than the next."""
    if len(first) < 3 or len(second) < 3:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    likeness = root(first) @ root(second).T
    rows = np.arange(len(first))
    columns = likeness.argmax(axis=1)
    nearest = likeness[rows, columns]
    is_mutual = likeness.argmax(axis=0)[columns] == rows
    likeness[rows, columns] = -1
    is_clear = 1 - nearest < RATIO**2 * (1 - likeness.max(axis=1))
    chosen = is_mutual & is_clear
    return rows[chosen], columns[chosen]


def _agree(here, there, own_factors, factors, shifts, tolerance_px: float) -> NDArray[np.bool_]:
    """Tell which matches agree with which transforms, bool (transforms, matches)."""
    factors, shifts = np.atleast_1d(factors)[:, None], np.atleast_1d(shifts)[:, None]
    distance = np.abs(factors * here + shifts - there)
    difference = np.log(own_factors / factors)
    return (
        (distance < tolerance_px * np.maximum(1, np.abs(factors)))
        & (np.abs(difference.real) < SIZE_TOLERANCE)
        & (np.abs(difference.imag) < ANGLE_TOLERANCE)
    )


def _refine(here, there, own_factors, inliers):
    """Fit the transform to the matches that agree, five times with a tolerance that shrinks."""
    factor, shift = 1 + 0j, 0j
    for tolerance_px in SHRINKING_PX:
        if inliers.sum() < 3:
            return None
        fitted = _fit(here[inliers], there[inliers])
        if fitted is None:
            return None
        factor, shift = fitted
        inliers = _agree(here, there, own_factors, factor, shift, tolerance_px)[0]
    return (int(inliers.sum()), factor, shift, inliers) if inliers.sum() >= 3 else None


def _fit(here: NDArray[np.complex128], there: NDArray[np.complex128]):
    """Fit a similarity transform by least squares, or None where all points are one."""
    from_centre = here - here.mean()
    spread = np.vdot(from_centre, from_centre).real
    if spread < 1e-6:
        return None
    factor = np.vdot(from_centre, there) / spread
    return (factor, there.mean() - factor * here.mean()) if factor != 0 else None
