"""Give every image its split: the one that came with the data, one by group, or one at random.

``official``: the published lists, a table's ``split`` column, or train, val and test folders. They
are taken as they are: a group in two of them is an error; a picture in two of them is a warning,
and no test image is ever moved. ``grouped``: whole groups are placed, see
`diascope.data.splits.split`. ``random``: image by image, which leaks; it is there to show by how
much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.manifest import SPLITS, label_indices
from diascope.data.spec import UNGROUPED
from diascope.data.splits.split import split_groups
from diascope.errors import DataError, LeakageError, SettingsError
from diascope.system.words import first_of

MODES = ("official", "grouped", "random")
ACKNOWLEDGED = "--i-know-this-leaks"
NAMES_SHOWN = 10


@dataclass(frozen=True)
class SplitFacts:
    """How the images were divided, for the fingerprint."""

    mode: str  # one of `MODES`
    unit: str  # what was placed as a whole: the kind of group, or ``"image"``
    # Requested fractions of train, val and test; of an official split only val's fraction of train
    # counts, where there is no val.
    fractions: tuple[float, ...]
    seed: int
    leaks: bool = False  # whether a group may be in two splits
    val_from_train: bool = False  # whether val was parted from the official train
    warnings: tuple[str, ...] = ()  # what a reader must know before the figures

    def as_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        lists = {"fractions": list(self.fractions), "warnings": list(self.warnings)}
        return {**vars(self), **lists}


def check_fractions(fractions: Sequence[float], seed: int) -> None:
    """Check that fractions divide the images in three, and that the seed is not negative."""
    if len(fractions) != len(SPLITS) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise SettingsError(
            f"The fractions {', '.join(map(str, fractions))} do not divide the images in three.",
            fix="Give three positive fractions for train, val and test that sum to 1.",
        )
    if seed < 0:
        raise SettingsError(f"A seed is a whole number of at least 0, and {seed} is not.")


def choose_mode(table: pl.DataFrame, requested: str | None, *, is_acknowledged: bool) -> str:
    """Return how to split: as requested, else official where the rows have a split, else grouped.

    Raises
    ------
    SettingsError
        There is no such mode or no official split, or a random split is not acknowledged.
    """
    has_official = "split" in table.columns and table["split"].is_not_null().any()
    mode = requested or ("official" if has_official else "grouped")
    if mode not in MODES:
        raise SettingsError(
            f"There is no split {mode!r}.", fix=f"Pass --split {', '.join(MODES[:-1])} or random."
        )
    if mode == "official" and not has_official:
        raise SettingsError(
            "No official split comes with these images.",
            fix="Leave --split out: diascope splits them by group.",
        )
    if mode == "random" and not is_acknowledged:
        raise SettingsError(
            "A random split puts images of one patient into train and test: the network is tested "
            "on patients whom it knows, and its figures say nothing of others.",
            fix="Leave --split out. To measure by how much the figures would be too good, repeat "
            f"with --split random {ACKNOWLEDGED}.",
        )
    if is_acknowledged and mode != "random":
        raise SettingsError(
            f"{ACKNOWLEDGED} is for --split random, and this split is {mode}.",
            fix="Leave it out.",
        )
    return mode


def rows_to_split(table: pl.DataFrame, mode: str) -> pl.DataFrame:
    """Return the rows that take part: with an official split, those that it lists.

    An image that no list names could be of a patient who is in one: it is left out.
    """
    if mode == "official":
        return table.filter(pl.col("split").is_not_null())
    return table.drop("split", strict=False)


def assign_splits(
    table: pl.DataFrame,
    classes: tuple[str, ...],
    *,
    mode: str,
    group_kind: str,
    fractions: Sequence[float],
    seed: int,
    near: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, SplitFacts]:
    """Give every image its split.

    Parameters
    ----------
    table : DataFrame
        From `rows_to_split`, groups that share a picture joined.
    mode : str
        One of `MODES`, see `choose_mode`.
    group_kind : str
        What a group is.
    fractions : three floats
        Of the images, for train, val and test.
    near : DataFrame, optional
        Verified pairs of nearly the same picture: ``image_id, other_id``. Of those in two official
        splits the user is warned.

    Returns
    -------
    table, facts
        The table with ``split``, and how it was done.

    Raises
    ------
    LeakageError
        A group is in two official splits.
    DataError
        A class is missing, or has too few groups for the parts.
    """
    unit, warnings, parted = group_kind, independence_warnings(group_kind, table), False
    if mode == "official":
        _check_no_group_in_two(table, group_kind)
        train = table.filter(pl.col("split") == "train")
        if not train.height and (table["split"] != "test").any():
            raise DataError(
                "The split that comes with the data has no train: there are "
                f"{' and '.join(sorted(set(table['split'])))} alone.",
                fix="Add the images of train, or let diascope split all of them with --split "
                "grouped. Images of test alone are an external test set.",
            )
        if train.height:
            _check_classes(train, classes, " in the official train")
        warnings = (*warnings, *_about_official(table, near))
        parted = train.height > 0 and not (table["split"] == "val").any()
        if parted:
            table = _part_val(table, classes, fractions, seed, group_kind)
    else:
        _check_classes(table, classes, "")
        if mode == "random":
            table = _with_split(table, _by_image(table, classes, fractions, seed))
            unit, warnings = UNGROUPED, (_leak_warning(table, group_kind),)
        else:
            table = _with_split(table, _by_group(table, classes, fractions, seed, group_kind))
    leaks = mode == "random"
    facts = SplitFacts(mode, unit, tuple(fractions), seed, leaks, parted, warnings)
    return table, facts


def _part_val(
    table: pl.DataFrame,
    classes: tuple[str, ...],
    fractions: Sequence[float],
    seed: int,
    group_kind: str,
) -> pl.DataFrame:
    """Part val from the official train, by group."""
    is_train = (table["split"] == "train").to_numpy()
    of_both = [fraction / sum(fractions[:2]) for fraction in fractions[:2]]
    split = table["split"].to_numpy().astype("<U5")
    part = _by_group(table.filter(is_train), classes, of_both, seed, group_kind)
    split[is_train] = np.array(SPLITS)[part]
    return table.with_columns(split=pl.Series(split))


def _check_no_group_in_two(table: pl.DataFrame, group_kind: str) -> None:
    places = table.group_by("group").agg(pl.col("split").unique().sort()).sort("group")
    shared = places.filter(pl.col("split").list.len() > 1)
    if shared.height:
        shown = [f"{group} ({' and '.join(splits)})" for group, splits in shared.iter_rows()]
        raise LeakageError(
            f"{shared.height} of {places.height} {_groups(group_kind)} are in two splits "
            "of those that come with the data: the network would be tested on what it knows.",
            where=first_of(shown, NAMES_SHOWN),
            fix="Correct the split, or let diascope make one by group with --split grouped.",
        )


def _check_classes(table: pl.DataFrame, classes: tuple[str, ...], where: str) -> None:
    missing = [name for name in classes if name not in set(table["label"])]
    if missing:
        found = ", ".join(sorted(set(table["label"]))[:NAMES_SHOWN]) or "nothing"
        raise DataError(
            f"There are images of {found} only{where}; of {', '.join(missing[:NAMES_SHOWN])} "
            "there are none.",
            fix="Pass the whole data set.",
        )


def _by_group(
    table: pl.DataFrame,
    classes: tuple[str, ...],
    fractions: Sequence[float],
    seed: int,
    group_kind: str,
) -> NDArray[np.int64]:
    counts = table.group_by("label").agg(pl.col("group").n_unique().alias("n")).sort("n", "label")
    few = counts.filter(pl.col("n") < len(fractions))
    if few.height:
        shown = [f"{name} ({n})" for name, n in few.iter_rows()]
        raise DataError(
            f"{few.height} of {len(classes)} classes have too few {_groups(group_kind)}: "
            f"{len(fractions)} parts must be filled, and no group may be in two.",
            where=first_of(shown, NAMES_SHOWN),
            fix="Add images of other groups, or leave these classes out.",
        )
    labels = label_indices(table, classes).to_numpy()
    groups = table["group"].rank("dense").to_numpy()  # in the order of their names
    return split_groups(labels, groups, fractions=fractions, seed=seed)


def _by_image(
    table: pl.DataFrame, classes: tuple[str, ...], fractions: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """Place image by image, in the wanted fractions of every class."""
    labels = label_indices(table, classes).to_numpy()
    rng = np.random.default_rng([seed, table.height])
    part = np.zeros(table.height, np.int64)
    for label in range(len(classes)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends = np.rint(np.cumsum(fractions)[:-1] * len(rows)).astype(int)
        for number, chosen in enumerate(np.split(rows, ends)):
            part[chosen] = number
    return part


def _with_split(table: pl.DataFrame, part: NDArray[np.int64]) -> pl.DataFrame:
    return table.with_columns(split=pl.Series(np.array(SPLITS)[part]))


def _leak_warning(table: pl.DataFrame, group_kind: str) -> str:
    known = set(table.filter(pl.col("split") == "train")["group"])
    tested = set(table.filter(pl.col("split") == "test")["group"])
    return (
        f"THIS SPLIT LEAKS: the images were split at random, and {len(known & tested):,} of the "
        f"{len(tested):,} {_groups(group_kind)} that are tested have other images in "
        "train. The figures are too good and say nothing of others."
    )


def independence_warnings(group_kind: str, table: pl.DataFrame) -> tuple[str, ...]:
    """Return what a reader must know where it is not known which images belong together.

    ``table`` has the images with their ``group``: those that show the same picture may be joined.
    """
    if group_kind != UNGROUPED:
        return ()
    n_groups = table["group"].n_unique()
    if n_groups < table.height:
        return (
            "It is not known which images are from one patient. Only those that show the same "
            f"picture form a group ({table.height:,} images, {n_groups:,} groups); all others were "
            "taken as independent. If some are not, the figures are too good and the intervals too "
            "narrow.",
        )
    return (
        "The images were taken as independent: it is not known which are from one patient. If some "
        "are, the figures are too good and the intervals too narrow.",
    )


def _groups(kind: str) -> str:
    return "groups" if kind in ("group", UNGROUPED) else f"groups (one {kind} each)"


def _about_official(table: pl.DataFrame, near: pl.DataFrame | None) -> list[str]:
    """Warn of pictures that two official splits share, and of splits that are missing."""
    pictures = {
        name: set(table.filter(pl.col("split") == name)["pixel_digest"].drop_nulls())
        for name in SPLITS
    }
    split_of = dict(table.select("image_id", "split").iter_rows())
    pairs = [] if near is None else list(near.select("image_id", "other_id").iter_rows())
    nearly = Counter(frozenset(split_of.get(name) for name in pair) for pair in pairs)
    found = [
        f"The official {first} and {second} share {len(pictures[first] & pictures[second]):,} "
        "pictures, filed under different groups. No image was moved: what is measured on them is "
        "too good."
        for first, second in combinations(SPLITS, 2)
        if pictures[first] & pictures[second]
    ]
    found += [
        f"The official {first} and {second} share {nearly[frozenset((first, second))]:,} pairs of "
        "nearly the same picture. No image was moved: what is measured on them is too good."
        for first, second in combinations(SPLITS, 2)
        if nearly[frozenset((first, second))]
    ]
    if not (table["split"] == "train").any():
        found.append(
            "There are test images alone: an external test set, for diascope evaluate --on."
        )
    if not (table["split"] == "test").any():
        found.append(
            "There are no test images: cross-validate with diascope train --folds, or evaluate on "
            "another data set with diascope evaluate --on."
        )
    return found
