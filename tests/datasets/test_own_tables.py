"""Tables as pandas, Excel and Dataverse write them are read, or refused by their cause."""

from __future__ import annotations

import sys
import zipfile

import polars as pl
import pytest
from drawn.own_images import CLASSES, draw_table
from drawn.workbooks import write_workbook

from diascope.data.sources.folder import open_files
from diascope.data.sources.tables import as_text, open_table
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError, SettingsError, SourceError, UnknownNameError
from diascope.steps.prepare import prepare


@pytest.fixture
def table(tmp_path):
    return draw_table(tmp_path / "study")


def rows_of(path, **options):
    spec = own_dataset(path, **options)
    with open_files(path.parent) as files:
        return spec.index(files), spec


def changed(table, change):
    table.write_text(change(table.read_text()), "utf-8")
    return table


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "sep=;\n" + t.replace(",", ";"),
        lambda t: '"sep=,"\n' + t,
        lambda t: "SEP=\t\r\n" + t.replace(",", "\t").replace("\n", "\r\n"),
        lambda t: t.replace("\n", "\r"),
        lambda t: "\ufeff" + t.replace("\n", "\r").replace(",", ";"),
        lambda t: t + ",,,\n,,,\n",
        lambda t: "\n\n" + t.replace(",", ";"),
        lambda t: "\n".join(f"{n or ''},{line}" for n, line in enumerate(t.splitlines())),
        lambda t: t.replace("path,", "Unnamed: 0,path,").replace("images/", "7,images/"),
        lambda t: t.replace("benign", '"benign"').replace("path", '"path"'),
        lambda t: t.replace(",age", ",width"),
    ],
)
def test_what_programs_write_gives_the_rows_of_the_plain_table(table, change):
    plain, _ = rows_of(table)
    found, _ = rows_of(changed(table, change))
    columns = ["path", "label", "group"]
    assert found.select(columns).equals(plain.select(columns))


def test_a_tab_file_and_an_excel_table_give_the_rows_of_the_plain_table(table):
    plain, _ = rows_of(table)
    tabs = table.with_suffix(".tab")
    tabs.write_text(table.read_text().replace(",", "\t"))
    rows = [line.split(",") for line in table.read_text().splitlines()]
    numbered = [rows[0], *([*row[:3], int(row[3])] for row in rows[1:])]
    book = write_workbook(table.with_suffix(".xlsx"), {"images": numbered, "notes": [["x"]]})
    for path in (tabs, book):
        found, spec = rows_of(path)
        assert found.equals(plain)
    assert "only the first sheet was read, images, not notes" in spec.remarks


def test_files_that_only_say_that_they_are_excel_are_refused(tmp_path, monkeypatch):
    book = tmp_path / "t.xlsx"
    for content, words in ((b"path,label\n", "not an Excel table"), (b"PK\3\4 no", "ZIP archive")):
        book.write_bytes(content)
        with pytest.raises((DataError, SourceError), match=words):
            open_table(book)
    write_workbook(book, {"a": [["path", "label"]]})
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    with pytest.raises(SettingsError, match=r"pip install 'diascope\[excel\]'"):
        open_table(book)


@pytest.mark.parametrize("place", ["XFD1048576", "ZZ20000", "xfd999"])
def test_a_cell_far_from_the_table_is_refused_before_it_takes_memory(tmp_path, place):
    book = write_workbook(tmp_path / "t.xlsx", {"a": [["path", "label"], ["1.png", "x"]]})
    with zipfile.ZipFile(book) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    far = f'<row><c r="{place}"><v>1</v></c></row></sheetData>'.encode()
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(b"</sheetData>", far)
    with zipfile.ZipFile(book, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match="cells, and 5,000,000 are read"):
        open_table(book)


@pytest.mark.parametrize("header", ["path,label,label", "path,label,Label", "path,path,label"])
def test_a_column_that_is_there_twice_is_refused(table, header):
    with pytest.raises(DataError, match="twice"):
        own_dataset(changed(table, lambda t: t.replace("path,label,group", header)))


def test_another_spreadsheet_is_refused_with_the_way(table):
    table.rename(table.with_suffix(".ods"))
    with pytest.raises(SettingsError, match=r"as .xlsx or as CSV"):
        own_dataset(table.with_suffix(".ods"))


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_whole_numbers_with_a_gap_are_whole_numbers(tmp_path, kind):
    path = tmp_path / f"t{kind}"
    table = pl.DataFrame({"n": [3.0, None, 10.0], "nan": [1.0, float("nan"), 2.0], "x": [1, 2, 3]})
    table.write_csv(path) if kind == ".csv" else table.write_parquet(path)
    found, _ = open_table(path)
    assert found.select(as_text(found, "n", path))["n"].to_list() == ["3", None, "10"]
    if kind == ".parquet":
        assert found.select(as_text(found, "nan", path))["nan"].to_list() == ["1", None, "2"]


