"""The metrics of a split, as they are written to metrics/<split>.json."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from diascope.errors import DataError, LeakageError, SettingsError
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.confusion import decide
from diascope.metrics.estimate import Estimate
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.task import Task

CLASSES = ("uninfected", "parasitized")
SKIN = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
KEYS = {
    "protocol", "classes", "positive", "group_kind", "n_images", "n_groups", "n_folds",
    "n_resamples", "level", "seed", "estimates", "per_class", "macro", "weighted",
    "confusion", "per_group", "rows", "folds", "fold_sd", "most_probable", "warnings",
}  # fmt: skip


def study(seed=0, n_groups=30, per_group=20, signal=2.0, n_classes=2):
    """Labels, probabilities and patients; a third of the patients have class 0 only."""
    rng = np.random.default_rng(seed)
    group_of = np.repeat(np.arange(n_groups), per_group)
    labels = rng.integers(0, n_classes, group_of.size)
    labels[group_of % 3 == 0] = 0
    logits = rng.normal(size=(group_of.size, n_classes))
    logits += rng.normal(0, 0.5, (n_groups, n_classes))[group_of]
    logits[np.arange(group_of.size), labels] += signal
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities, np.array([f"C{g:03d}" for g in group_of])


def evaluate(
    labels,
    probabilities,
    groups,
    *,
    folds=None,
    classes=CLASSES,
    positive="parasitized",
    threshold=0.5,
    **resampling,
):
    task = Task(classes, positive)
    called = decide(probabilities, positive_index=task.positive_index, threshold=threshold)
    images = ScoredImages.from_arrays(
        labels, probabilities, called, groups, folds=folds, task=task, group_kind="patient"
    )
    return evaluate_predictions(images, Resampling(**{"n_resamples": 300, **resampling}))


def test_the_result_has_the_agreed_keys_and_is_json():
    result = evaluate(*study())
    assert set(result) == KEYS
    assert set(result["estimates"]) == {
        "accuracy", "balanced_accuracy", "auroc", "average_precision", "sensitivity",
        "specificity", "ppv", "npv", "mcc", "kappa", "brier",
    }  # fmt: skip
    assert result["protocol"] == "holdout"
    assert (result["folds"], result["fold_sd"]) == ([], {})
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for entry in result["estimates"].values():
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert "effective n" in entry["method"]


def test_estimates_say_which_images_and_groups_inform_them():
    labels, probabilities, groups = study()
    found = evaluate(labels, probabilities, groups)["estimates"]
    predicted = probabilities[:, 1] >= 0.5
    for name, informing in (
        ("accuracy", np.ones(labels.size, dtype=bool)),
        ("sensitivity", labels == 1),
        ("specificity", labels == 0),
        ("ppv", predicted),
        ("npv", ~predicted),
    ):
        assert found[name]["n_images"] == np.count_nonzero(informing)
        assert found[name]["n_groups"] == np.unique(groups[informing]).size


def test_point_values_equal_scikit_learn():
    labels, probabilities, groups = study()
    found = evaluate(labels, probabilities, groups, threshold=0.3)["estimates"]
    scores = probabilities[:, 1]
    predicted = scores >= 0.3
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
        "auroc": sk.roc_auc_score(labels, scores),
        "average_precision": sk.average_precision_score(labels, scores),
        "sensitivity": sk.recall_score(labels, predicted),
        "ppv": sk.precision_score(labels, predicted),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "brier": sk.brier_score_loss(labels, scores),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-13), name


def test_the_seed_fixes_every_number():
    case = study()
    assert evaluate(*case, seed=1) == evaluate(*case, seed=1)
    first, second = evaluate(*case, seed=1), evaluate(*case, seed=2)
    assert first["estimates"]["auroc"]["value"] == second["estimates"]["auroc"]["value"]
    assert first["estimates"]["auroc"]["low"] != second["estimates"]["auroc"]["low"]


def test_the_order_of_the_images_does_not_matter():
    labels, probabilities, groups = study()
    order = np.random.default_rng(1).permutation(labels.size)
    shuffled = evaluate(labels[order], probabilities[order], groups[order])
    straight = evaluate(labels, probabilities, groups)
    assert shuffled["estimates"]["auroc"] == straight["estimates"]["auroc"]
    assert shuffled["rows"] == straight["rows"]


def test_the_interval_of_shuffled_labels_holds_one_half():
    labels, probabilities, groups = study(n_groups=60)
    shuffled = np.random.default_rng(5).permutation(labels)
    found = evaluate(shuffled, probabilities, groups)["estimates"]["auroc"]
    assert found["low"] < 0.5 < found["high"]
    assert found["high"] - found["low"] < 0.2
    honest = evaluate(labels, probabilities, groups)["estimates"]["auroc"]
    assert honest["low"] > 0.8


def test_cross_validation_pools_counts_and_averages_ranks():
    labels, probabilities, groups = study()
    folds = np.unique(groups, return_inverse=True)[1] % 5
    logit = np.log(probabilities[:, 1] / probabilities[:, 0]) + 3 * folds
    scores = 1 / (1 + np.exp(-logit))
    result = evaluate(labels, np.column_stack([1 - scores, scores]), groups, folds=folds)
    assert (result["protocol"], result["n_folds"]) == ("cross-validation", 5)
    aurocs = [sk.roc_auc_score(labels[folds == f], scores[folds == f]) for f in range(5)]
    accuracies = [np.mean((scores >= 0.5)[folds == f] == labels[folds == f]) for f in range(5)]
    found = result["estimates"]
    assert found["auroc"]["value"] == pytest.approx(np.mean(aurocs), rel=1e-13)
    assert found["auroc"]["value"] > sk.roc_auc_score(labels, scores) + 0.05
    assert found["auroc"]["low"] < found["auroc"]["value"] < found["auroc"]["high"]
    assert "within folds" in found["auroc"]["method"]
    assert found["accuracy"]["value"] == pytest.approx(np.mean((scores >= 0.5) == labels))
    assert [row["auroc"] for row in result["folds"]] == pytest.approx(aurocs, rel=1e-13)
    assert result["fold_sd"]["auroc"] == pytest.approx(np.std(aurocs, ddof=1), rel=1e-12)
    assert result["fold_sd"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1), rel=1e-12)
    assert sum(row["n_groups"] for row in result["folds"]) == 30


def test_a_fold_of_one_class_is_left_out_of_the_mean_and_named():
    labels, probabilities, groups = study()
    folds = np.where(np.unique(groups, return_inverse=True)[1] == 0, 9, 4)
    result = evaluate(labels, probabilities, groups, folds=folds)
    assert [row["fold"] for row in result["folds"]] == [4, 9]
    assert result["folds"][1]["auroc"] is None
    assert result["fold_sd"]["auroc"] is None
    inside = folds == 4
    expected = sk.roc_auc_score(labels[inside], probabilities[inside, 1])
    assert result["estimates"]["auroc"]["value"] == pytest.approx(expected, rel=1e-13)
    assert result["estimates"]["auroc"]["n_groups"] == 29
    assert any("1 of 2 folds has one class" in warning for warning in result["warnings"])


def test_one_patient_a_fold_leaves_rank_metrics_without_interval():
    labels, probabilities, groups = study(n_groups=12)
    folds = np.unique(groups, return_inverse=True)[1]
    found = evaluate(labels, probabilities, groups, folds=folds)["estimates"]
    assert found["auroc"]["value"] is not None
    assert found["auroc"]["low"] is None
    assert "folds: too few for an interval" in found["auroc"]["note"]
    assert found["accuracy"]["low"] is not None


@pytest.mark.parametrize("only", [0, 1])
def test_with_one_class_only_what_compares_classes_is_undefined(only):
    labels, probabilities, groups = study()
    result = evaluate(np.full_like(labels, only), probabilities, groups)
    found = result["estimates"]
    for name in ("auroc", "average_precision", "balanced_accuracy", "mcc"):
        assert found[name]["value"] is None
        assert found[name]["note"] == "one class only"
    missing = "sensitivity" if only == 0 else "specificity"
    assert found[missing]["value"] is None
    assert found[missing]["note"] == "no image of this class"
    assert found["accuracy"]["low"] is not None
    assert result["per_group"]["auroc"]["mean"]["value"] is None
    assert f"All images are {CLASSES[only]}" in result["warnings"][0]
    json.dumps(result, allow_nan=False)


def test_a_class_that_is_never_predicted_has_no_precision_and_is_named():
    labels, _, groups = study()
    result = evaluate(labels, np.tile([0.9, 0.1], (labels.size, 1)), groups)
    assert result["estimates"]["ppv"]["value"] is None
    assert result["estimates"]["ppv"]["note"] == "never predicted"
    assert result["estimates"]["mcc"]["value"] == 0
    assert result["estimates"]["auroc"]["value"] == 0.5
    assert result["estimates"]["auroc"]["low"] is None
    assert "No image is predicted to be parasitized." in result["warnings"]


def test_a_perfect_model_gets_a_bound_from_the_number_of_patients():
    labels, _, groups = study()
    perfect = np.eye(2)[labels]
    result = evaluate(labels, perfect, groups)
    found = result["estimates"]["sensitivity"]
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["n_groups"] == 20
    assert found["low"] == pytest.approx(0.025 ** (1 / 20))
    assert "Clopper-Pearson" in found["method"]
    assert result["estimates"]["auroc"]["low"] == pytest.approx(0.025 ** (1 / 20))
    assert result["estimates"]["mcc"]["low"] is None


def test_every_interval_is_within_the_range_and_holds_its_value():
    ranges = {"mcc": (-1, 1), "kappa": (-1, 1), "brier": (0, 2)}
    for seed in range(40):
        n_classes = 2 + seed % 2
        labels, probabilities, groups = study(
            seed, n_groups=3 + seed % 8, per_group=6, signal=1.5 * (seed % 5), n_classes=n_classes
        )
        positive = "parasitized" if n_classes == 2 and seed % 4 else None
        classes = (*CLASSES, "other")[:n_classes]
        folds = np.unique(groups, return_inverse=True)[1] % 2 if seed % 3 else None
        result = evaluate(
            labels, probabilities, groups, classes=classes, positive=positive, folds=folds
        )
        json.dumps(result, allow_nan=False)
        entries = result["estimates"] | result["macro"] | result["weighted"]
        entries |= {name: entry["mean"] for name, entry in result["per_group"].items()}
        for name, entry in entries.items():
            lowest, highest = ranges.get(name, (0, 1))
            if entry["low"] is not None:
                assert lowest <= entry["low"] <= entry["value"] <= entry["high"] <= highest, name


def test_few_patients_are_said():
    labels, probabilities, groups = study(n_groups=6)
    found = evaluate(labels, probabilities, groups)["estimates"]
    assert found["accuracy"]["note"].startswith("only 6 patients: read with care")
    assert found["sensitivity"]["note"].startswith("only 4 patients: read with care")
    labels, probabilities, groups = study(n_groups=2)
    found = evaluate(labels, probabilities, groups)["estimates"]
    assert found["accuracy"]["value"] is not None
    assert found["accuracy"]["low"] is None


def test_seven_classes_are_set_one_against_the_rest():
    labels, probabilities, groups = study(n_groups=60, n_classes=7)
    result = evaluate(labels, probabilities, groups, classes=SKIN, positive=None)
    assert set(result) == KEYS
    found = result["estimates"]
    assert set(found) == {
        "accuracy", "balanced_accuracy", "auroc", "average_precision", "mcc", "kappa", "brier"
    }  # fmt: skip
    assert (result["per_group"], result["rows"]) == ({}, [])
    assert found["auroc"]["value"] == pytest.approx(
        sk.roc_auc_score(labels, probabilities, multi_class="ovr"), rel=1e-13
    )
    assert found["average_precision"]["value"] == pytest.approx(
        sk.average_precision_score(np.eye(7)[labels], probabilities), rel=1e-13
    )
    predicted = probabilities.argmax(axis=1)
    report = sk.classification_report(
        labels, predicted, labels=range(7), target_names=SKIN, output_dict=True
    )
    for name in SKIN:
        entry = result["per_class"][name]
        assert entry["precision"]["value"] == pytest.approx(report[name]["precision"], rel=1e-14)
        assert entry["recall"]["value"] == pytest.approx(report[name]["recall"], rel=1e-14)
        assert entry["f1"]["value"] == pytest.approx(report[name]["f1-score"], rel=1e-14)
        assert entry["support"] == report[name]["support"]
        _check_against_the_rest(entry, labels == SKIN.index(name), predicted == SKIN.index(name))
        scores = probabilities[:, SKIN.index(name)]
        auroc = sk.roc_auc_score(labels == SKIN.index(name), scores)
        assert entry["auroc"]["value"] == pytest.approx(auroc, rel=1e-13)
        precision = sk.average_precision_score(labels == SKIN.index(name), scores)
        assert entry["average_precision"]["value"] == pytest.approx(precision, rel=1e-13)
        assert entry["auroc"]["low"] < auroc < entry["auroc"]["high"]
    kappa = sk.cohen_kappa_score(labels, predicted)
    assert found["kappa"]["value"] == pytest.approx(kappa, rel=1e-13)
    for average in ("macro", "weighted"):
        expected = report[f"{average} avg"]
        assert result[average]["f1"]["value"] == pytest.approx(expected["f1-score"], rel=1e-14)
    assert result["confusion"] == sk.confusion_matrix(labels, predicted).tolist()


def _check_against_the_rest(entry, is_positive, is_called):
    specificity = sk.recall_score(~is_positive, ~is_called)
    assert entry["specificity"]["value"] == pytest.approx(specificity, rel=1e-13)
    npv = sk.precision_score(~is_positive, ~is_called)
    assert entry["npv"]["value"] == pytest.approx(npv, rel=1e-13)
    assert entry["specificity"]["n_images"] == np.count_nonzero(~is_positive)


def test_the_most_probable_class_is_compared_with_the_decision_rule():
    labels, probabilities, groups = study(n_groups=60, n_classes=7)
    adjusted = (probabilities / np.bincount(labels)).argmax(axis=1)
    images = ScoredImages.from_arrays(
        labels, probabilities, adjusted, groups, task=Task(SKIN), group_kind="lesion"
    )
    result = evaluate_predictions(images, Resampling(300))
    argmax = probabilities.argmax(axis=1)
    other = result["most_probable"]
    assert other["n_changed"] == np.count_nonzero(adjusted != argmax) > 0
    assert other["estimates"]["accuracy"]["value"] == pytest.approx(np.mean(labels == argmax))
    assert result["estimates"]["accuracy"]["value"] == pytest.approx(np.mean(labels == adjusted))
    for k, recall in enumerate(other["recall"]):
        assert recall["value"] == pytest.approx(np.mean(argmax[labels == k] == k))


def test_a_class_without_images_is_left_out_of_averages_and_named():
    labels, probabilities, groups = study(n_groups=60, n_classes=7)
    keep = labels != 5
    result = evaluate(labels[keep], probabilities[keep], groups[keep], classes=SKIN, positive=None)
    assert "There is no image of DF: averages are without it." in result["warnings"]
    assert result["per_class"]["DF"]["recall"]["value"] is None
    recalls = [v["recall"]["value"] for k, v in result["per_class"].items() if k != "DF"]
    found = result["estimates"]
    assert found["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls), rel=1e-14)
    others = [k for k in range(7) if k != 5]
    expected = [sk.roc_auc_score(labels[keep] == k, probabilities[keep, k]) for k in others]
    assert found["auroc"]["value"] == pytest.approx(np.mean(expected), rel=1e-13)


def test_two_classes_without_a_positive_one_are_treated_alike():
    result = evaluate(*study(), positive=None)
    assert "sensitivity" not in result["estimates"]
    assert result["per_group"] == {}


def test_rows_and_distributions_of_patients_are_theirs():
    labels, probabilities, groups = study()
    result = evaluate(labels, probabilities, groups)
    predicted = probabilities[:, 1] >= 0.5
    assert [row["group"] for row in result["rows"]] == sorted(set(groups))
    for row in result["rows"]:
        inside = groups == row["group"]
        y = labels[inside]
        assert (row["n_images"], row["n_positive"]) == (inside.sum(), y.sum())
        if y.any():
            assert row["sensitivity"] == pytest.approx(predicted[inside][y == 1].mean())
        else:
            assert row["sensitivity"] is None
        if 0 < y.sum() < y.size:
            expected = sk.roc_auc_score(y, probabilities[inside, 1])
            assert row["auroc"] == pytest.approx(expected, rel=1e-13)
        else:
            assert row["auroc"] is None
    values = [row["auroc"] for row in result["rows"] if row["auroc"] is not None]
    found = result["per_group"]["auroc"]
    assert found["n_groups"] == found["mean"]["n_groups"] == len(values) == 20
    assert found["mean"]["value"] == pytest.approx(np.mean(values), rel=1e-13)
    assert found["mean"]["low"] < found["mean"]["value"] < found["mean"]["high"]
    assert (found["min"], found["max"]) == (min(values), max(values))
    assert found["median"] == pytest.approx(np.median(values))
    assert result["per_group"]["sensitivity"]["n_groups"] == 20
    assert result["per_group"]["specificity"]["n_groups"] == 30


def test_a_model_that_knows_patients_only_has_no_auroc_within_them():
    rng = np.random.default_rng(0)
    labels, _, groups = study(n_groups=60)
    infected = np.unique(groups, return_inverse=True)[1] % 3 != 0
    scores = np.where(infected, 0.7, 0.1) + rng.uniform(-0.1, 0.1, labels.size)
    result = evaluate(labels, np.column_stack([1 - scores, scores]), groups)
    assert result["estimates"]["auroc"]["low"] > 0.65
    within = result["per_group"]["auroc"]["mean"]
    assert within["low"] < 0.5 < within["high"]
    assert any(
        warning.startswith("20 of 60 patients have no parasitized image")
        for warning in result["warnings"]
    )


def test_a_small_holdout_points_to_cross_validation():
    labels, probabilities, groups = study()
    text = "a cross-validation, which tests on every one, should be preferred"
    assert any(text in warning for warning in evaluate(labels, probabilities, groups)["warnings"])
    folds = np.unique(groups, return_inverse=True)[1] % 5
    crossed = evaluate(labels, probabilities, groups, folds=folds)
    assert not any(text in warning for warning in crossed["warnings"])
    few = [warning for warning in crossed["warnings"] if "too few to be sure of" in warning]
    assert len(few) == 1


def test_a_group_in_two_folds_is_a_leak():
    labels, probabilities, groups = study()
    folds = np.arange(labels.size) % 2
    with pytest.raises(LeakageError, match="images in two folds"):
        evaluate(labels, probabilities, groups, folds=folds)


def test_impossible_input_is_refused_in_words():
    labels, probabilities, groups = study()
    with pytest.raises(DataError, match="no predictions"):
        evaluate([], np.zeros((0, 2)), [])
    with pytest.raises(DataError, match="do not fit together"):
        evaluate(labels[:-1], probabilities, groups)
    with pytest.raises(DataError, match="do not fit together"):
        evaluate(labels, probabilities[:, [0, 1, 1]], groups)
    with pytest.raises(DataError, match="not between 0 and 1"):
        evaluate(labels + 1, probabilities, groups)
    broken = probabilities.copy()
    broken[3, 0] = np.nan
    with pytest.raises(DataError, match="row 3"):
        evaluate(labels, broken, groups)
    with pytest.raises(DataError, match="sum 1"):
        evaluate(labels, probabilities * 2, groups)
    for wrong in ({"level": 95}, {"n_resamples": 10}):
        with pytest.raises(SettingsError):
            evaluate(labels, probabilities, groups, **wrong)


def test_an_estimate_prints_its_interval_and_what_it_rests_on():
    assert str(Estimate(0.5, 0.25, 0.75, 1, 1, "")) == "0.500 [0.250, 0.750] (n = 1 image, 1 group)"
    without = Estimate(0.5, None, None, 30, 2, "none", "too few")
    assert without.format(group_kind="biopsy") == "0.500 [no interval] (n = 30 images, 2 biopsies)"
    undefined = Estimate(None, None, None, 3000, 2, "none", "one class only")
    assert str(undefined) == "not estimable (n = 3,000 images, 2 groups)"
    assert undefined.to_dict()["note"] == "one class only"


def test_warnings_call_classes_by_their_titles():
    labels, probabilities, groups = study(n_groups=12, n_classes=2)
    labels[np.isin(groups, np.unique(groups)[3:])] = 0
    images = ScoredImages.from_arrays(
        labels,
        probabilities,
        probabilities.argmax(axis=1),
        groups,
        task=Task(("0", "1"), "1"),
        group_kind="patient",
    )
    titles = ("benign tissue", "invasive carcinoma")
    warnings = evaluate_predictions(images, Resampling(200), titles=titles)["warnings"]
    assert any("have images of invasive carcinoma" in text for text in warnings)
    assert not any("of 1:" in text for text in warnings)
