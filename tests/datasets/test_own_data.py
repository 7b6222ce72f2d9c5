"""Own data: folders and tables, groups that are asked for, and whatever can be wrong with them."""

from __future__ import annotations

import re
import shutil
import unicodedata

import polars as pl
import pytest
from conftest import SMALL
from drawn.own_images import CLASSES, draw_folder, draw_table, picture

from diascope.data.grouping import groups_from
from diascope.data.prepared import dataset_name, load_prepared
from diascope.data.proposals import find_patterns
from diascope.data.sources import tables
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import (
    DataError,
    DiascopeError,
    GroupsUnknownError,
    LeakageError,
    SettingsError,
    SourceError,
    UnknownNameError,
)
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train
from diascope.training.run import Run

RULE = r"^[A-Za-z]+\d+"


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "My Cells é (2024)")


@pytest.fixture
def table(tmp_path):
    return draw_table(tmp_path / "study")


def snapshot(root):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*") if p.is_file()}


def test_a_folder_is_prepared_by_patient_and_found_by_its_path(folder):
    before = snapshot(folder)
    prepared = prepare(own_dataset(folder, group_from=RULE, group_kind="patient"))
    assert snapshot(folder) == before
    assert prepared.dataset.task.classes == CLASSES
    assert prepared.dataset.group_kind == "patient"
    assert prepared.fingerprint["n_groups"] == 12
    assert prepared.fingerprint["n_images"] == 48
    found = load_prepared(dataset_name(str(folder)))
    assert found.manifest.equals(prepared.manifest)
    assert found.fingerprint == prepared.fingerprint


def test_own_grey_images_are_trained_evaluated_and_reported(folder, tmp_path):
    prepare(own_dataset(folder, group_from=RULE, group_kind="patient", positive="malign"))
    run = train(str(folder), settings=SMALL, out=tmp_path / "run")
    assert evaluate(run)["positive"] == "malign"
    page = report(run).read_text("utf-8")
    assert "My Cells" in page
    assert "--group-from" in page
    assert "taken as independent" not in page


def test_a_table_is_prepared_and_its_other_columns_travel(table):
    prepared = prepare(str(table))
    assert prepared.fingerprint["n_groups"] == 12
    assert prepared.manifest["age"].to_list()[:4] == ["40", "41", "42", "43"]
    assert prepared.fingerprint["unlisted"]["n_files"] == 0


def test_a_parquet_table_gives_what_the_csv_gives(table):
    rows = pl.read_csv(table).with_columns(pl.col("label").cast(pl.Categorical))
    rows.write_parquet(table.with_suffix(".parquet"))
    parquet = prepare(str(table.with_suffix(".parquet"))).manifest
    assert parquet.drop("age").equals(prepare(str(table)).manifest.drop("age"))
    assert parquet.schema["age"] == pl.Int64


def test_numbers_are_taken_as_labels_and_groups_in_their_own_order(table):
    rows = pl.read_csv(table)
    number = pl.when(pl.col("label") == "benign").then(2.0).otherwise(10.0)
    rows.with_columns(number.alias("label")).write_parquet(table.with_suffix(".parquet"))
    assert own_dataset(table.with_suffix(".parquet")).task.classes == ("2", "10")


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_taken_and_said(tmp_path, separator, word):
    table = draw_table(tmp_path / "study", separator=separator)
    facts = prepare(str(table)).fingerprint
    assert facts["n_images"] == 48
    assert any(word in note for note in facts["remarks"])


def test_windows_paths_headers_with_blanks_and_a_byte_order_mark_are_taken(tmp_path):
    table = draw_table(tmp_path / "s", header=" Path ,LABEL,Group,age", backslashes=True)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert prepare(str(table)).fingerprint["n_images"] == 48


def test_absolute_paths_within_the_folder_and_a_source_elsewhere_are_taken(table, tmp_path):
    text = table.read_text()
    absolute = tmp_path / "absolute.csv"
    absolute.write_text(text.replace("images/", f"{table.parent}/images/"))
    assert (
        prepare(own_dataset(absolute, source=table.parent), source=table.parent).fingerprint[
            "n_images"
        ]
        == 48
    )
    with pytest.raises(DataError, match="48 of the 48 images of the table are not in the folder"):
        own_dataset(absolute, source=draw_folder(tmp_path / "other"))