def test_numbers_that_are_not_whole_stay_as_they_are(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("v,w,z\n1.5,003,1.0\n2.0,4,x\n")
    found, _ = open_table(path)
    texts = [found.select(as_text(found, name, path))[name].to_list() for name in "vwz"]
    assert texts == [["1.5", "2.0"], ["003", "4"], ["1.0", "x"]]


def test_the_line_with_too_many_fields_is_named(table):
    with pytest.raises(DataError, match="line 5 has 6 fields, the header 4"):
        own_dataset(changed(table, lambda t: t.replace("P00,43", "P00,43,7,8")))


def test_columns_of_diascopes_names_travel_under_others(table):
    header = "path,label,group,age,width,fold,sha256,split_fold_0,pixel_digest,n_bytes"
    text = table.read_text().replace("path,label,group,age", header).replace("\nimages", "\nimages")
    lines = text.splitlines()
    table.write_text("\n".join([lines[0], *(f"{line},1,2,3,4,5,6" for line in lines[1:])]))
    found, spec = rows_of(table)
    assert found["fold_in_table"].to_list() == ["2"] * 48
    assert "width" not in found.columns
    assert "the column width travels as width_in_table" in spec.remarks


# paths


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace(".png", ""), "written without the ending"),
        (lambda t: t.replace(".png", ".PNG"), "written in another case"),
        (lambda t: t.replace("images/", ""), "with another folder, or with none"),
        (lambda t: t.replace("images/", "").replace(".png", ""), "without folder and ending"),
        (lambda t: t.replace(".png", ".jpg"), "with another ending"),
        (lambda t: t.replace("images/", "/data/me/study/images/"), "with another folder"),
        (lambda t: t.replace("images/", "D:\\study\\"), "with another folder"),
    ],
)
def test_the_file_that_was_probably_meant_is_named(table, change, words):
    plain, _ = rows_of(table)
    with pytest.raises(DataError, match="48 of the 48 images") as caught:
        own_dataset(changed(table, change))
    assert words in str(caught.value)
    assert "probably images/P00_0.png" in str(caught.value)
    found, spec = rows_of(table, accept_spellings=True)
    assert found.drop("image_id").equals(plain.drop("image_id"))
    assert any("48 paths written otherwise" in remark for remark in spec.remarks)


def test_a_path_that_may_be_of_two_files_is_not_guessed(table):
    (table.parent / "more").mkdir()
    (table.parent / "more/P00_0.png").write_bytes((table.parent / "images/P00_0.png").read_bytes())
    changed(table, lambda t: t.replace("images/P00_0.png", "P00_0.png"))
    with pytest.raises(DataError, match=r"images/P00_0.png or more/P00_0.png"):
        own_dataset(table, accept_spellings=True)


def test_two_classes_in_three_spellings_are_named_where_one_is_to_be_positive(table):
    changed(table, lambda t: t.replace("P00_1.png,malign", "P00_1.png,other"))
    with pytest.raises(DataError, match=r"two classes; there are 3[\s\S]*'malign', 'other'"):
        own_dataset(table, positive="malign")


# --column


def test_columns_are_mapped_by_their_names(table):
    plain, _ = rows_of(table)
    changed(table, lambda t: t.replace("path,label,group", "file name,dx,patient_id"))
    columns = ["path=file name", "label=dx", "group=Patient_ID"]
    found, spec = rows_of(table, columns=columns)
    assert found.equals(plain.select(found.columns))
    assert spec.options == (
        *("--column", "path=file name", "--column", "label=dx"),
        *("--column", "group=Patient_ID"),
    )


def test_a_table_with_other_names_is_told_which_columns_are_probably_meant(table):
    changed(table, lambda t: t.replace("path,label", "Image Path,diagnosis"))
    with pytest.raises(DataError, match="--column 'path=Image Path' label=diagnosis"):
        own_dataset(table)


def test_a_column_in_the_way_of_a_mapped_one_travels_under_another_name(table):
    changed(table, lambda t: t.replace(",age", ",group_id"))
    found, _ = rows_of(table, columns=["group=group_id"])
    assert set(found["group"]) == {"40", "41", "42", "43"}
    assert found["group_in_table"][0] == "P00"


