"""Groups that names and tables show: what is proposed, and what speaks for it and against it.

Of several divisions the one is proposed first that is trusted most: a column of patients, the
names of a published collection, a word such as ``patient03`` in the path, the outer of two folders,
and at last a part of the file name, the one with the fewest groups first. A division that parts
what a more trusted one keeps together would leak; it is shown behind it, with that against it, or
not at all where the two contradict each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.grouping import search_groups
from diascope.system.words import counted

# Names of collections that everybody uses, and the rule that finds the patient.
KNOWN = (
    (r"(?:^|[/_-])(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})", "named as in TCGA: the patient"),
    (r"SOB_[BM]_[A-Z]+[-_](\d+-\d+[A-Z]*)", "named as in BreakHis: the patient"),
    (r"^(\d+)_idx\d+_x\d+_y\d+_class\d", "named as in the IDC patches: the patient"),
    (r"(?:^|/)p\d\d/(p\d{8})/s\d{8}/", "laid out as MIMIC-CXR: the patient"),
    (r"(?:^|/)(patient\d+)/study\d+", "laid out as CheXpert and MURA: the patient"),
    (r"(LIDC-IDRI-\d{4})", "named as in LIDC-IDRI: the patient"),
    (r"(P_\d{5})_(?:LEFT|RIGHT)", "named as in DDSM: the patient"),
    (r"^(PAT_\d+)_", "named as in PAD-UFES: the patient"),
    (r"^(\d{8})_\d{3}\.png$", "named as in ChestX-ray14: the patient"),
    (r"^(\d+)_(?:left|right)\b", "named as in EyePACS: the patient"),
    (r"^(?:CNV|DME|DRUSEN|NORMAL)-(\d+)-\d+", "named as in Kermany's OCT images: the patient"),
    (r"^(person\d+|(?:NORMAL2-)?IM-\d+)[-_]", "named as in Kermany's chest X-rays: the patient"),
)
NAMED = (
    (r"(?i)(?:patient|subject|person|participant|case)[-_ ]?[A-Z]*\d+", "named for patients"),
    (
        r"(?i)(?:^|[-_ /])((?:patient|pat|subject|subj|sub|person|case|pid|id)[-_ ]?[A-Z]*\d+)"
        r"(?:[-_ ./]|$)",
        "named for patients",
    ),
)
PARTS_OF_PATIENTS = (
    (r"(?i)(?:lesion|slide|specimen|nodule)[-_ ]?[A-Z]*\d+", "named for lesions or slides"),
)
OF_FILE_NAMES = (
    r"^[A-Za-z]+\d+",
    r"^([^_]+)_",
    r"^([^-]+)-",
    r"^([^ ]+) ",
    r"^([^_]+_[^_]+)_",
    r"^([^-]+-[^-]+)-",
    r"^(.*[^-_ .\d])[-_ .]*\d+\.\w+$",
    r"^(\d+)\D",
)
COLUMNS = (  # words for what a column names, the coarsest first
    r"patient|subject|person|participant|individual|proband|volunteer|donor|animal|mouse"
    r"|^mrn$|^pid$|^pat([-_ ]?(id|no|nr))?$",
    r"^case([-_ ]?(id|no|nr|num|number))?$",
    r"lesion|slide|specimen|biopsy|accession|study|exam",
)
FEWEST_GROUPS = 5
IMAGES_A_GROUP = 1.5  # at least, on average
LARGEST_FRACTION = 0.5
PATTERNS_SHOWN = 3
REASONS_SHOWN = 2  # for a proposal


@dataclass(frozen=True)
class Pattern:
    """A division of the images that may be the groups."""

    rule: str | None  # the regular expression
    column: str | None  # or the column of the table
    n_groups: int
    # smallest, largest: images in the smallest and the largest group
    smallest: int
    largest: int
    # Some groups: name, number of images, and two of their files.
    examples: tuple[tuple[str, int, tuple[str, ...]], ...]
    reasons_for: tuple[str, ...] = ()
    reasons_against: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = "; ".join(
            f"{name} ({n}: {', '.join(files)}{', ...' if n > len(files) else ''})"
            for name, n, files in self.examples
        )
        is_one = self.smallest == self.largest
        size = (
            counted(self.largest, "image")
            if is_one
            else f"{self.smallest} to {self.largest} images"
        )
        reasons = "".join(
            f"; {which}: {', '.join(reasons)}"
            for which, reasons in (("for", self.reasons_for), ("against", self.reasons_against))
            if reasons
        )
        return f"{self.n_groups:,} groups of {size}, such as {shown}{reasons}"


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A division that a rule or a column gives."""

    rule: str | None
    column: str | None
    groups: pl.Series
    number: NDArray[np.intp]  # (N,) the group of each image
    n_groups: int
    reasons: tuple[str, ...]
    against: tuple[str, ...] = ()

    def parts(self, other: _Candidate) -> bool:
        """Say whether this division parts groups of the other one."""
        pairs = self.number.astype(np.int64) * other.n_groups + other.number
        return len(np.unique(pairs)) > other.n_groups