def test_names_composed_in_another_way_are_found(tmp_path):
    root = draw_folder(
        tmp_path / "x", pattern=unicodedata.normalize("NFD", "é{label}/P{patient}_{n}.png")
    )
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    lines = [f"{unicodedata.normalize('NFC', n)},{CLASSES[i % 2]},{i}" for i, n in enumerate(names)]
    (root / "t.csv").write_text("path,label,group\n" + "\n".join(lines), "utf-8")
    assert prepare(str(root / "t.csv")).fingerprint["n_images"] == 48


# what nothing says is asked


def test_without_groups_the_names_are_shown_as_a_question(folder):
    with pytest.raises(GroupsUnknownError) as caught:
        prepare(str(folder))
    text = str(caught.value)
    assert caught.value.group_from == RULE
    assert f"--group-from '{RULE}'" in text
    assert "12 groups of 4 images, such as P00 (4: P00_0.png" in text
    assert "--group none" in text
    rule = caught.value.group_from
    assert prepare(own_dataset(folder, group_from=rule)).fingerprint["n_groups"] == 12


def test_without_groups_equal_pictures_are_counted(tmp_path):
    root = draw_folder(tmp_path / "x", pattern="{label}/{n}{patient:02}.png")
    turned = picture(0).rotate(90, expand=True)
    turned.save(root / "benign" / "900.png")
    with pytest.raises(
        GroupsUnknownError, match=r"nothing shows[\s\S]*2 images have an equal twin"
    ):
        prepare(str(root))


def test_folders_below_a_class_are_a_candidate(tmp_path):
    root = draw_folder(tmp_path / "x", pattern="{label}/{patient:02}/{n}.png")
    with pytest.raises(GroupsUnknownError) as caught:
        own_dataset(root)
    assert caught.value.group_from == "([^/]+)/[^/]+$"
    prepared = prepare(own_dataset(root, group_from=caught.value.group_from))
    assert set(prepared.manifest["group"]) == {f"{n:02}" for n in range(12)}


@pytest.mark.parametrize(
    ("names", "n_groups"),
    [
        ([f"ISIC_{n:07}.jpg" for n in range(60)], 0),
        ([f"benign ({n}).png" for n in range(60)], 0),
        ([f"{n}.png" for n in range(60)], 0),
        ([f"patient_{n % 9}_eye_{n}.png" for n in range(60)], 9),
        ([f"C{n % 20}P3thinF_IMG_2015_cell_{n}.png" for n in range(60)], 20),
        ([f"{n % 15:05}_{n}.tif" for n in range(60)], 15),
        ([f"{'abcdefghij'[n % 10]}{'xy'[n % 2]}-{n}.bmp" for n in range(60)], 10),
    ],
)
def test_patterns_in_names_are_found_and_others_are_not_invented(names, n_groups):
    patterns = find_patterns(names, 2)
    assert (patterns[0].n_groups if patterns else 0) == n_groups


def test_patterns_that_part_the_images_alike_are_named_once():
    names = [f"C{n % 20}P{7 * (n % 20)}thin_IMG_{n}.png" for n in range(100)]
    assert [pattern.n_groups for pattern in find_patterns(names, 2)] == [20]


def test_images_taken_as_independent_are_said_to_be(folder, tmp_path):
    prepared = prepare(own_dataset(folder, ungrouped=True))
    assert prepared.fingerprint["n_groups"] == 48
    assert prepared.dataset.group_kind == "image"
    run = train(str(folder), settings=SMALL, out=tmp_path / "run")
    assert "taken as independent" in evaluate(run)["warnings"][0]
    page = report(run).read_text("utf-8")
    assert "taken as independent" in page
    assert not re.search(r"\d images? of \d|images</th><th class=\"n\">images", page)
    assert "image by image" not in page.lower()


