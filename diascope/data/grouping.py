"""Groups out of file names, by a rule.

A rule is a regular expression; the group is its first pair of brackets, or the whole match. It is
searched in the file name, and in the whole path if it holds a ``/``; of the frames of a DICOM file,
in the name of the file, so that they are of one group. The engine is that of Rust: its time grows
with the length of the name and no faster, so no rule can hang; look-around and back-references are
not known to it.

A rule such as ``dicom:PatientID`` reads the headers of DICOM files instead, see
`diascope.data.dicom.groups`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from diascope.data.dicom.groups import PREFIX
from diascope.data.sources.dicom import file_of
from diascope.errors import SettingsError

LONGEST_RULE = 500


def groups_from(paths: Sequence[str], rule: str) -> pl.Series:
    r"""Return the group of each image by a rule.

    Paths have ``/``; the rule is a regular expression, see the module.

    Raises
    ------
    SettingsError
        The rule is not a regular expression, or some names do not match it.

    Examples
    --------
    >>> groups_from(["a/P07_1.png", "b/P12_9.png"], r"^P\d+").to_list()
    ['P07', 'P12']
    >>> groups_from(["a/07/1.png", "b/12/9.png"], "([^/]+)/[^/]+$").to_list()
    ['07', '12']
    """
    groups = search_groups(paths, rule)
    unmatched = [path for path, group in zip(paths, groups, strict=True) if not group]
    if unmatched:
        raise SettingsError(
            f"{len(unmatched):,} of {len(paths):,} file names do not match {rule!r}.",
            where=", ".join(path[-80:] for path in unmatched[:5]),
            fix="Correct the expression so that it finds the group in every name.",
        )
    return groups


def search_groups(paths: Sequence[str], rule: str) -> pl.Series:
    """Return the first bracket or the whole match of each name; null where there is none.

    ``SettingsError`` if the rule is not a regular expression.
    """
    if len(rule) > LONGEST_RULE:
        raise SettingsError(f"An expression for groups has at most {LONGEST_RULE} letters.")
    if rule.startswith(PREFIX):
        raise SettingsError(f"{rule} reads DICOM files, and here are only names.")
    names = pl.Series("path", list(map(file_of, paths)), dtype=pl.String)
    if "/" not in rule:
        names = names.str.split("/").list.last()
    try:
        brackets = pl.select(pl.lit("").str.extract_groups(rule)).to_series().struct.fields
        return names.str.extract(rule, 1 if brackets else 0)
    except pl.exceptions.PolarsError as error:
        reason = [line for line in str(error).splitlines() if line.startswith("error: ")]
        raise SettingsError(
            f"{rule!r} is not a valid regular expression: "
            f"{(reason or [str(error)])[-1].removeprefix('error: ')}.",
            fix=r"Pass one such as '^P\d+', or '^([^_]+)_' for all before the first _.",
        ) from error
