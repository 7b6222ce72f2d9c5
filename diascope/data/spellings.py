"""Spellings: names that differ only in what nobody sees or means.

Two names are spellings of one where they differ in case, in blanks, in the Unicode form, in
letters of no width, in the dash, or in how a number is written (``003``, ``3`` and ``3.0``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import polars as pl

from diascope.errors import DataError
from diascope.system.words import counted, first_of

OPTION = "--accept-spellings"
SHOWN = 10  # names with several spellings in a message
# Keys of what stands in a table where a group is not known.
NO_GROUP = frozenset(
    {"", "nan", "na", "n/a", "#n/a", "none", "null", "nil", "unknown", "unk", "?", "-", "missing"}
    | {"undefined", "notavailable", "notknown", "unbekannt", "inconnu", "desconocido", "anonymous"}
)


def spelling_key(name: str) -> str:
    """Return what all spellings of a name have in common.

    Examples
    --------
    >>> spelling_key("Basal  cell ") == spelling_key("basal_cell"), spelling_key("P_03")
    (True, 'p3')
    >>> [spelling_key(number) for number in ("003", "3", "3.0", "3.05", "30")]
    ['3', '3', '3', '3.05', '30']
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    plain = "".join(filter(None, map(_plain_letter, folded)))
    plain = re.sub(r"(?<=[^\W\d_])[_-]+(?=[^\W_])", "", plain)
    plain = re.sub(r"^\+?(\d+)\.0*$", r"\1", plain)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", plain)


def _plain_letter(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter.isspace() or category in ("Cf", "Cc"):
        return ""
    return "-" if category == "Pd" else letter


def find_spellings(names: Iterable[str]) -> list[list[str]]:
    """Return the names that have several spellings, each as the sorted list of them.

    Examples
    --------
    >>> find_spellings(["P03", "P04", "p03", "Normal", "normal "])
    [['Normal', 'normal '], ['P03', 'p03']]
    """
    found: dict[str, set[str]] = {}
    for name in set(names):
        found.setdefault(spelling_key(name), set()).add(name)
    return sorted(sorted(spellings) for spellings in found.values() if len(spellings) > 1)


def with_one_spelling(
    table: pl.DataFrame, columns: Sequence[str], *, accept: bool, where: object
) -> tuple[pl.DataFrame, list[str]]:
    """Return the table with one spelling of each label and group, and what was done.

    Parameters
    ----------
    table : DataFrame
        Its ``columns`` are text.
    columns : sequence of str
        Those that are checked, such as ``label, group``; those that the table lacks are not.
    accept : bool
        Take the spellings of a name as one, the most frequent; without it they are refused.

    Raises
    ------
    DataError
        A name has several spellings, or groups are called by a word for what is not known. All of
        them are in one message.
    """
    problems, remarks = [], []
    for column in columns:
        if column not in table.columns:
            continue
        counts = dict(table[column].drop_nulls().value_counts().iter_rows())
        several = find_spellings(counts)
        if several:
            shown = first_of([_shown(names, counts) for names in several], SHOWN)
            what = f"{counted(len(several), column)} in several spellings: {shown}"
            (remarks if accept else problems).append(what)
        if column == "group" and not accept:
            unknown = [name for name in counts if spelling_key(name) in NO_GROUP]
            if unknown:
                n_images = sum(counts[name] for name in unknown)
                named = ", ".join(map(repr, sorted(unknown)))
                problems.append(f"{counted(n_images, 'image')} of the group {named}")
        chosen = {name: most_frequent(names, counts) for names in several for name in names}
        table = table.with_columns(pl.col(column).replace(chosen))
    if problems:
        raise DataError(
            f"{'; and '.join(problems)}.",
            where=where,
            fix="Correct them, or leave these images out: one name in two spellings would be two "
            "classes or two groups, and a group that is not known may be any of the others. With "
            f"{OPTION} the spellings of a name are one, and groups are as they are called.",
        )
    return table, [f"taken as one name: {remark}" for remark in remarks]


def most_frequent(names: Sequence[str], counts: dict[str, int]) -> str:
    """Return the spelling with the largest count; of equal ones, the first that is plain ASCII."""
    return min(names, key=lambda name: (-counts[name], not name.isascii(), len(name), name))


def _shown(names: Sequence[str], counts: dict[str, int]) -> str:
    """Return the spellings with the number of images of each; invisible letters are shown."""
    is_plain = all(name.isascii() for name in names)
    texts = [repr(name) if is_plain else ascii(name) for name in names]
    return " = ".join(f"{text} ({counts[name]:,})" for text, name in zip(texts, names, strict=True))