def test_a_rule_that_does_not_match_every_name_is_an_error_with_examples(folder):
    picture(0).save(folder / "benign" / "holiday.png")
    with pytest.raises(SettingsError, match=r"1 of 49 file names do not match[\s\S]*holiday.png"):
        own_dataset(folder, group_from=RULE)


@pytest.mark.parametrize("rule", ["(", "(?=P)", r"(P)\1", "a{1000}{1000}{1000}", "x" * 600])
def test_rules_that_cannot_be_used_are_errors(folder, rule):
    with pytest.raises(SettingsError):
        own_dataset(folder, group_from=rule)


def test_a_rule_that_would_hang_other_engines_does_not():
    names = ["a" * 200 + "!"] * 1000
    with pytest.raises(SettingsError, match="do not match"):
        groups_from(names, r"^(a+)+$")


@pytest.mark.parametrize(
    "wish",
    [
        {"group_kind": "image"},
        {"group_kind": "9"},
        {"group_kind": "patient", "ungrouped": True, "group_from": None},
        {"ungrouped": True},
        {"positive": "unknown"},
        {"source": "."},
        {"name": "malaria"},
        {"name": "../x"},
        {"name": ""},
    ],
)
def test_impossible_wishes_are_errors(folder, wish):
    with pytest.raises(DiascopeError):
        prepare(own_dataset(folder, **{"group_from": RULE, **wish}))


def test_a_name_of_another_folder_is_not_taken_over(folder, tmp_path):
    prepare(own_dataset(folder, group_from=RULE, name="mine"))
    prepare(own_dataset(folder, group_from=RULE, name="mine"))
    other = draw_folder(tmp_path / "other")
    with pytest.raises(SettingsError, match="name of another data set"):
        prepare(own_dataset(other, group_from=RULE, name="mine"))
    with pytest.raises(UnknownNameError):
        prepare("nine")


# folders that are not as they should be


def test_an_empty_folder_and_one_without_images_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no files"):
        prepare(str(tmp_path / "empty"))
    (tmp_path / "empty" / "a").mkdir()
    (tmp_path / "empty" / "a" / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match="none in a sub-folder"):
        prepare(str(tmp_path / "empty"))


def test_one_class_only_is_refused(folder):
    shutil.rmtree(folder / "benign")
    with pytest.raises(DataError, match="at least two classes"):
        prepare(own_dataset(folder, group_from=RULE))


def test_one_image_of_a_class_is_refused_with_its_name(folder):
    (folder / "rare").mkdir()
    picture(7).save(folder / "rare" / "P50_1.png")
    with pytest.raises(DataError, match=r"1 of 3 classes have too few groups[\s\S]*rare \(1\)"):
        prepare(own_dataset(folder, group_from=RULE))


def test_two_thousand_classes_are_refused_in_words(tmp_path):
    lines = [f"x/{n}.png,{n},{n}" for n in range(2000)]
    (tmp_path / "t.csv").write_text("path,label,group\n" + "\n".join(lines))
    with pytest.raises(DataError, match="2,000 classes, and at most 200"):
        prepare(str(tmp_path / "t.csv"))


def test_a_zip_archive_by_name_is_what_its_folder_is(tmp_path, home):
    root = draw_folder(tmp_path / "own")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "own")
    first, second = (
        prepare(own_dataset(path, group_from=r"P\d+")).manifest for path in (root, packed)
    )
    assert second["path"].str.strip_prefix("own/").to_list() == first["path"].to_list()
    columns = ["label", "group", "split", "sha256"]
    assert second.select(columns).equals(first.select(columns))
    assert load_prepared(dataset_name(packed)).manifest.height == second.height
    with pytest.raises(SettingsError, match="this is a folder"):
        own_dataset(packed, columns=["label=dx"])


def test_a_file_that_is_neither_folder_nor_table_is_refused(tmp_path):
    (tmp_path / "images.tar").write_bytes(b"PK")
    with pytest.raises(SettingsError, match="neither a folder, a ZIP archive nor a table"):
        prepare(str(tmp_path / "images.tar"))
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(SourceError, match="not a ZIP archive"):
        prepare(str(tmp_path / "images.zip"))
    with pytest.raises(SourceError, match="no such file"):
        prepare(str(tmp_path / "nowhere"))


