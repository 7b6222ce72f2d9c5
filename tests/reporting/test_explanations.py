"""Pages and pictures of explained images, made of numbers that are known."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from drawn.run_folders import BINARY
from drawn.run_folders import bundle as draw_bundle
from PIL import Image

from diascope.bundle.map_verdicts import MapVerdict
from diascope.bundle.prediction import Prediction
from diascope.explanations.explained import ExplainedImage, ImageExplainer, MethodMap
from diascope.explanations.feature_maps import Stage
from diascope.explanations.heat_maps import Explainer
from diascope.metrics.prediction_sets import PredictionSets
from diascope.reporting.explain import words
from diascope.reporting.explain.page import ROWS_A_PAGE, render_image, render_overview
from diascope.reporting.explain.pictures import (
    DOTS_PER_INCH,
    coloured,
    layer_over,
    method_figure,
    over,
    stage_figure,
)
from diascope.reporting.explain.row import Listed, Row, row_of
from diascope.reporting.figures.style import figure_to_png, figure_to_svg_text

SIDE = 16


def map_of(values, level=None, method="grad-cam"):
    verdict = level and MapVerdict(
        method=method,
        layer="body",
        side=4,
        level=level,
        reason="So it was found.",
        score=0.0,
        n_images=60,
        findings=(),
    )
    return MethodMap(method, "body", 4, verdict, (), np.asarray(values, np.float32))


def explained_of(*maps, probabilities=(0.09, 0.91), **parts):
    parts = {"in_set": None, "ood_score": None, **parts}
    chosen = int(np.argmax(probabilities))
    return ExplainedImage(
        image=np.full((SIDE, SIDE, 3), 128, np.uint8),
        prediction=Prediction(np.array(probabilities), chosen, **parts),
        target=chosen,
        maps=maps,
        stages=(),
    )


def prediction_of(**parts):
    return explained_of(**parts).prediction


def card_of(**update):
    return draw_bundle(BINARY, BINARY[1]).card.model_copy(update=update)


RAMP = np.linspace(0, 2, SIDE * SIDE).reshape(SIDE, SIDE)


def test_the_headline_has_the_title_of_the_class_and_its_probability():
    card = card_of(class_titles={"parasitized": "with a parasite"}, n_calibrated=100)
    explained = explained_of()
    assert words.headline(explained.prediction, card) == "with a parasite, 91 %"
    text = words.decision_text(explained.prediction, card)
    assert "with a calibrated probability of 91 %" in text
    assert "with a parasite is predicted at a probability of 0.5 or more; here it is 0.910." in text


def test_rounding_says_neither_certain_nor_impossible_and_hides_no_side_of_a_limit():
    shown = [words.percent(value) for value in (0.005, 0.995, 0.0051, 0.9949)]
    assert shown == ["under 1 %", "over 99 %", "1 %", "99 %"]
    card = card_of(threshold=0.91004)
    assert "of 0.91004 or more; here it is 0.91." in words.decision_text(prediction_of(), card)
    assert "score 0.996: not above" in words.ood_text(prediction_of(ood_score=0.996))
    assert "score 1.004, limit 1" in words.decision_text(prediction_of(ood_score=1.004), card)


def test_a_probability_that_was_not_calibrated_is_called_so():
    assert "91 %, which is not calibrated" in words.decision_text(prediction_of(), card_of())


def test_prediction_sets_are_said_with_the_reason_to_refer():
    card = card_of(prediction_sets=PredictionSets(0.9, (0.05, 0.05), (9, 9)))
    both = explained_of(in_set=np.array([True, True]))
    assert words.set_text(both.prediction, card) == (
        "Prediction set: uninfected, parasitized. Refer to a person: several classes are possible."
    )
    one = explained_of(in_set=np.array([False, True]))
    assert (
        words.set_text(one.prediction, card) == "Prediction set: parasitized. No reason to refer."
    )
    empty = explained_of(in_set=np.array([False, False]))
    assert "Prediction set: empty. Refer to a person: no class" in words.set_text(
        empty.prediction, card
    )
    assert row_of(both, card, sha256="0", folder="f").flag == "several classes are possible"


def test_a_withheld_image_has_no_class_and_no_probability_anywhere():
    explained = explained_of(map_of(RAMP), ood_score=1.2, in_set=np.array([False, True]))
    page = render_image(explained, card_of(), name="image 1")
    assert "91 %" not in page
    row = row_of(explained, card_of(), sha256="0", folder="f")
    assert (row.predicted, row.probability) == (None, None)


def test_a_map_without_evidence_says_so():
    page = render_image(explained_of(map_of(np.zeros_like(RAMP))), card_of(), name="image 1")
    assert "This method finds no evidence for parasitized in this image." in page
    assert method_figure(explained_of(), map_of(np.zeros_like(RAMP)), class_title="x")


def test_a_page_names_classes_with_markup_as_text():
    card = draw_bundle(("a", "<i>b</i>"), "<i>b</i>").card
    page = render_image(explained_of(map_of(RAMP)), card, name="image 1")
    assert "<i>b</i>" not in page
    assert "&lt;i&gt;b&lt;/i&gt;, 91 %" in page


def test_verdicts_order_the_methods_and_untested_ones_go_before_failing_ones():
    levels = {"grad-cam": "fail", "hires-cam": None, "occlusion": "weak", "score-cam": "pass"}
    maps = tuple(map_of(RAMP, level, method) for method, level in levels.items())
    found = [one.method for one in words.in_order(maps)]
    assert found == ["score-cam", "occlusion", "hires-cam", "grad-cam"]
    assert not words.all_fail(maps)
    assert not words.all_fail(())
    assert words.all_fail(maps[:1])


def test_colours_grow_lighter_with_the_evidence():
    lightness = coloured(RAMP.astype(np.float32), "viridis") @ np.array([0.2126, 0.7152, 0.0722])
    assert np.all(np.diff(lightness.ravel()) > -0.8)  # but for rounding to whole numbers
    assert lightness[0, 0] < 40
    assert lightness[-1, -1] > 190


def test_where_there_is_no_evidence_the_image_is_seen_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    heat_map = np.zeros((SIDE, SIDE), np.float32)
    assert np.array_equal(over(image, layer_over(heat_map, "viridis")), image)
    heat_map[0, 0] = 1
    mixed = over(image, layer_over(heat_map, "viridis"))
    assert np.array_equal(mixed[1:], image[1:])
    assert not np.array_equal(mixed[0, 0], image[0, 0])


def test_figures_are_the_same_bytes_each_time_and_have_no_date():
    one = map_of(RAMP, "pass")
    draw = [
        lambda: method_figure(explained_of(), one, class_title="parasitized"),
        lambda: stage_figure(stage_of(20)),
    ]
    for figure in draw:
        assert figure_to_svg_text(figure()) == figure_to_svg_text(figure())
        assert figure_to_png(figure(), dots_per_inch=60) == figure_to_png(
            figure(), dots_per_inch=60
        )
        assert "<dc:date>" not in figure_to_svg_text(figure())


def stage_of(n_maps, *, is_first=False, side=4):
    maps = np.random.default_rng(1).normal(size=(n_maps, side, side)).astype(np.float32)
    return Stage("body", is_first, np.arange(n_maps), maps)


@pytest.mark.parametrize(
    ("n_maps", "is_first", "shown"),
    [(3, False, (3, 1)), (200, False, (16, 2)), (64, True, (16, 4))],
)
def test_a_grid_has_all_first_filters_and_the_most_active_maps_of_a_stage(n_maps, is_first, shown):
    figure = stage_figure(stage_of(n_maps, is_first=is_first))
    assert len(figure.texts) == shown[0] * shown[1]
    width, height = figure.get_size_inches() * DOTS_PER_INCH
    assert (width, height) == pytest.approx((shown[0] * 70 - 6, shown[1] * 86))


def test_a_grid_of_very_many_filters_is_drawn_small_and_maps_of_any_size_fit():
    figure = stage_figure(stage_of(192, is_first=True, side=100))
    content = figure_to_png(figure, dots_per_inch=DOTS_PER_INCH)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (32 * 38 - 6, 6 * 38)
    assert not figure.texts


def test_ten_thousand_images_are_listed_on_pages_of_some():
    bundle = replace(draw_bundle(BINARY, BINARY[1]))
    explainer = ImageExplainer(bundle, (Explainer.of(bundle, "occlusion"),))
    row = Row(
        folder="images/0", predicted="parasitized", probability=0.91, levels={"occlusion": "weak"}
    )
    listed = [Listed(f"P{number}.png", row) for number in range(10_000)]
    pages = render_overview(listed, explainer, has_names=False)
    assert len(pages) == 10_000 / ROWS_A_PAGE
    assert all(len(page) < 300_000 for page in pages)
    assert pages[0].count("91 %") == ROWS_A_PAGE
    assert '<td class="n">10000</td>' in pages[-1]
    assert "P9999" not in pages[-1]
    assert '<a href="index-2.html">2</a>' in pages[0]
    assert "<strong>40</strong>" in pages[-1]
