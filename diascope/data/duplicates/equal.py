"""Find the same picture filed twice, and join the groups that share one.

Two files are equal pictures when their decoded pixels are equal to the last bit, also after a
quarter turn or a mirror. Equality is proof, so nothing is ever joined by mistake; featureless
images (a single colour) are equal by chance and never join. Pictures that are nearly the same are
verified in `near`, those that a list names are read in `known`; both join groups here as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.duplicates.known import NONE, KnownPairs, all_pairs
from diascope.errors import DataError

MAX_COMPONENT_SHARE = 0.05
# Which corner (0 and 1 above, 2 and 3 below) comes to each of the four places: in the picture as it
# is, turned by one to three quarters to the left, and in the same way once it is mirrored.
TURNED_CORNERS = (
    *((0, 1, 2, 3), (1, 3, 0, 2), (3, 2, 1, 0), (2, 0, 3, 1)),
    *((1, 0, 3, 2), (0, 2, 1, 3), (2, 3, 0, 1), (3, 1, 2, 0)),
)
QUARTER_TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


def pixel_digest(image: NDArray[np.uint8]) -> str | None:
    """Digest the pixels of an image, the same for its eight turned and mirrored versions.

    Parameters
    ----------
    image : uint8 (H, W, C), 0-255

    Returns
    -------
    str or None
        None for a featureless image, one colour all over.
    """
    if (image[0] == image[0, 0]).all() and (image == image[0, 0]).all():
        return None
    corners = _corner_sums(image)
    keys = [tuple(corners[place] for place in places) for places in TURNED_CORNERS]
    brightest = [number for number in range(8) if keys[number] == max(keys)]
    return min(_digest(_turn_pixels(image, number)) for number in brightest)


def _turn_pixels(image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Return one of the eight turned and mirrored versions, see `TURNED_CORNERS`."""
    if number >= 4:
        image = np.asarray(cv2.flip(image, 1), np.uint8).reshape(image.shape)
    if not number % 4:
        return image
    turned = np.asarray(cv2.rotate(image, QUARTER_TURNS[number % 4 - 1]), np.uint8)
    return turned.reshape(*turned.shape[:2], image.shape[2])


def _corner_sums(image: NDArray[np.uint8]) -> list[int]:
    """Sum the four corner blocks, row by row: they tell the orientation but for rare ties."""
    height, width = image.shape[0] // 2 or 1, image.shape[1] // 2 or 1
    rows = (slice(0, height), slice(-height, None))
    columns = (slice(0, width), slice(-width, None))
    return [int(sum(cv2.sumElems(image[row, column]))) for row in rows for column in columns]


def _digest(image: NDArray[np.uint8]) -> str:
    shape = image.shape[0].to_bytes(4, "big") + image.shape[1].to_bytes(4, "big")
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, salt=shape).hexdigest()


@dataclass(frozen=True)
class Duplicates:
    """What was found and joined."""

    n_images: int  # images that have at least one equal one
    n_pairs: int  # pairs of equal images
    pairs_across_groups: int  # of these, pairs of two groups
    across_labels: int  # equal pictures that are filed under more than one label
    near_searched: bool  # whether pictures that are nearly the same were looked for
    # Verified pairs of such pictures, all of two groups: within a group they are not looked for.
    n_near_pairs: int
    near_across_labels: int  # of these, pairs filed under two labels
    n_known_pairs: (
        int  # pairs that are known to show one thing, of the list that comes with the data
    )
    n_known_not_found: int  # of these, pairs that the search did not find, or that had no search
    n_known_absent: int  # pairs of that list of which an image is not here
    # Known and near pairs under two labels, each once: ``labels`` (two, sorted) and ``n_pairs``.
    conflicts: list[dict[str, Any]]
    groups_joined: int  # groups that became part of another one
    largest_component_groups: int  # groups in the largest joined group; 1 where nothing was joined


