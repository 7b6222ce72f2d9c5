"""Columns of metadata that look like identities: they stay in the manifest, and out of results.

A result by subgroup shows the values of a column. Of a name, a date of birth or a path that would
be who the patients are, so such columns are kept out, and named as kept out, with the reason.
"""

from __future__ import annotations

import re

import polars as pl

from diascope.data.manifest import metadata_columns


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words of column names, after parting "patientName" and "patient_name"
NAME_WORDS = _set(
    "name names surname forename firstname lastname fullname initials vorname nachname nom prenom "
    "nombre apellido cognome"
)
STAFF_WORDS = _set(
    "physician doctor radiologist pathologist dermatologist reader operator technician nurse "
    "annotator examiner referrer clinician arzt"
)
BIRTH_WORDS = _set("dob birth birthdate birthday birthdatum geburtsdatum geboren")
ID_WORDS = _set(
    "id ids uid uuid guid mrn ssn nhs nhsnumber pid accession identifier passport insurance "
    "barcode casenumber patientid studyid"
)
CONTACT_WORDS = _set(
    "email mail phone telephone tel mobile fax address street postcode zipcode zip plz ip username "
    "login"
)
PATH_WORDS = _set("path paths file files filename filepath folder directory url uri")
DATE_WORDS = _set("date datetime timestamp acquired")
# What has a name and is no person
THING_WORDS = _set(
    "site hospital scanner device institution clinic manufacturer manufacturers model center "
    "centre station protocol dataset department lab stain class diagnosis lesion organ drug study"
)
FORMAT_WORDS = _set("type format size kind")

PATH_LIKE = r"^(?:[A-Za-z]:)?[^\s]*[/\\][^/\\]+$|\.(?:png|jpe?g|tiff?|bmp|dcm|svs|ndpi|gif|webp)$"
EMAIL_LIKE = r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$"
DATE_LIKE = (
    r"^(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|(?:19|20)\d{6})"
    r"(?:[T ]\d{1,2}:\d{2}.*)?$"
)
PERSON_LIKE = r"^(?:(?:Dr|Prof|Mr|Mrs|Ms|Herr|Frau)\.? )|^\p{Lu}[\p{L}'-]+,? \p{Lu}[\p{L}'.-]*$"
MOSTLY = 0.8  # of the values
FEWEST_GROUPS = 5  # of fewer, values that differ between all of them say nothing
LARGE = 10_000  # whole numbers from here on are numbers of something, not measurements


def identity_columns(table: pl.DataFrame) -> dict[str, str]:
    """Return the columns of metadata that look like identities, each with the reason.

    Parameters
    ----------
    table : DataFrame
        A manifest.

    Examples
    --------
    >>> table = pl.DataFrame({"group": ["1", "2"], "sex": ["f", "m"], "PatientName": ["A B", "C"]})
    >>> identity_columns(table)
    {'PatientName': 'a name'}
    """
    reasons = {name: _reason(name, table) for name in metadata_columns(table)}
    return {name: reason for name, reason in reasons.items() if reason}


def subgroup_columns(table: pl.DataFrame) -> list[str]:
    """Return the columns of metadata whose values may be shown."""
    kept_out = identity_columns(table)
    return [name for name in metadata_columns(table) if name not in kept_out]


def _reason(name: str, table: pl.DataFrame) -> str:
    """Return why a column looks like an identity; empty where it does not."""
    column = table[name].drop_nulls()
    if column.dtype.is_nested():
        return ""  # never shown
    return _reason_by_name(name, column) or _reason_by_values(column, table, name)


def _reason_by_name(name: str, column: pl.Series) -> str:
    words = _words(name)
    is_text = not (column.dtype.is_numeric() or column.dtype == pl.Boolean)
    is_staff = is_text and _share(column, PERSON_LIKE) >= MOSTLY
    kinds = [  # the words that tell, the reason, and whether it can be one
        (BIRTH_WORDS, "a date of birth", "year" not in words),
        (NAME_WORDS, "a name", is_text and THING_WORDS.isdisjoint(words)),
        (ID_WORDS, "an id", True),
        (CONTACT_WORDS, "a contact or an address", True),
        (PATH_WORDS, "a path", is_text and FORMAT_WORDS.isdisjoint(words)),
        (STAFF_WORDS, "a name", is_staff),
        (DATE_WORDS, "a date", is_text),
    ]
    return next((why for telling, why, can_be in kinds if can_be and telling & set(words)), "")


def _reason_by_values(column: pl.Series, table: pl.DataFrame, name: str) -> str:
    if column.dtype.is_temporal():
        return "a date"
    likes = {"a path": PATH_LIKE, "a contact or an address": EMAIL_LIKE, "a date": DATE_LIKE}
    for reason, like in likes.items():
        if _share(column, like) >= MOSTLY:
            return reason
    if _is_told_by(column, table["group"].drop_nulls()):
        return "it holds the names of groups"
    if _is_one_a_group(name, table):
        return "each group has a value of its own"
    return ""


def _words(name: str) -> list[str]:
    """Return the words of a column's name, in small letters."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [word for word in re.split(r"[^\w]+|_", parted.lower()) if word]


def _share(column: pl.Series, pattern: str) -> float:
    """Return the fraction of the values that are texts which fit a pattern."""
    if column.dtype not in (pl.String, pl.Categorical) or not len(column):
        return 0.0
    return float(column.cast(pl.String).str.strip_chars().str.contains(pattern).mean() or 0)  # pyright: ignore[reportArgumentType]


def _is_told_by(column: pl.Series, groups: pl.Series) -> bool:
    """Whether most values are names of groups, such as a second column of patients."""
    if column.dtype.is_float() or column.dtype == pl.Boolean or not len(column):
        return False
    known = groups.unique()
    if known.n_unique() < FEWEST_GROUPS or column.n_unique() < FEWEST_GROUPS:
        return False
    return float(column.cast(pl.String).is_in(known.to_list()).mean() or 0) >= MOSTLY  # pyright: ignore[reportArgumentType]


def _is_one_a_group(name: str, table: pl.DataFrame) -> bool:
    """Whether each group has one value, which no other has: it is another name of the group.

    Numbers that measure something, such as ages, may differ between all groups too.
    """
    pairs = table.select("group", name).drop_nulls().unique()
    n_groups = pairs["group"].n_unique()
    if n_groups < FEWEST_GROUPS or pairs.height != n_groups:
        return False
    if pairs[name].n_unique() < n_groups:
        return False
    numbers = pairs[name].cast(pl.Float64, strict=False)
    if numbers.null_count():
        return True
    return bool((numbers >= LARGE).all() and (numbers == numbers.round()).all())