def test_odd_names_are_taken(tmp_path):
    root = draw_folder(tmp_path / "x", pattern="{label} [ü] 100%/a b/P{patient:02} #{n}.PNG")
    assert prepare(own_dataset(root, group_from=r"^P\d+")).fingerprint["n_images"] == 48


# tables that are not as they should be


def spoiled(table, change):
    table.write_text(change(table.read_text()))
    return str(table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("path", "file"), "lacks path"),
        (lambda t: t.replace("label", "diagnosis"), "lacks label"),
        (lambda t: t.splitlines()[0], "no rows"),
        (lambda _: "", r"cannot be read|lacks"),
        (lambda t: t.replace("benign", ""), "24 rows have no label"),
        (lambda t: t.replace("benign", "malign"), "at least two classes"),
        (lambda t: t.replace(",P03,", ",,"), "4 rows have no group"),
        (lambda t: t + t.splitlines()[1], "1 paths are there more than once, 0 of them"),
        (lambda t: t + "images/P00_0.png,malign,P00,4", "1 paths .* 1 of them with different"),
        (lambda t: t + "./images//P00_0.png,benign,P00,4", "1 files are in the table more than"),
        (lambda t: t + "images/gone.png,benign,P00,4", "1 of the 49 images .* not in the folder"),
        (lambda t: t + "../table.csv,benign,P00,4", "not in the folder"),
        (lambda t: t + "C:\\images\\P00_0.png,benign,P00,4", "not in the folder"),
        (lambda t: t.replace(",age", ",Label"), "twice"),
        (lambda t: t.replace(",age", ",image_id"), "image ids occur more than once"),
        (lambda t: t.replace(",age", ",split"), "not splits: '40'"),
        (lambda t: t.replace("P00,40", "P00,40,7,8"), "cannot be read"),
        (lambda t: t.replace(",", "|"), "lacks path and label"),
    ],
)
def test_a_spoiled_table_is_refused_in_words(table, change, words):
    with pytest.raises(DataError, match=words):
        prepare(spoiled(table, change))


def test_a_table_in_another_code_page_is_refused(table):
    table.write_bytes(table.read_bytes().replace(b"benign", "gutartig ä".encode("latin-1")))
    with pytest.raises(DataError, match="not UTF-8"):
        prepare(str(table))
    table.write_bytes("path,label\nä,b".encode("utf-16"))
    with pytest.raises(DataError, match=r"not UTF-8|not text"):
        prepare(str(table))


def test_a_table_that_is_too_big_is_refused_before_it_is_read(table, monkeypatch):
    monkeypatch.setattr(tables, "MAX_BYTES", 100)
    with pytest.raises(SourceError, match="The table has"):
        prepare(str(table))


def test_a_parquet_table_that_is_none_is_refused(tmp_path, table):
    (tmp_path / "t.parquet").write_bytes(table.read_bytes())
    with pytest.raises(DataError, match="Parquet table cannot be read"):
        prepare(str(tmp_path / "t.parquet"))
    nested = pl.DataFrame({"path": ["a"], "label": [["x", "y"]]})
    nested.write_parquet(tmp_path / "n.parquet")
    with pytest.raises(DataError, match="column label does not hold text"):
        prepare(str(tmp_path / "n.parquet"))


def test_images_in_no_row_are_left_out_counted_and_said(table, capsys):
    from diascope.cli.screen.data import print_fingerprint

    picture(999).save(table.parent / "images" / "extra.png")
    facts = prepare(str(table)).fingerprint
    assert facts["n_images"] == 48
    assert facts["unlisted"] == {"n_files": 1, "first": ["images/extra.png"]}
    print_fingerprint("x", facts)
    assert "NOT USED: 1 image files" in capsys.readouterr().out


def test_equal_images_with_different_labels_are_said_loudly(folder, capsys):
    from diascope.cli.screen.data import print_fingerprint

    shutil.copy(folder / "benign" / "P00_0.png", folder / "malign" / "P00_9.png")
    facts = prepare(own_dataset(folder, group_from=RULE)).fingerprint
    assert facts["duplicates"]["across_labels"] == 1
    print_fingerprint("x", facts)
    assert "CONFLICTING LABELS: 1 image" in capsys.readouterr().out