def join_duplicates(
    table: pl.DataFrame,
    near: pl.DataFrame | None = None,
    *,
    known: KnownPairs | None = None,
    accept_large: bool = False,
    within: str | None = None,
) -> tuple[pl.DataFrame, Duplicates]:
    """Give groups that share a picture one name, so that no split can part them.

    Parameters
    ----------
    table : DataFrame
        With ``image_id, label, group, pixel_digest``.
    near : DataFrame, optional
        Verified pairs of nearly the same picture, with ``image_id, other_id``; None where they
        were not looked for.
    known : KnownPairs, optional
        Pairs that are known to show one thing, with or without a search.
    accept_large : bool
        Go on even if one joined group holds more than 5 % of all groups.
    within : str, optional
        A column that no join may cross, such as a split that is given.

    Returns
    -------
    table, duplicates
        The table with joined groups named ``a+b``, and the counts.

    Raises
    ------
    DataError
        One group joined by what was found, not by what is known, holds three or more groups and
        more than 5 % of all: most likely the pictures are not what they seem.
    """
    pictures = table.drop_nulls("pixel_digest")
    shared = pictures.group_by("pixel_digest").agg(
        pl.len().alias("n"), pl.col("label").n_unique().alias("n_labels")
    )
    shared = shared.filter(pl.col("n") > 1)
    in_group = pictures.group_by("pixel_digest", "group").len()["len"]
    n_pairs = _n_pairs(shared["n"])
    links = pictures.group_by("pixel_digest", *([within] if within else [])).agg(
        pl.col("group").unique().sort().alias("groups")
    )
    near_ends, known = _ends(table, near), known or KnownPairs(NONE, 0)
    together = all_pairs(near, known.pairs)
    ends = _ends(table, together)
    shared_by = links.filter(pl.col("groups").list.len() > 1)["groups"].to_list()
    found = _components(shared_by + _groups_of(near_ends, within))
    components = _components(shared_by + _groups_of(ends, within))
    largest = max((len(component) for component in found), default=1)
    n_groups = table["group"].n_unique()
    if largest > max(2, MAX_COMPONENT_SHARE * n_groups) and not accept_large:
        raise DataError(
            f"Shared pictures would join {largest} of {n_groups} groups into one.",
            fix="Look at the data; if it is right, repeat with --accept-large-groups.",
        )
    renamed = {name: "+".join(component) for component in components for name in component}
    joined = table.with_columns(pl.col("group").replace(renamed)) if renamed else table
    return joined, Duplicates(
        n_images=int(shared["n"].sum()),
        n_pairs=n_pairs,
        pairs_across_groups=n_pairs - _n_pairs(in_group),
        across_labels=shared.filter(pl.col("n_labels") > 1).height,
        near_searched=near is not None,
        n_near_pairs=near_ends.height,
        near_across_labels=_of_two_labels(near_ends).height,
        n_known_pairs=known.pairs.height,
        n_known_not_found=ends.height - near_ends.height,
        n_known_absent=known.n_absent,
        conflicts=_conflicts(ends),
        groups_joined=sum(len(component) - 1 for component in components),
        largest_component_groups=max((len(component) for component in components), default=1),
    )


def _n_pairs(sizes: pl.Series) -> int:
    return int((sizes.cast(pl.Int64) * (sizes.cast(pl.Int64) - 1) // 2).sum())


def _ends(table: pl.DataFrame, near: pl.DataFrame | None) -> pl.DataFrame:
    """Return the verified pairs with what the table says of both pictures."""
    pairs = pl.DataFrame(schema={"image_id": pl.String, "other_id": pl.String})
    if near is not None:
        pairs = near.select("image_id", "other_id")
    pairs = pairs.join(table, on="image_id")
    return pairs.join(table, left_on="other_id", right_on="image_id", suffix="_other")


def _groups_of(ends: pl.DataFrame, within: str | None) -> list[list[str]]:
    """Return the two groups of each pair that may be joined."""
    if within:
        ends = ends.filter(pl.col(within) == pl.col(f"{within}_other"))
    return ends.select(pl.concat_list("group", "group_other").alias("groups"))["groups"].to_list()


def _of_two_labels(ends: pl.DataFrame) -> pl.DataFrame:
    return ends.filter(pl.col("label") != pl.col("label_other"))


def _conflicts(ends: pl.DataFrame) -> list[dict[str, Any]]:
    """Count the pairs of each two labels."""
    labels = pl.concat_list("label", "label_other").list.sort().alias("labels")
    counts = _of_two_labels(ends).group_by(labels).agg(pl.len().alias("n_pairs"))
    return counts.sort(pl.col("labels").list.join("\n")).to_dicts()


def _components(links: list[list[str]]) -> list[list[str]]:
    """Return the connected sets of two or more groups, sorted."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for groups in links:
        for other in groups[1:]:
            parent[root(other)] = root(groups[0])
    members: dict[str, list[str]] = {}
    for name in sorted(parent):
        members.setdefault(root(name), []).append(name)
    return sorted(component for component in members.values() if len(component) > 1)
