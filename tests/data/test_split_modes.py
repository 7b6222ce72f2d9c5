"""Official, grouped and random splits: what is an error, what a warning, and what stays sealed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from conftest import SMALL
from drawn.own_images import draw_folder, picture
from drawn.seals import begin_again

from diascope.data.duplicates.equal import join_duplicates
from diascope.data.manifest import check_disjoint
from diascope.data.splits.assign import assign_splits, choose_mode, rows_to_split
from diascope.data.splits.folds import lay_out_folds
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError, LeakageError, RunError, SettingsError
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train
from diascope.training.run import Run

CLASSES = ("a", "b")
RULE = r"^[A-Z]\d+"


def rows(n_groups=20, **columns):
    table = pl.DataFrame(
        {
            "image_id": [f"{n:03}" for n in range(4 * n_groups)],
            "label": [CLASSES[n % 2] for n in range(4 * n_groups)],
            "group": [f"g{n // 4:02}" for n in range(4 * n_groups)],
            "pixel_digest": [f"p{n}" for n in range(4 * n_groups)],
        }
    )
    return table.with_columns(**columns)


def by_group(*splits):
    """Give the groups these splits in turn."""
    number = pl.col("group").str.slice(1).cast(pl.Int32) % len(splits)
    return number.replace_strict(dict(enumerate(splits)), return_dtype=pl.String)


def split_rows(table, mode="official", seed=0):
    chosen = rows_to_split(table, mode)
    chosen, _ = join_duplicates(chosen, within="split" if mode == "official" else None)
    return assign_splits(
        chosen, CLASSES, mode=mode, group_kind="patient", fractions=(0.6, 0.2, 0.2), seed=seed
    )


@pytest.fixture
def study(tmp_path):
    """Return train, val and test folders of three patients' sets, twelve patients each."""
    for letter, split in zip("ABC", ("train", "val", "test"), strict=True):
        pattern = "{label}/" + letter + "{patient:02}_{n}.png"
        draw_folder(tmp_path / "study" / split, pattern=pattern)
    for number, path in enumerate(sorted((tmp_path / "study").rglob("*.png"))):
        picture(5000 + number, is_bright="malign" in path.parts).save(path)
    return tmp_path / "study"


# official


def test_the_split_that_comes_with_the_data_is_taken_as_it_is():
    table, how = split_rows(rows(split=by_group("train", "val", "test", None)))
    expected = rows(split=by_group("train", "val", "test", None)).drop_nulls("split")
    assert table["split"].to_list() == expected["split"].to_list()
    assert how.mode == "official"
    assert not how.warnings
    assert not how.val_from_train


def test_official_is_the_default_only_where_there_is_one():
    assert choose_mode(rows(split=by_group("train", None)), None, is_acknowledged=False) == (
        "official"
    )
    assert choose_mode(rows(), None, is_acknowledged=False) == "grouped"
    nobody = rows(split=pl.lit(None, pl.String))
    assert choose_mode(nobody, None, is_acknowledged=False) == "grouped"
    with pytest.raises(SettingsError, match="No official split"):
        choose_mode(nobody, "official", is_acknowledged=False)
    with pytest.raises(SettingsError, match="no split 'rondom'"):
        choose_mode(rows(), "rondom", is_acknowledged=False)


def test_a_grouped_split_can_be_asked_for_where_there_is_an_official_one():
    table, how = split_rows(rows(split=by_group("train", "test", None)), "grouped")
    assert table.height == 80
    assert how.mode == "grouped"
    check_disjoint(table)


def test_groups_in_two_official_splits_are_listed():
    spoiled = pl.when(pl.col("image_id").str.ends_with("0")).then(pl.lit("test"))
    table = rows(split=spoiled.otherwise(pl.lit("train")))
    with pytest.raises(LeakageError, match=r"8 of 20 groups \(one patient each\)") as caught:
        split_rows(table)
    assert "g00 (test and train)" in caught.value.where
    many = rows(50, split=spoiled.otherwise(pl.lit("train")))
    with pytest.raises(LeakageError, match="and 10 more"):
        split_rows(many)


def test_equal_pictures_in_two_official_splits_warn_and_nothing_moves():
    digest = pl.when(pl.col("image_id").is_in(["000", "008"])).then(pl.lit("same"))
    given = rows(
        split=by_group("train", "val", "test"), pixel_digest=digest.otherwise("pixel_digest")
    )
    table, how = split_rows(given)
    assert table["split"].to_list() == given["split"].to_list()
    assert table["group"].to_list() == given["group"].to_list()
    assert how.warnings == (
        "The official train and test share 1 pictures, filed under different groups. No image was "
        "moved: what is measured on them is too good.",
    )
    check_disjoint(table, mode="official")
    with pytest.raises(LeakageError, match="pictures"):
        check_disjoint(table)