def test_many_classes_do_not_flood_the_screen(tmp_path, capsys):
    from diascope.cli.screen.data import print_fingerprint

    lines = []
    for number in range(360):
        path = tmp_path / f"{number:03}.png"
        picture(number).save(path)
        lines.append(f"{path.name},class {number % 120:03},{number // 120}-{number % 120}")
    (tmp_path / "t.csv").write_text("path,label,group\n" + "\n".join(lines))
    print_fingerprint("x", prepare(str(tmp_path / "t.csv")).fingerprint)
    shown = capsys.readouterr().out
    assert "and 100 more classes" in shown
    assert "112 more kinds" in shown
    assert shown.count("\n") < 50


def test_a_class_that_means_unknown_is_noted(table):
    assert any("'unknown'" in n for n in own_dataset(spoiled(table, _renamed)).remarks)


def _renamed(text):
    return text.replace("benign", "unknown")


def test_train_val_test_folders_are_the_official_split(tmp_path):
    root = tmp_path / "x"
    for number, split in enumerate(("Train", "valid", "test")):
        draw_folder(root / split, pattern="{label}/" + f"Q{number}" + "{patient:02}_{n}.png")
    prepared = prepare(own_dataset(root, group_from=RULE))
    assert prepared.fingerprint["split"]["mode"] == "official"
    assert {n: p["n_images"] for n, p in prepared.fingerprint["splits"].items()} == {
        "train": 48, "val": 48, "test": 48,
    }  # fmt: skip
    shutil.copytree(root / "test", root / "more")
    with pytest.raises(DataError, match="other folders with images: more"):
        own_dataset(root, group_from=RULE)


def test_a_folder_of_test_alone_is_an_external_set_and_val_with_test_no_classes(tmp_path):
    draw_folder(tmp_path / "elsewhere" / "test")
    facts = prepare(own_dataset(tmp_path / "elsewhere", group_from=RULE)).fingerprint
    assert facts["splits"]["test"]["n_images"] == facts["n_images"] == 48
    assert sorted(facts["classes"]) == list(CLASSES)
    draw_folder(tmp_path / "elsewhere" / "val", pattern="{label}/Q{patient:02}_{n}.png")
    own = own_dataset(tmp_path / "elsewhere", group_from=RULE)
    with pytest.raises(DataError, match=r"no train: there are test and val[\s\S]*--split grouped"):
        prepare(own)
    assert prepare(own, split="grouped").fingerprint["n_images"] == 96


def test_what_a_table_of_patients_knows_is_in_the_manifest(tmp_path):
    root = draw_folder(tmp_path / "cases", pattern="c{patient:02}/{label}/{n}.png")
    lines = [f"c{n:02},{50 + n},{'ABC'[n % 3]}" for n in range(12)]
    (tmp_path / "patients.csv").write_text("\n".join(["case,age,hospital", *lines]))
    own = own_dataset(root, groups_table=tmp_path / "patients.csv", on="case")
    manifest = prepare(own, near_duplicates=False).manifest
    assert dict(manifest.select("group", "hospital").iter_rows())["c04"] == "B"
    assert manifest.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1


def test_a_patient_in_two_folders_of_the_split_is_an_error_that_names_them(tmp_path):
    root = tmp_path / "x"
    for split in ("train", "test"):
        draw_folder(root / split)
    with pytest.raises(LeakageError, match=r"12 of 12 groups[\s\S]*P00 \(test and train\)"):
        prepare(own_dataset(root, group_from=RULE))


def test_the_malaria_archive_given_to_ham10000_is_refused(cells):
    with pytest.raises(SourceError, match="no images ISIC_"):
        prepare("ham10000", source=cells)


def test_a_run_on_own_images_needs_neither_folder_nor_table_to_be_understood(table, tmp_path):
    prepare(str(table))
    run = train(str(table), settings=SMALL, out=tmp_path / "run")
    shutil.rmtree(table.parent)
    assert Run.open(run.folder).dataset.task.classes == CLASSES
