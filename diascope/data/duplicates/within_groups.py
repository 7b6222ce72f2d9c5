"""Near-duplicates within groups: no leak, but one picture that counts as several.

``prepare`` searches across groups only, as no split parts a group. Here pictures of one group that
look alike when small are proposed, and `diascope.data.duplicates.near` decides, by the same
evidence. A crop or a turn by an odd angle is not proposed: the count is a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.duplicates.near import NUMBERS, Read, verify_pairs
from diascope.system.progress import ShowProgress, silent

LOOK_PX = 16
ALIKE = 0.9  # correlation of the small pictures, from which on a pair is proposed
MOST_COMPARED = 1000
BLOCK = 512  # pictures of a group compared with all others of it at a time


@dataclass(frozen=True)
class WithinGroups:
    """What was found."""

    pairs: pl.DataFrame  # as in ``duplicates.parquet``, kind ``near``
    # n_proposed, n_compared: pairs that look alike, and the most alike of them that were compared
    n_proposed: int
    n_compared: int


def near_within_groups(
    images: pl.DataFrame,
    small: NDArray[np.uint8],
    read: Read,
    *,
    known: pl.DataFrame,
    progress: ShowProgress = silent,
) -> WithinGroups:
    """Find nearly equal pictures of one group; of equal ones only the first is looked at.

    Parameters
    ----------
    images : DataFrame
        Rows of the manifest.
    small : uint8 (N, S, S, 3), 0-255
        Small copies of the same images, in the same order.
    read : callable
        Takes a row and returns the picture, uint8 (H, W, 3), 0-255.
    known : DataFrame
        Pairs that were found already: ``image_id, other_id``.
    """
    table = images.with_row_index("row").drop_nulls("pixel_digest")
    table = table.unique("pixel_digest", keep="first", maintain_order=True)
    listed = {frozenset(pair) for pair in known.select("image_id", "other_id").iter_rows()}
    ids = images["image_id"].to_list()
    proposed = [np.zeros((0, 3))]
    for rows in table.group_by("group", maintain_order=True).agg("row")["row"].to_list():
        if len(rows) > 1:
            proposed.append(_alike(np.array(rows, dtype=np.intp), small))
    found = np.concatenate(proposed)
    first, second = found[:, 0].astype(int).tolist(), found[:, 1].astype(int).tolist()
    is_new = [
        frozenset((ids[one], ids[two])) not in listed
        for one, two in zip(first, second, strict=True)
    ]
    found = found[np.array(is_new, dtype=bool)]
    chosen = found[np.lexsort((found[:, 1], found[:, 0], -np.abs(found[:, 2])))][:MOST_COMPARED]
    candidates = np.column_stack([chosen[:, :2], chosen[:, 2] < 0]).astype(np.int64)
    verified = verify_pairs(read, candidates, progress=progress)
    named = images.select("image_id", "label", "group")
    one, two = named[verified["first"]], named[verified["second"]]
    pairs = pl.DataFrame(
        {
            "image_id": one["image_id"],
            "other_id": two["image_id"],
            "kind": pl.repeat("near", verified.height, eager=True, dtype=pl.String),
            **{name: verified[name] for name in NUMBERS},
            "label": one["label"],
            "group": one["group"],
            "other_label": two["label"],
            "other_group": two["group"],
        }
    )
    return WithinGroups(pairs, len(found), len(chosen))


def _alike(rows: NDArray[np.intp], small: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the pairs of one group that look alike, float64 (P, 3).

    First row, second row, and the correlation in the turn that suits best: below 0 where the second
    is mirrored.
    """
    grey = np.stack([_look(small[row]) for row in rows])
    turned = [
        _unit(np.rot90(grey[:, :, ::step], turn, axes=(1, 2)))
        for step in (1, -1)
        for turn in range(4)
    ]
    plain, found = turned[0], [np.zeros((0, 3), dtype=np.float64)]
    for start in range(0, len(rows), BLOCK):
        likeness = np.stack([plain[start : start + BLOCK] @ other.T for other in turned])
        best = likeness.max(axis=0)
        best[np.tri(*best.shape, k=start, dtype=bool)] = 0  # each pair once, and none with itself
        one, two = np.nonzero(best >= ALIKE)
        is_mirrored = likeness[:, one, two].argmax(axis=0) >= 4
        sign = np.where(is_mirrored, -1.0, 1.0)
        ends = np.stack([rows[one + start], rows[two]]).astype(np.float64)
        found.append(np.column_stack([ends.T, sign * best[one, two]]))
    return np.concatenate(found)


def _look(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (LOOK_PX, LOOK_PX), interpolation=cv2.INTER_AREA).astype(np.float32)


def _unit(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each picture as a vector without mean, of length 1; of a flat one, zeros."""
    flat = grey.reshape(len(grey), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(length, 1e-6)