def find_patterns(
    paths: Sequence[str],
    n_classes: int,
    *,
    columns: pl.DataFrame | None = None,
    pictures: pl.Series | None = None,
) -> list[Pattern]:
    """Look for divisions that may be the groups: several images in one, and many of them.

    Parameters
    ----------
    paths : sequence of str
        The images, with ``/``.
    n_classes : int
        A division into no more parts than classes does not find patients.
    columns : DataFrame, optional
        The columns of a table of these images.
    pictures : Series of str, optional
        A digest of each picture: equal ones in several groups speak against a division.

    Returns
    -------
    list of Pattern
        The most trusted first, at most three; each division of the images once.
    """
    chosen: list[_Candidate] = []
    found: list[Pattern] = []
    for candidate in _candidates(paths, n_classes, columns):
        finer = [one for one in chosen if candidate.parts(one)]
        coarser = [one for one in chosen if one.parts(candidate)]
        contradicted = [one for one in finer if one in coarser]
        if contradicted and not candidate.reasons:
            continue  # the more trusted one is there
        same = [one for one in chosen if one not in finer and one not in coarser]
        if same:
            at = chosen.index(same[0])
            if candidate.rule and len(found[at].reasons_for) < REASONS_SHOWN:
                reasons = (*found[at].reasons_for, f"{candidate.rule} finds the same groups")
                found[at] = replace(found[at], reasons_for=reasons)
            continue
        against = list(candidate.against)
        if contradicted:
            against.append(f"it contradicts proposal {chosen.index(contradicted[0]) + 1}")
        elif finer:
            against.append(f"it parts groups of proposal {chosen.index(finer[0]) + 1}")
        elif named := [one for one in coarser if one.reasons]:
            against.append(f"it joins groups of proposal {chosen.index(named[0]) + 1}")
        chosen.append(candidate)
        found.append(_pattern(candidate, paths, against, pictures))
    return found[:PATTERNS_SHOWN]


def _candidates(
    paths: Sequence[str], n_classes: int, columns: pl.DataFrame | None
) -> Iterator[_Candidate]:
    """Yield the divisions that are plausible, the most trusted first."""
    for name in _patient_columns(columns):
        values = columns[name].cast(pl.String) if columns is not None else pl.Series()
        alone = pl.Series([f"without {name}, image {row}" for row in range(len(values))])
        is_known = (values.str.strip_chars() != "").fill_null(value=False)
        filled = values.zip_with(is_known, alone)
        if made := _divide(filled, n_classes, column=name, reasons=(f"the column {name}",)):
            n_empty = len(values) - int(is_known.sum())
            against = (f"{counted(n_empty, 'image')} without one",) if n_empty else ()
            yield replace(made, against=against)
    for rule, reason in (*KNOWN, *NAMED):
        groups = search_groups(paths, rule)
        if made := _divide(groups, n_classes, rule=rule, reasons=(reason,)):
            yield made
    yield from _of_folders(paths, n_classes)
    for rule, reason in PARTS_OF_PATIENTS:  # lesion2 may be another in every patient's folder
        if made := _divide(search_groups(paths, rule), n_classes, rule=rule, reasons=(reason,)):
            yield made
    of_names = [
        made
        for rule in OF_FILE_NAMES
        if (made := _divide(search_groups(paths, rule), n_classes, rule=rule, is_named=False))
    ]
    yield from sorted(of_names, key=lambda one: one.n_groups)