@pytest.mark.parametrize(
    ("name", "values", "splits"),
    [
        ("is_valid", ("False", "True"), {"train", "val"}),
        ("is_test", ("0", "1"), {"train", "test"}),
        ("valid", ("no", "yes"), {"train", "val"}),
        ("fold_name", ("train", "valid"), {"train", "val"}),
    ],
)
def test_a_column_of_true_and_false_is_a_split(table, name, values, splits):
    rows = pl.read_csv(table).with_columns(
        pl.when(pl.col("group") < "P06")
        .then(pl.lit(values[0]))
        .otherwise(pl.lit(values[1]))
        .alias(name)
    )
    rows.write_csv(table)
    found, _ = rows_of(table, columns=[f"split={name}"])
    assert set(found["split"]) == splits
    assert set(found.filter(pl.col("group") == "P00")["split"]) == {"train"}


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        (["group=nothing"], UnknownNameError),
        (["group"], SettingsError),
        (["colour=age"], SettingsError),
        (["group=age", "group=label"], SettingsError),
        (["split=age"], DataError),
    ],
)
def test_mappings_that_cannot_be_are_refused(table, columns, error):
    with pytest.raises(error):
        own_dataset(table, columns=columns)


def test_options_of_tables_and_of_folders_do_not_mix(table):
    with pytest.raises(SettingsError, match="columns of a table"):
        own_dataset(table.parent, columns=["label=x"])
    with pytest.raises(SettingsError, match="levels of a folder"):
        own_dataset(table, class_level=1)


# --groups-table


def write_patients(root, text):
    path = root / "patients.csv"
    path.write_text(text)
    return path


PATIENTS = "case,age,site\n" + "\n".join(f"P{n:02},{40 + n},{'AB'[n % 2]}" for n in range(12))


@pytest.mark.parametrize(
    "pattern",
    ["{patient}/{label}/{n}.png", "{label}/{patient}/{n}.png", "{label}/{patient}_{n}.png"],
)
def test_a_table_of_patients_is_joined_to_folders_of_any_layout(tmp_path, pattern):
    from drawn.own_images import draw_folder

    root = draw_folder(tmp_path / "cells", pattern=pattern.replace("{patient}", "P{patient:02}"))
    patients = write_patients(tmp_path, PATIENTS)
    spec = own_dataset(root, groups_table=patients, on="case")
    with open_files(root) as files:
        found = spec.index(files)
    assert spec.task.classes == CLASSES
    assert spec.group_kind == "case"
    assert found["group"].n_unique() == 12
    assert set(found.filter(pl.col("group") == "P03")["age"]) == {"43"}
    assert set(found["site"]) == {"A", "B"}
    assert spec.options == ("--groups-table", str(patients), "--on", "case")


def test_a_table_of_patients_is_joined_to_a_table_and_to_a_rule(table, tmp_path):
    patients = write_patients(tmp_path, PATIENTS)
    assert rows_of(table, groups_table=patients, on="Case")[0]["age_in_table"][0] == "40"
    changed(table, lambda t: t.replace("group", "case"))
    assert rows_of(table, groups_table=patients, on="case")[0]["group"].n_unique() == 12
    changed(table, lambda t: t.replace("case", "ward"))
    options = {"group_from": r"P\d+", "groups_table": patients, "on": "case"}
    assert rows_of(table, **options)[0]["site"].n_unique() == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PATIENTS + "\nP03,9,C", r"1 are there twice[\s\S]*P03"),
        (PATIENTS.replace("case", "id"), "no column named 'case'"),
        (PATIENTS.replace("P03", "p3"), r"'P03' is 'p3' there[\s\S]*--accept-spellings"),
        (PATIENTS.replace("P", "Q"), "No group of the images"),
    ],
)
def test_a_table_of_patients_that_does_not_fit_is_refused(table, tmp_path, text, words):
    with pytest.raises((DataError, UnknownNameError), match=words):
        own_dataset(table, groups_table=write_patients(tmp_path, text), on="case")


def test_patients_without_a_row_are_named_and_spellings_can_be_accepted(table, tmp_path):
    text = PATIENTS.replace("P03", "p3").replace("P05,", "P99,")
    found, spec = rows_of(
        table, groups_table=write_patients(tmp_path, text), on="case", accept_spellings=True
    )
    assert found["site"].null_count() == 4
    assert found.filter(pl.col("group") == "p3").height == 4
    assert "no row for 1 group in patients.csv: P05" in spec.remarks


def test_what_a_table_does_not_name_does_not_count_as_rejected(tmp_path, home):
    folder = tmp_path / "own"
    table = draw_table(folder)
    before = prepare(own_dataset(table)).manifest
    (tmp_path / "outside.png").write_bytes(b"x")
    for n in range(5):
        (folder / f"link{n}.png").symlink_to(tmp_path / "outside.png")
    prepared = prepare(own_dataset(table))
    assert prepared.manifest.equals(before)
    assert not prepared.fingerprint["rejected"]
    (left,) = [one for one in prepared.fingerprint["not_taken"] if "link" in one["kind"]]
    assert left["n_files"] == 5
