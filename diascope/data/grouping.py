"""Groups out of file names: by a rule that the user gives, or as a question to the user.

A rule is a regular expression; the group is its first pair of brackets, or the whole match. It is
searched in the file name, and in the whole path if it holds a ``/``. The engine is that of Rust:
its time grows with the length of the name and no faster, so no rule can hang; look-around and
back-references are not known to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from diascope.errors import SettingsError

CANDIDATES = (  # in the order of trust
    r"(?i)(?:patient|subject|case|lesion|slide)[-_ ]?[A-Z]*\d+",
    r"(?i)(?:^|[-_ ])((?:pat|subj|sub|pid|id)[-_ ]?\d+)",
    r"([^/]+)/[^/]+$",
    r"^[A-Za-z]+\d+",
    r"^([^_]+)_",
    r"^([^-]+)-",
    r"^([^ ]+) ",
    r"^([^_]+_[^_]+)_",
    r"^([^-]+-[^-]+)-",
    r"^(.*[^-_ .\d])[-_ .]*\d+\.\w+$",
    r"^(\d+)\D",
)
FEWEST_GROUPS = 5
IMAGES_A_GROUP = 1.5  # at least, on average
LARGEST_SHARE = 0.5
LONGEST_RULE = 500
PATTERNS_SHOWN = 3


@dataclass(frozen=True)
class Pattern:
    """A rule that would give plausible groups.

    Parameters
    ----------
    rule : str
        The regular expression.
    n_groups : int
    smallest, largest : int
        Images in the smallest and the largest group.
    examples : tuple
        Some groups: name, number of images, and two of their files.
    """

    rule: str
    n_groups: int
    smallest: int
    largest: int
    examples: tuple[tuple[str, int, tuple[str, ...]], ...]

    def __str__(self) -> str:
        shown = "; ".join(
            f"{name} ({n}: {', '.join(files)}{', ...' if n > len(files) else ''})"
            for name, n, files in self.examples
        )
        size = f"{self.smallest} to {self.largest} images"
        return f"{self.n_groups:,} groups of {size}, such as {shown}"


def groups_from(paths: Sequence[str], rule: str) -> pl.Series:
    r"""Return the group of each image by a rule.

    Parameters
    ----------
    paths : sequence of str
        With ``/``.
    rule : str
        A regular expression, see the module.

    Raises
    ------
    SettingsError
        The rule is none, or some names do not match it.

    Examples
    --------
    >>> groups_from(["a/P07_1.png", "b/P12_9.png"], r"^P\d+").to_list()
    ['P07', 'P12']
    >>> groups_from(["a/07/1.png", "b/12/9.png"], "([^/]+)/[^/]+$").to_list()
    ['07', '12']
    """
    groups = _search(paths, rule)
    unmatched = [path for path, group in zip(paths, groups, strict=True) if not group]
    if unmatched:
        raise SettingsError(
            f"{len(unmatched):,} of {len(paths):,} file names do not match {rule!r}.",
            where=", ".join(path[-80:] for path in unmatched[:5]),
            fix="Mend the expression so that it finds the group in every name.",
        )
    return groups


def find_patterns(paths: Sequence[str], n_classes: int) -> list[Pattern]:
    """Look for rules that give plausible groups: several images in one, and many of them.

    Parameters
    ----------
    paths : sequence of str
    n_classes : int
        Rules that give no more groups than classes are no rules for patients.

    Returns
    -------
    list of Pattern
        The most trusted first; rules that part the images alike are named once.
    """
    found, seen = [], set()
    for rule in CANDIDATES:
        groups = _search(paths, rule)
        if groups.null_count() or (groups == "").any():
            continue
        table = pl.DataFrame({"group": groups, "path": list(paths)})
        counts = table.group_by("group").agg(
            pl.len().alias("n"), pl.col("path").sort().head(2).alias("files")
        )
        sizes = counts["n"]
        _, first, group = np.unique(groups.to_numpy(), return_index=True, return_inverse=True)
        partition = first[group].tobytes()
        if partition in seen or not _is_plausible(sizes, len(paths), n_classes):
            continue
        seen.add(partition)
        shown = counts.sort("n", "group", descending=[True, False]).head(2)
        examples = tuple(
            (name, n, tuple(file.rsplit("/", 1)[-1] for file in files))
            for name, n, files in shown.iter_rows()
        )
        smallest, largest = sizes.sort()[0], sizes.sort()[-1]
        found.append(Pattern(rule, len(sizes), smallest, largest, examples))
    return found[:PATTERNS_SHOWN]


def _is_plausible(sizes: pl.Series, n_images: int, n_classes: int) -> bool:
    n_groups = len(sizes)
    return (
        n_groups >= FEWEST_GROUPS
        and n_groups > n_classes
        and n_groups * IMAGES_A_GROUP <= n_images
        and int(sizes.sort()[-1]) <= LARGEST_SHARE * n_images
    )


def _search(paths: Sequence[str], rule: str) -> pl.Series:
    """Return the first bracket or the whole match of each name; null where there is none."""
    if len(rule) > LONGEST_RULE:
        raise SettingsError(f"An expression for groups has at most {LONGEST_RULE} letters.")
    names = pl.Series("path", list(paths), dtype=pl.String)
    if "/" not in rule:
        names = names.str.split("/").list.last()
    try:
        brackets = pl.select(pl.lit("").str.extract_groups(rule)).to_series().struct.fields
        return names.str.extract(rule, 1 if brackets else 0)
    except pl.exceptions.PolarsError as error:
        reason = [line for line in str(error).splitlines() if line.startswith("error: ")]
        raise SettingsError(
            f"{rule!r} is no regular expression that can be used: "
            f"{(reason or [str(error)])[-1].removeprefix('error: ')}.",
            fix=r"Pass one such as '^P\d+', or '^([^_]+)_' for all before the first _.",
        ) from error