def test_nearly_equal_pictures_in_two_official_splits_warn_and_nothing_moves():
    given = rows(split=by_group("train", "val", "test", None))
    ids = ["000", "001", "000", "012", "gone"]  # of train, train, train, no list, no row
    others = ["004", "008", "016", "008", "008"]  # of val, test, train, test, test
    near = pl.DataFrame({"image_id": ids, "other_id": others})
    table = rows_to_split(given, "official")
    wishes = {"group_kind": "patient", "fractions": (0.6, 0.2, 0.2), "seed": 0}
    after, how = assign_splits(table, CLASSES, mode="official", near=near, **wishes)
    assert after.equals(table)
    assert [text.split(" pairs")[0] for text in how.warnings] == [
        "The official train and val share 1",
        "The official train and test share 1",
    ]


def test_test_images_alone_are_a_set_to_judge_on():
    table, how = split_rows(rows(split=pl.lit("test")))
    assert set(table["split"]) == {"test"}
    assert "evaluate --on" in how.warnings[0]


def test_groups_that_share_a_picture_within_an_official_split_are_joined():
    digest = pl.when(pl.col("image_id").is_in(["000", "012"])).then(pl.lit("same"))
    given = rows(
        split=by_group("train", "val", "test"), pixel_digest=digest.otherwise("pixel_digest")
    )
    table, _ = split_rows(given)
    assert table.filter(pl.col("group") == "g00+g03").height == 8


def test_where_no_val_is_given_it_is_parted_from_train_by_group():
    given = rows(40, split=by_group("train", "train", "train", "test"))
    table, how = split_rows(given)
    assert how.val_from_train
    check_disjoint(table)
    is_test = pl.col("split") == "test"
    assert table.filter(is_test).equals(given.filter(is_test).select(table.columns))
    assert 20 <= table.filter(pl.col("split") == "val").height <= 40
    assert not split_rows(given, seed=1)[0].equals(table)
    assert split_rows(given, seed=0)[0].equals(table)


def test_a_class_that_the_official_train_lacks_is_an_error():
    given = rows(split=by_group("train", "test")).filter(
        (pl.col("label") == "a") | (pl.col("split") == "test")
    )
    with pytest.raises(DataError, match="of a only in the official train; of b there are none"):
        split_rows(given)


def test_images_in_no_list_are_left_out_and_counted(tmp_path, capsys):
    from diascope.cli.screen.data import print_fingerprint

    root = draw_folder(tmp_path / "x")
    splits = ("train", "test", "")
    lines = [
        f"{path.relative_to(root).as_posix()},{path.parent.name},{path.name[:3]},"
        f"{splits[int(path.name[1:3]) % 3]}"
        for path in sorted(root.rglob("*.png"))
    ]
    (root / "t.csv").write_text("path,label,group,split\n" + "\n".join(lines))
    prepared = prepare(str(root / "t.csv"))
    assert prepared.fingerprint["left_out"] == 16
    assert prepared.manifest.height == 32
    print_fingerprint("x", prepared.fingerprint)
    shown = capsys.readouterr().out
    assert "EXCLUDED: 16 images" in shown
    assert "one was taken from train" in shown


def test_without_test_images_one_can_train_and_is_told_what_to_do(study, tmp_path):
    import shutil

    shutil.rmtree(study / "test")
    facts = prepare(own_dataset(study, group_from=RULE)).fingerprint
    assert "There are no test images" in facts["split"]["warnings"][0]
    run = train(str(study), settings=SMALL, out=tmp_path / "run")
    with pytest.raises(SettingsError, match="no test images"):
        evaluate(run)
    assert evaluate(run, split="val")["n_images"] == 48
    assert "There is no test split." in report(run).read_text("utf-8")
    assert "still sealed" not in report(run).read_text("utf-8")


def test_a_cross_validation_leaves_the_official_test_sealed(study, tmp_path):
    prepared = prepare(own_dataset(study, group_from=RULE))
    sealed = set(prepared.manifest.filter(pl.col("split") == "test")["image_id"])
    run = train(str(study), folds=2, settings=SMALL, out=tmp_path / "run")
    assert run.manifest.height == 96
    assert not sealed & set(run.manifest["image_id"])
    assert evaluate(run)["n_images"] == 96
    assert not sealed & set(run.predictions("test").image_ids)
    assert "48 test images that come with the data are in no fold" in report(run).read_text("utf-8")
    single = train(str(study), settings=SMALL, out=tmp_path / "single")
    assert evaluate(single)["openings"]["overlapping"] == 0


def test_folds_over_an_official_split_keep_pictures_of_train_and_val_together():
    digest = pl.when(pl.col("image_id").is_in(["000", "004"])).then(pl.lit("same"))
    given = rows(
        split=by_group("train", "val", "test"), pixel_digest=digest.otherwise("pixel_digest")
    )
    table, _ = split_rows(given)
    folds = lay_out_folds(table, CLASSES, folds=3, val_fraction=0.2, seed=0, mode="official")
    assert folds.filter(pl.col("pixel_digest") == "same")["fold"].n_unique() == 1
    assert folds.height == table.filter(pl.col("split") != "test").height


