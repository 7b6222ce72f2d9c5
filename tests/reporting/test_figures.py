"""Figures: the same bytes every time, the same colours everywhere, and no crash at the edges."""

from __future__ import annotations

import base64
import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from diascope.errors import SettingsError
from diascope.explanations.feature_maps import first_layer_maps
from diascope.metrics.curves import curves
from diascope.reporting.figures.confusion import confusion_figure
from diascope.reporting.figures.curves import (
    OperatingPoint,
    precision_recall_figure,
    rates_figure,
    roc_figure,
)
from diascope.reporting.figures.distribution import score_histogram
from diascope.reporting.figures.groups import strip_figure
from diascope.reporting.figures.pictures import image_uri, map_mosaic
from diascope.reporting.figures.style import PALETTE, class_colours, figure_to_svg
from diascope.reporting.figures.training import training_figure

COLOURS = {"ill": PALETTE[1], "well": PALETTE[0]}


def drawn_curves(seed: int = 0):
    rng = np.random.default_rng(seed)
    is_positive = rng.random(200) < 0.3
    return curves(is_positive, rng.beta(2, 3, 200) * 0.5 + 0.4 * is_positive)


def svg(figure) -> str:
    return base64.b64decode(figure_to_svg(figure).partition("base64,")[2]).decode()


def test_a_class_has_one_colour_and_eight_classes_have_eight():
    names = [f"class {number}" for number in range(8)]
    assert len(set(class_colours(names).values())) == 8
    assert class_colours(names[:2]) == {names[0]: PALETTE[0], names[1]: PALETTE[1]}
    assert len(class_colours([str(number) for number in range(20)])) == 20


def test_the_same_figure_gives_the_same_bytes_and_no_date():
    first, again = (
        figure_to_svg(roc_figure({"ill": [drawn_curves()]}, colours=COLOURS)) for _ in "ab"
    )
    assert first == again
    assert "dc:date" not in svg(roc_figure({"ill": [drawn_curves()]}, colours=COLOURS))


def test_the_settings_of_the_user_neither_change_nor_are_changed():
    plain = svg(confusion_figure(np.eye(2, dtype=np.int64), ["ill", "well"]))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        before = dict(mpl.rcParams)
        assert svg(confusion_figure(np.eye(2, dtype=np.int64), ["ill", "well"])) == plain
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["$x^2$", "$broken", "<b>&", "a" * 60])
def test_a_class_name_is_never_read_as_markup(name):
    figure = confusion_figure(np.array([[3, 1], [0, 2]]), [name, "other"])
    assert "<b>" not in svg(figure)