def _of_folders(paths: Sequence[str], n_classes: int) -> Iterator[_Candidate]:
    """Yield the levels of folders, the outer first; not those whose names are only local ones.

    ``study1`` in every patient's folder is another study each time.
    """
    depths = {path.count("/") for path in paths}
    above: _Candidate | None = None
    for level in range(min(depths)):
        below = max(depths) - level
        rule = f"^{'[^/]+/' * level}([^/]+)/"
        if len(depths) == 1:
            rule = f"([^/]+){'/[^/]+' * below}$"
        groups = search_groups(paths, rule)
        level_as_such = _divide(groups, n_classes, rule=rule)
        if level_as_such is None or level_as_such.n_groups <= n_classes:
            continue
        if above and above.parts(level_as_such) and level_as_such.parts(above):
            continue
        above = level_as_such
        if made := _divide(groups, n_classes, rule=rule, is_named=False):
            yield made


def _divide(
    groups: pl.Series,
    n_classes: int,
    *,
    rule: str | None = None,
    column: str | None = None,
    reasons: tuple[str, ...] = (),
    is_named: bool = True,
) -> _Candidate | None:
    """Return the division into these groups; None where it is not a plausible one."""
    if groups.null_count() or (groups == "").any() or not len(groups):
        return None
    number = groups.rank("dense").to_numpy().astype(np.intp) - 1
    counts = np.bincount(number)
    n_images, n_groups = len(groups), len(counts)
    if is_named:
        is_plausible = 1 < n_groups < n_images
    else:
        is_plausible = (
            n_groups >= FEWEST_GROUPS
            and n_groups > n_classes
            and n_groups * IMAGES_A_GROUP <= n_images
            and int(counts.max()) <= LARGEST_FRACTION * n_images
        )
    if not is_plausible:
        return None
    return _Candidate(rule, column, groups, number, n_groups, reasons)


def _patient_columns(columns: pl.DataFrame | None) -> list[str]:
    """Return the columns that are called like patients, lesions or slides, the coarsest first."""
    if columns is None:
        return []
    found = []
    for words in COLUMNS:
        names = [name for name in columns.columns if re.search(words, name.strip().lower())]
        names = [name for name in names if not columns.schema[name].is_nested()]
        found += [name for name in names if not re.search(r"name|birth|date|age|sex", name.lower())]
    return list(dict.fromkeys(found))


def _pattern(
    candidate: _Candidate, paths: Sequence[str], against: list[str], pictures: pl.Series | None
) -> Pattern:
    table = pl.DataFrame({"group": candidate.groups, "path": list(paths)})
    counts = table.group_by("group").agg(
        pl.len().alias("n"), pl.col("path").sort().head(2).alias("files")
    )
    shown = counts.sort("n", "group", descending=[True, False]).head(2)
    examples = tuple(
        (name, n, tuple(PurePosixPath(file).name for file in files))
        for name, n, files in shown.iter_rows()
    )
    sizes = counts["n"].sort()
    if pictures is not None:
        same = pl.DataFrame({"picture": pictures, "group": candidate.groups}).drop_nulls("picture")
        n_groups = same.group_by("picture").agg(pl.col("group").n_unique())
        if n_parted := n_groups.filter(pl.col("group") > 1).height:
            against.append(f"{counted(n_parted, 'picture')} in several of its groups")
    if candidate.n_groups < 2 * FEWEST_GROUPS:
        against.append("few groups")
    if sizes[-1] > LARGEST_FRACTION * len(paths):
        against.append(f"{sizes[-1] / len(paths):.0%} of the images in one group")
    return Pattern(
        candidate.rule,
        candidate.column,
        candidate.n_groups,
        sizes[0],
        sizes[-1],
        examples,
        candidate.reasons,
        tuple(against),
    )
