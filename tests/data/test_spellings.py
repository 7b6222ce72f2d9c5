"""Two spellings of one class or group are one thing: refused with the list, or taken as one."""

from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from drawn.own_images import draw_folder, draw_table, picture
from hypothesis import given
from hypothesis import strategies as st

from diascope.data.spellings import find_spellings, spelling_key, with_one_spelling
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError
from diascope.steps.prepare import prepare

RULE = r"^[A-Za-z]+\d+"
LOOK_ALIKE = [
    ("Normal", "normal"),
    ("benign ", "benign"),
    ("basal  cell", "basal cell"),
    ("basal_cell", "Basal cell"),
    (unicodedata.normalize("NFC", "Läsion"), unicodedata.normalize("NFD", "Läsion")),
    ("1", "1.0"),
    ("1", "01"),
    ("neg", "neg\u200b"),
    ("neg", "\ufeffneg"),
    ("non-tumour", "non\u2013tumour"),
    ("a\u00a0b", "a b"),
    ("\uff11", "1"),
    ("P03", "p03"),
    ("P3", "P03"),
    ("Straße", "STRASSE"),
]
DIFFERENT = [
    ("1", "10"),
    ("3", "3.5"),
    ("P1_2", "P12"),
    ("P1-2", "P12"),
    ("1.05", "1.5"),
    ("a", "b"),
]


@pytest.mark.parametrize(("first", "other"), LOOK_ALIKE)
def test_spellings_of_one_name_are_found(first, other):
    assert find_spellings([first, other, "rest"]) == [sorted([first, other])]


@pytest.mark.parametrize(("first", "other"), DIFFERENT)
def test_different_names_stay_different(first, other):
    assert find_spellings([first, other]) == []


@given(st.text(max_size=30))
def test_the_key_of_any_text_is_stable(text):
    assert spelling_key(f" {text}\t") == spelling_key(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("P00_0.png,benign", "P00_0.png,Benign"), r"'Benign' \(1\) = 'benign'"),
        (lambda t: t.replace("P00_0.png,benign", "P00_0.png,be\u200bnign"), r"be\\u200bnign"),
        (lambda t: t.replace("benign,P03", "benign,p03"), r"'P03' \(2\) = 'p03' \(2\)"),
        (lambda t: t.replace("benign,P03", "benign,P3"), r"1 group in several spellings"),
        (lambda t: t.replace(",P03,", ",nan,"), r"4 images of the group 'nan'"),
        (lambda t: t.replace(",P03,", ",Unknown,"), r"4 images of the group 'Unknown'"),
    ],
)
def test_tables_with_two_spellings_are_refused_with_the_list(tmp_path, change, words):
    table = draw_table(tmp_path / "study")
    table.write_text(change(table.read_text()), "utf-8")
    with pytest.raises(DataError, match=words) as caught:
        own_dataset(table)
    assert "--accept-spellings" in str(caught.value)
    own_dataset(table, accept_spellings=True)


def test_accepted_spellings_are_one_class_and_one_group_that_no_split_parts(tmp_path):
    table = draw_table(tmp_path / "study")
    text = table.read_text().replace("malign,P0", "Malign,p0").replace("malign", " malign")
    table.write_text(text)
    prepared = prepare(own_dataset(table, accept_spellings=True), near_duplicates=False)
    assert prepared.dataset.task.classes == ("Malign", "benign")
    assert prepared.fingerprint["n_groups"] == 12
    assert any("taken as one name" in remark for remark in prepared.fingerprint["remarks"])
    assert "--accept-spellings" in prepared.fingerprint["options"]


def test_folders_with_two_spellings_of_a_class_are_refused(tmp_path):
    root = draw_folder(tmp_path / "cells")
    (root / "Benign ").mkdir()
    picture(1).save(root / "Benign " / "P77_1.png")
    with pytest.raises(DataError, match=r"'Benign ' .* 'benign'"):
        own_dataset(root, group_from=RULE)


def test_folders_whose_names_differ_in_their_unicode_form_are_refused_with_both(tmp_path):
    root = tmp_path / "cells"
    for form in ("NFC", "NFD"):
        folder = unicodedata.normalize(form, "Läsion")
        draw_folder(root, pattern=folder + f"/{form}" + "{patient:02}_{n}{label}.png")
    draw_folder(root, pattern="Haut/P{patient:02}_{n}{label}.png")
    with pytest.raises(DataError, match=r"La\\u0308sion"):
        own_dataset(root, group_from=RULE)
    spec = own_dataset(root, group_from=RULE, accept_spellings=True)
    assert spec.task.n_classes == 2


def test_csv_and_parquet_take_the_same_numbers_as_one(tmp_path):
    table = draw_table(tmp_path / "study")
    rows = pl.read_csv(table).with_columns(group=pl.col("group").str.slice(1).cast(pl.Float64))
    rows.write_csv(table)
    rows.write_parquet(table.with_suffix(".parquet"))
    found = [own_dataset(table.with_suffix(kind)) for kind in (".csv", ".parquet")]
    groups = [set(spec.index(_open(table.parent))["group"]) for spec in found]
    assert groups[0] == groups[1] == {str(n) for n in range(12)}


def _open(root):
    from diascope.data.sources.folder import open_files

    return open_files(root)


def test_the_most_frequent_spelling_stays():
    rows = pl.DataFrame({"label": ["a", "A", "A", "b"], "group": ["1", "1", "2", "02"]})
    table, remarks = with_one_spelling(rows, ("label", "group"), accept=True, where="here")
    assert table["label"].to_list() == ["A", "A", "A", "b"]
    assert table["group"].n_unique() == 2
    assert len(remarks) == 2
