"""Operating points: one more beside the default, by name or any threshold, from end to end."""

from __future__ import annotations

import polars as pl
import pytest
from drawn.run_folders import bundle
from drawn.seals import begin_again

import diascope
from diascope.bundle.card import Card
from diascope.bundle.operating_points import at_point, find_point, points_of, with_point
from diascope.errors import SettingsError, SourceError
from diascope.metrics.operating_point import OperatingPoint
from diascope.steps.evaluate import evaluate
from diascope.steps.predict import predict
from diascope.steps.report import report


def test_a_target_adds_an_operating_point_and_the_default_stays(trained, home):
    before = evaluate(trained)
    card = Card.load(trained.folder / "bundle")
    after = evaluate(trained, target="sensitivity=0.2")
    new = Card.load(trained.folder / "bundle")
    (point,) = new.other_points
    assert new.model_copy(update={"other_points": ()}) == card
    assert new.digest == card.digest
    assert point.threshold != card.threshold
    assert after["threshold"] == before["threshold"] == card.threshold
    assert after["operating_points"] == before["operating_points"] == [None]
    assert after["estimates"] == before["estimates"]
    default, other = after["points"]
    assert (default["name"], other["name"]) == ("default", "sensitivity=0.2")
    assert (default["threshold"], default["target"]) == (card.threshold, None)
    assert (other["threshold"], other["target"]["value"]) == (point.threshold, 0.2)
    seen = trained.predictions("test")
    called = seen.probabilities[:, 1] >= point.threshold
    assert other["estimates"]["sensitivity"]["value"] == called[seen.labels == 1].mean()
    assert other["estimates"]["specificity"]["value"] == (~called[seen.labels == 0]).mean()
    for key in ("sensitivity", "specificity"):
        assert default["estimates"][key] == after["estimates"][key]
    assert after["openings"]["this_run"] == 2
    assert evaluate(trained) == after == evaluate(trained, target="sensitivity=0.2")
    text = report(trained).read_text("utf-8")
    assert "mean sensitivity over patients of at least 0.2" in text
    assert "All other figures of this report are of the default" in text
    readme = (trained.folder / "bundle" / "README.md").read_text("utf-8")
    assert "The operating point sensitivity=0.2 is not the default" in readme
    assert "All figures above are at the default operating point" in readme


def test_a_point_chosen_on_val_opens_no_test_set(trained, home):
    first = evaluate(trained)
    val = evaluate(trained, split="val", target="sensitivity=0.1")
    assert [row["name"] for row in val["points"]] == ["default", "sensitivity=0.1"]
    assert evaluate(trained) == first
    both = evaluate(trained, split="val", target="specificity=0.1")
    assert len(both["points"]) == 3
    assert len(Card.load(trained.folder / "bundle").other_points) == 2
    again = evaluate(trained, target="specificity=0.1")
    assert [row["name"] for row in again["points"]][1:] == ["sensitivity=0.1", "specificity=0.1"]
    assert again["openings"]["this_run"] == 2


def test_what_a_lesser_target_costs_is_said_before_it_is_taken(trained):
    with pytest.raises(SettingsError, match="at least 299 independent patients") as refused:
        evaluate(trained, target="sensitivity=0.99")
    assert "at most (on the images that it is chosen on, that is a threshold of" in str(
        refused.value
    )
    assert "with a specificity of" in str(refused.value)
    assert "--threshold" in str(refused.value)
    with pytest.raises(SettingsError) as refused:
        evaluate(trained, target="specificity=0.99")
    assert "with a sensitivity of" in str(refused.value)


def test_thresholds_are_shown_on_the_validation_images_that_decided_nothing(trained):
    found = evaluate(trained, split="val", target="sensitivity=0.1")["thresholds"]
    seen = trained.predictions("val")
    assert found["n_images"] == len(seen.labels)  # calibration is on all of val here
    chosen = {row["threshold"] for row in found["rows"] if row["is_chosen"]}
    card = Card.load(trained.folder / "bundle")
    assert chosen == {card.threshold, card.other_points[0].threshold}
    rows = [row["threshold"] for row in found["rows"]]
    assert rows == sorted(rows)
    for row in found["rows"]:
        called = seen.probabilities[:, 1] >= row["threshold"]
        assert row["n_called"] == called.sum()
        assert row["estimates"]["sensitivity"]["value"] == called[seen.labels == 1].mean()
    page = report(trained).read_text("utf-8")
    assert "What other thresholds give on the validation images" in page


@pytest.mark.parametrize("threshold", [0.0, 0.123, 1.0])
def test_any_threshold_may_be_judged_and_guarantees_nothing(trained, threshold):
    found = evaluate(trained, split="val", threshold=threshold)
    row = found["points"][-1]
    assert row["name"] == f"threshold={threshold} (no guarantee)"
    assert (row["threshold"], row["target"]) == (threshold, None)
    assert Card.load(trained.folder / "bundle").other_points == ()
    assert evaluate(trained, split="val") == found
    more = evaluate(trained, split="val", threshold=0.4)
    assert [one["name"] for one in more["points"]][1:] == [
        "threshold=0.4 (no guarantee)",
        row["name"],
    ]


def test_impossible_thresholds_are_refused(trained, cross_validated):
    for wrong in (-0.1, 1.2, float("nan")):
        with pytest.raises(SettingsError, match="a probability from 0 to 1"):
            evaluate(trained, split="val", threshold=wrong)
    folds = evaluate(cross_validated, threshold=0.3)
    assert [row["name"] for row in folds["points"]] == ["threshold=0.3 (no guarantee)"]
    assert folds["thresholds"] is None