def test_a_confusion_matrix_shows_counts_and_shares_of_the_true_class():
    figure = confusion_figure(np.array([[30, 10], [0, 0]]), ["well", "ill"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["30", "75.0%", "10", "25.0%", "0", "0.0%", "0", "0.0%"]
    shades = figure.axes[0].collections[0].get_array()
    assert np.reshape(shades, (2, 2)).tolist() == [[0.75, 0.25], [0, 0]]


def test_a_large_confusion_matrix_is_drawn_without_numbers():
    figure = confusion_figure(np.eye(40, dtype=np.int64), [f"class {n}" for n in range(40)])
    assert not figure.axes[0].texts


def test_a_roc_of_folds_has_a_thin_line_a_fold_and_a_thick_mean():
    folds = [drawn_curves(seed) for seed in range(4)]
    lines = roc_figure({"ill": folds}, colours=COLOURS).axes[0].get_lines()
    widths = [line.get_linewidth() for line in lines[1:]]
    assert widths == [0.8] * 4 + [1.8]
    mean = lines[-1].get_ydata()
    assert mean[0] == 0
    assert mean[-1] == 1
    assert np.all(np.diff(mean) >= 0)


def test_the_operating_point_lies_on_both_rates():
    points = drawn_curves()
    at = 250  # of 501 thresholds between 0 and 1
    point = OperatingPoint(
        float(points.threshold[at]), float(points.tpr[at]), float(points.fpr[at])
    )
    figure = rates_figure(
        points, positive_colour="red", negative_colour="blue", operating_point=point
    )
    tpr, fpr, line, *dots = figure.axes[0].get_lines()
    assert line.get_xdata()[0] == point.threshold
    assert dots[0].get_ydata()[0] == tpr.get_ydata()[at]
    assert dots[1].get_ydata()[0] == fpr.get_ydata()[at]


def test_the_prevalence_is_a_line():
    points = drawn_curves()
    figure = precision_recall_figure(
        {"ill": [points]}, colours=COLOURS, prevalence=points.prevalence
    )
    assert list(figure.axes[0].get_lines()[-1].get_ydata()) == [points.prevalence] * 2
    assert points.pr_precision[-1] == pytest.approx(points.prevalence)


def test_no_image_is_lost_in_the_histogram_and_an_empty_class_is_drawn():
    scores = {"well": np.array([0.0, 0.01, 1.0, 0.5]), "ill": np.array([])}
    figure = score_histogram(scores, colours=COLOURS, score_name="probability", threshold=0.5)
    (well, *_), axes = figure.axes[0].patches, figure.axes[0]
    counts = well.get_data().values
    assert counts[counts >= 1].sum() == 4
    assert axes.get_yscale() == "log"
    assert svg(figure)


def test_every_group_is_a_dot():
    values = {"sensitivity": [0.5, 1.0, 1.0], "specificity": [0.9]}
    figure = strip_figure(
        values,
        n_images={"sensitivity": [1, 2, 3], "specificity": [10]},
        colours={"sensitivity": "red", "specificity": "blue"},
        group_kind="patient",
    )
    dots = [len(drawn.get_offsets()) for drawn in figure.axes[0].collections]
    assert sorted(dots) == [1, 3]
    low, high = figure.axes[0].get_xlim()
    assert low < 0.5
    assert high > 1


def test_a_training_that_was_watched_only_in_part_is_drawn():
    epochs = [
        {"fold": 0, "epoch": 1, "train_loss": 0.5, "val_auroc": None},
        {"fold": 1, "epoch": 1, "train_loss": 0.7, "val_auroc": None},
        {"fold": 0, "epoch": 2, "train_loss": 0.1, "val_auroc": None},
    ]
    figure = training_figure(epochs, series={"train_loss": "training"}, y_label="loss")
    mean = figure.axes[0].get_lines()[-1]
    assert list(mean.get_xdata()) == [1, 2]
    assert list(mean.get_ydata()) == [pytest.approx(0.6), 0.1]
    assert svg(training_figure(epochs, series={"val_auroc": "AUROC"}, y_label="AUROC"))


def test_a_picture_survives_to_the_last_bit():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    content = base64.b64decode(image_uri(image).partition("base64,")[2])
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(np.asarray(opened), image)
        assert not opened.info


def test_a_mosaic_shows_each_map_on_its_own_scale():
    ramp = np.arange(16, dtype=np.float32).reshape(4, 4)
    mosaic = map_mosaic(np.stack([ramp, 100 * ramp - 7, np.zeros((4, 4), np.float32)]))
    assert mosaic.shape == (4, 8 * 6 - 2)
    assert np.array_equal(mosaic[:, :4], mosaic[:, 6:10])
    assert not mosaic[:, 12:16].any()
    assert map_mosaic(np.zeros((64, 4, 4), np.float32)).shape == (4 * 6 - 2, 8 * 6 - 2)


def test_feature_maps_are_what_the_layer_answers_even_before_a_layer_that_overwrites():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 5, 3)
    module = torch.nn.Sequential(layer, torch.nn.ReLU(inplace=True), torch.nn.Dropout(0.5)).train()
    x = torch.randn(1, 3, 8, 8)
    maps = first_layer_maps(module, "0", x)
    assert maps.dtype == np.float32
    assert np.allclose(maps, layer(x)[0].detach().numpy(), atol=1e-6)
    assert (maps < 0).any()
    assert not layer._forward_hooks
    assert module.training


def test_an_unknown_layer_is_answered_with_the_convolutions():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Flatten())
    with pytest.raises(SettingsError, match="convolutions are: 0"):
        first_layer_maps(module, "stem", torch.zeros(1, 3, 8, 8))
    with pytest.raises(SettingsError, match="does not answer with feature maps"):
        first_layer_maps(module, "1", torch.zeros(1, 3, 8, 8))
