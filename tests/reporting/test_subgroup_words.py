"""Subgroups in words: what was compared, what could not be, and how blind the test was."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from diascope.reporting.figures.intervals import subgroups_figure
from diascope.reporting.report.subgroups import section

CLASSES = ["nevus", "melanoma"]


def estimate(value):
    return {"value": value, "low": None, "high": None, "n_images": 9, "n_groups": 9, "note": ""}


def difference(value=None, *, p=None, verdict="too few groups", detectable=None):
    ends = {"low": None, "high": None} if p is None else {"low": value - 0.1, "high": value + 0.1}
    return {
        **{"value": value, **ends, "p": p, "p_holm": p, "note": ""},
        **{"verdict": verdict, "detectable": detectable},
    }


def row(name, accuracy, one, *, only_class=None, n_groups=40, recalls=(0.8, 0.7)):
    return {
        **{"name": name, "n_images": 80, "n_groups": n_groups, "only_class": only_class},
        "estimates": {"balanced_accuracy": estimate(0.8), "accuracy": estimate(accuracy)},
        "differences": {"balanced_accuracy": one},
        "recalls": [estimate(value) for value in recalls],
        "recall_differences": [difference(), difference()],
    }


def facts_of(rows):
    found = {"name": "dx_type", "how": "", "rows": rows}
    estimates = {"balanced_accuracy": estimate(0.8), "accuracy": estimate(0.8)}
    metrics = {"subgroups": {"divisions": [found], "left_out": []}, "estimates": estimates}
    return SimpleNamespace(
        metrics=metrics, has_positive=False, classes=CLASSES, group_kind="lesion", is_grouped=True
    )


def words_of(*rows):
    shown = section(facts_of(rows))
    return " ".join(shown["divisions"][0]["texts"]), shown["method"]


def test_no_subgroup_is_called_alike_that_was_not_compared():
    """As in HAM10000 by confirmation: accuracy 0.98 against 0.64, and nothing was compared."""
    text, method = words_of(
        row("follow_up", 0.98, difference(), only_class=0, recalls=(0.98, None)),
        row("histo", 0.64, difference(), recalls=(0.6, 0.7)),
    )
    assert "No subgroup could be compared with the rest." in text
    assert "differs detectably" not in text.replace("none differs detectably", "")
    assert "Confounded with the class, and so not compared: follow_up (nevus only)" in text
    assert "Accuracy goes from 0.64 (histo) to 0.98 (follow_up)" in text
    assert "too few lesions of some class: histo" in text
    assert "all images of melanoma are in histo, so their recall cannot be compared" in text
    assert "paired bootstrap by group" in method
    assert "Holm's correction over all comparisons of the same attribute" in method


def test_what_was_compared_is_counted_with_the_smallest_difference_to_be_found():
    text, _ = words_of(
        row("male", 0.8, difference(0.02, p=0.6, verdict="not shown", detectable=0.21)),
        row("female", 0.81, difference(-0.02, p=0.7, verdict="not shown", detectable=0.34)),
        row("not given", 0.8, difference(), n_groups=4),
    )
    assert "2 of 3 subgroups could be compared with the rest, and none of these differs" in text
    assert "power of 80 %, by subgroup: balanced accuracy 0.21 to 0.34." in text
    assert "Accuracy goes" not in text
    assert "Fewer than 10 lesions, too few to rely on: not given." in text


def test_a_difference_that_was_found_is_told_with_its_interval_and_p():
    text, _ = words_of(
        row("old", 0.8, difference(-0.3, p=0.00001, verdict="worse", detectable=0.2)),
        row("young", 0.8, difference(0.3, p=0.00001, verdict="better", detectable=0.2)),
    )
    assert "old: balanced accuracy is lower than in the rest by 0.300" in text
    assert "interval -0.400 to -0.200; p < 0.001 after correction" in text
    assert "does not prove equality" not in text


@pytest.mark.parametrize("value", [1.0, 0.4])
def test_axes_of_metrics_end_at_1(value):
    rows = [
        {"name": "a", "estimates": {"auroc": {"value": value, "low": value - 0.1, "high": 1.0}}}
    ]
    figure = subgroups_figure(rows, measures={"auroc": "AUROC"}, overall={"auroc": 0.9})
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    assert right == 1
    assert 0 <= left < value - 0.1