def test_a_target_that_comes_to_nothing_leaves_the_bundle_as_it_was(
    trained, cells, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIASCOPE_PACKS", str(tmp_path / "no packs yet"))
    card = (trained.folder / "bundle" / "card.json").read_bytes()
    begin_again(trained.folder, fingerprint={**trained.fingerprint, "source": "/gone"})
    with pytest.raises(SourceError):
        evaluate(trained.folder, target="sensitivity=0.2")
    assert (trained.folder / "bundle" / "card.json").read_bytes() == card


POINT = OperatingPoint("sensitivity", 0.9, 0.95, 0.1, 40, 400, 0.97, "exact binomial")


def test_a_point_is_found_by_its_name_or_its_target():
    card = with_point(bundle(("a", "b"), "b").card, POINT)
    assert [one.name for one in points_of(card)] == ["default", "sensitivity=0.9"]
    assert find_point(card, name=None, threshold=None).threshold == 0.5
    assert find_point(card, name="default", threshold=None).target is None
    assert at_point(card, find_point(card, name="sensitivity=0.9", threshold=None)).threshold == 0.1
    again = with_point(card, OperatingPoint(**{**vars(POINT), "threshold": 0.2}))
    assert [one.threshold for one in again.other_points] == [0.2]
    promised = card.model_copy(update={"operating_point": POINT, "threshold": 0.1})
    assert with_point(promised, POINT) == promised
    assert find_point(promised, name="sensitivity=0.9", threshold=None).name == "default"
    with pytest.raises(SettingsError, match=r"It has: default, sensitivity=0\.9"):
        find_point(card, name="sensitivity=0.8", threshold=None)
    with pytest.raises(SettingsError, match="given twice"):
        find_point(card, name="default", threshold=0.5)


def test_several_classes_have_no_operating_point():
    card = bundle(("a", "b", "c"), None).card
    assert points_of(card) == []
    assert find_point(card, name=None, threshold=None) is None
    with pytest.raises(SettingsError, match="two classes"):
        find_point(card, name=None, threshold=0.5)
    with pytest.raises(SettingsError, match="no operating point"):
        find_point(card, name="default", threshold=None)


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({}, "default"),
        ({"operating_point": "default"}, "default"),
        ({"operating_point": "sensitivity=0.2"}, "sensitivity=0.2"),
        ({"threshold": 0.75}, "threshold=0.75 (no guarantee)"),
    ],
)
def test_predict_calls_at_the_point_that_was_asked_for_and_says_so(
    trained, cells, tmp_path, how, name
):
    evaluate(trained, split="val", target="sensitivity=0.2")
    card = Card.load(trained.folder / "bundle")
    wanted = {
        "default": card.threshold,
        "sensitivity=0.2": card.other_points[0].threshold,
    }.get(name, 0.75)
    table = pl.read_csv(predict(trained, [cells], out=tmp_path / "p.csv", **how))
    assert table["operating_point"].unique().to_list() == [name]
    assert table["threshold"].unique().to_list() == [pytest.approx(wanted, abs=1e-6)]
    assert table["model"].unique().to_list() == [card.digest]
    is_positive = table["probability_parasitized"] >= wanted
    assert (table["predicted"] == "parasitized").to_list() == is_positive.to_list()
    assert Card.load(trained.folder / "bundle") == card


def test_a_bundle_in_python_calls_at_a_point(trained, cells):
    evaluate(trained, split="val", target="sensitivity=0.2")
    found = diascope.load(trained)
    point = found.card.other_points[0]
    probabilities = found.predict_proba(sorted(cells.rglob("*.png"))[:20])
    at = found.at("sensitivity=0.2")
    called = probabilities[:, 1] >= point.threshold
    assert (at.decide(probabilities) == 1).tolist() == called.tolist()
    assert found.at("default").card.threshold == found.card.threshold


def test_what_predict_cannot_do_is_refused_before_anything_is_read(trained, cells, tmp_path):
    for how in (
        {"operating_point": "sensitivity=0.2"},
        {"threshold": 1.5},
        {"threshold": 0.5, "operating_point": "default"},
    ):
        with pytest.raises(SettingsError):
            predict(trained, [cells], out=tmp_path / "p.csv", **how)
    assert not (tmp_path / "p.csv").exists()


def test_the_commands_show_points_and_thresholds(trained, cells, call_here):
    done = call_here("evaluate", trained.folder, "--split", "val", "--target", "sensitivity=0.2")
    assert done.returncode == 0, done.stderr
    assert "operating points, on val (some of which they were chosen on)" in done.stdout
    assert "the figures above are of the default" in done.stdout
    assert "thresholds, on the validation images that they are chosen on" in done.stdout
    assert "0.95" in done.stdout
    done = call_here("evaluate", trained.folder, "--split", "val", "--threshold", "0.3")
    assert "threshold=0.3 (no guarantee)" in done.stdout
    done = call_here("predict", trained.folder, cells, "--operating-point", "sensitivity=0.2")
    assert "operating point: sensitivity=0.2, at a probability of" in done.stdout
    done = call_here("predict", trained.folder, cells, "--threshold", "0.3", "--overwrite")
    assert "operating point: threshold=0.3 (no guarantee)" in done.stdout
    done = call_here("predict", trained.folder, cells, "--operating-point", "x", "--overwrite")
    assert done.returncode == 2
    assert "It has: default, sensitivity=0.2" in done.stderr