def test_folds_over_an_official_split_keep_near_pairs_of_train_and_val_together():
    table, _ = split_rows(rows(split=by_group("train", "val", "test")))
    ids = [f"{4 * number:03}" for number in range(20) if number % 3 < 2]
    for first, second in zip(ids[::2], ids[1::2], strict=False):
        pairs = pl.DataFrame({"image_id": [first], "other_id": [second]})
        folds = lay_out_folds(
            table, CLASSES, folds=3, val_fraction=0.2, seed=0, mode="official", pairs=pairs
        )
        assert folds.filter(pl.col("image_id").is_in([first, second]))["fold"].n_unique() == 1


def test_an_official_split_is_said_in_the_report(study, tmp_path):
    import shutil

    shutil.copy(study / "train" / "benign" / "A00_0.png", study / "test" / "benign" / "C00_8.png")
    prepare(own_dataset(study, group_from=RULE))
    run = train(str(study), settings=SMALL, out=tmp_path / "run")
    assert "train and test share 1 pictures" in evaluate(run)["warnings"][0]
    page = report(run).read_text("utf-8")
    assert "the one that comes with the data" in page
    assert "train and test share 1 pictures" in page
    assert '<td class="n shared">1</td>' in page
    assert 'class="leak"' not in page
    assert "--split official" in page


# random


def test_a_random_split_is_refused_unless_its_leak_is_known(study):
    dataset = own_dataset(study, group_from=RULE)
    with pytest.raises(SettingsError, match=r"on patients whom it knows[\s\S]*--i-know-this-leaks"):
        prepare(dataset, split="random")
    with pytest.raises(SettingsError, match="is for --split random"):
        prepare(dataset, split="grouped", i_know_this_leaks=True)


def test_a_random_split_is_by_image_and_in_the_wanted_shares():
    table, how = split_rows(rows(100), "random")
    counts = dict(table.group_by("split").len().iter_rows())
    assert counts == {"train": 240, "val": 80, "test": 80}
    per_class = table.group_by("split", "label").len()["len"]
    assert set(per_class) == {120, 40}
    assert how.leaks
    assert how.unit == "image"
    assert table["group"].n_unique() == 100
    shared = set(table.filter(pl.col("split") == "test")["group"]) & set(
        table.filter(pl.col("split") == "train")["group"]
    )
    assert f"{len(shared)} of the" in how.warnings[0]


def test_a_random_split_is_marked_in_every_figure_and_in_red(study, tmp_path):
    dataset = own_dataset(study, group_from=RULE, group_kind="patient")
    facts = prepare(dataset, split="random", i_know_this_leaks=True).fingerprint
    assert facts["split"]["leaks"] is True
    assert facts["split"]["unit"] == "image"
    with pytest.raises(SettingsError, match="cross-validation is by group"):
        train(str(study), folds=2, settings=SMALL, out=tmp_path / "folds")
    run = train(str(study), settings=SMALL, out=tmp_path / "run")
    metrics = evaluate(run)
    assert metrics["warnings"][0].startswith("THIS SPLIT LEAKS")
    assert metrics["n_groups"] > metrics["n_images"] / 4
    page = report(run).read_text("utf-8")
    head = page.split('<p class="lead">')[0]
    assert '<p class="leak" role="alert">THIS SPLIT LEAKS' in head
    assert "the network saw the same patients in training" in page
    assert 'class="n shared"' in page
    assert "no image of these patients took part" not in page
    assert "there is no report of a run with any count above 0" not in page
    assert "--split random --i-know-this-leaks" in page


def test_a_run_cannot_pass_a_leaking_manifest_off_as_grouped(study, tmp_path):
    prepare(own_dataset(study, group_from=RULE), split="random", i_know_this_leaks=True)
    run = train(str(study), settings=SMALL, out=tmp_path / "run")
    evaluate(run)
    facts = run.fingerprint
    facts["split"]["mode"] = "grouped"
    begin_again(run.folder, fingerprint=facts)
    with pytest.raises(LeakageError):
        report(Run.open(run.folder))
    facts["split"]["mode"] = "nonsense"
    begin_again(run.folder, fingerprint=facts)
    with pytest.raises((LeakageError, RunError)):
        report(Run.open(run.folder))


def test_no_group_is_ever_divided_by_a_grouped_or_official_split():
    rng = np.random.default_rng(0)
    for seed in range(20):
        given = rows(30, split=by_group(*rng.choice(["train", "train", "test"], 7), "train"))
        for mode in ("grouped", "official"):
            check_disjoint(split_rows(given, mode, seed=seed)[0])
