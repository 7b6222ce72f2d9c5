"""Sample size: formulas against values computed by hand, and widths against simulated intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from diascope.metrics.bootstrap import Basis, Resampling, replicate
from diascope.metrics.confusion import divide
from diascope.metrics.sample_size import (
    Precision,
    c_statistic_error,
    clustering,
    groups_for_proportion,
    observed_expected_size,
    proportion_design_effect,
    slope_size,
)


def test_a_proportion_needs_as_many_groups_as_computed_by_hand():
    # 0.9 x 0.1 x (2 x 1.959964 / 0.1)^2 = 138.29; times 2.5 / 4 = 86.43
    assert groups_for_proportion(0.9, 0.1, images_a_group=1) == 139
    assert groups_for_proportion(0.9, 0.1, images_a_group=4, design_effect=2.5) == 87
    # 0.5 x 0.5 x (2 x 1.959964 / 0.1)^2 = 384.15: the familiar 385
    assert groups_for_proportion(0.5, 0.1, images_a_group=1) == 385


def test_observed_over_expected_is_as_in_the_formula_of_the_paper():
    # s of a width of 0.2: asinh(0.1) / 1.959964 = 0.050936; (1 - 0.1) / (0.1 s^2) = 3468.9
    assert observed_expected_size(0.1, width=0.2) == 3469
    # and of a width of 1, prevalence 0.018: s = 0.24552, N = 905.05
    assert observed_expected_size(0.018, width=1.0) == 906


def test_the_error_of_an_auroc_is_that_of_simulated_data():
    rng, n, prevalence = np.random.default_rng(0), 400, 0.3
    aurocs = []
    for _ in range(600):
        is_positive = np.arange(n) < prevalence * n
        aurocs.append(roc_auc_score(is_positive, rng.normal(1.19 * is_positive)))
    error = c_statistic_error(float(np.mean(aurocs)), prevalence, n)
    assert error == pytest.approx(np.std(aurocs), rel=0.1)


def test_a_calibration_slope_has_the_width_aimed_at():
    rng = np.random.default_rng(0)
    predictor = rng.normal(-1, 1.5, 200_000)
    n = slope_size(expit(predictor), width=0.4)
    slopes = []
    for _ in range(300):
        chosen = rng.choice(predictor, n)
        outcome = rng.random(n) < expit(chosen)
        fitted = LogisticRegression(C=np.inf).fit(chosen[:, None], outcome)
        slopes.append(fitted.coef_[0, 0])
    assert 2 * 1.96 * np.std(slopes) == pytest.approx(0.4, rel=0.12)


def intervals(rng, n_groups, *, images_a_group, level=0.95):
    """Draw groups whose proportions differ (beta, mean 0.8), and return the bootstrap estimate."""
    sizes = rng.integers(1, 2 * images_a_group, n_groups).astype(float)
    right = rng.binomial(sizes.astype(int), rng.beta(4, 1, n_groups)).astype(float)
    found = replicate(
        lambda weights: {"recall": divide(weights @ right, weights @ sizes)},
        {"recall": Basis.of_images(sizes)},
        np.zeros(n_groups, np.intp),
        Resampling(400, level, int(rng.integers(2**31))),
        group_kind="patient",
    )["recall"].estimate()
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return found, sizes, right


@pytest.mark.parametrize("images_a_group", [1, 6])
def test_the_width_to_expect_is_what_the_bootstrap_interval_gets(images_a_group):
    rng = np.random.default_rng(images_a_group)
    pilots, needed = [], []
    for _ in range(40):
        found, _, _ = intervals(rng, 60, images_a_group=images_a_group)
        now = Precision(found.value, found.low, found.high, found.n_groups)
        assert now.width_with(60) == pytest.approx(found.high - found.low, rel=1e-9)
        pilots.append(now.width_with(240))
        needed.append(now.groups_for(0.1))
    got = [intervals(rng, 240, images_a_group=images_a_group)[0] for _ in range(40)]
    assert np.mean(pilots) == pytest.approx(np.mean([one.high - one.low for one in got]), rel=0.07)
    wanted = round(np.mean(needed))
    got = [intervals(rng, wanted, images_a_group=images_a_group)[0] for _ in range(40)]
    assert np.mean([one.high - one.low for one in got]) == pytest.approx(0.1, rel=0.07)


def test_the_design_effect_is_that_of_the_groups_and_leads_to_as_many_of_them():
    rng = np.random.default_rng(3)
    found, sizes, right = intervals(rng, 3000, images_a_group=6)
    group_of = np.repeat(np.arange(3000), sizes.astype(int))
    values = np.concatenate(
        [np.arange(int(n)) < k for n, k in zip(sizes, right, strict=True)]
    ).astype(float)
    now = Precision(found.value, found.low, found.high, found.n_groups)
    effect = proportion_design_effect(now, found.n_images)
    assert effect == pytest.approx(clustering(values, group_of), rel=0.1)
    # of a beta(4, 1) the correlation within groups is 1 / (4 + 1 + 1)
    assert effect == pytest.approx(1 + ((sizes**2).sum() / sizes.sum() - 1) / 6, rel=0.15)
    closed = groups_for_proportion(
        found.value, 0.05, images_a_group=found.n_images / 3000, design_effect=effect
    )
    assert closed == pytest.approx(now.groups_for(0.05), rel=0.03)


def test_where_all_groups_agree_the_width_is_exact_binomial():
    now = Precision(1.0, 0.692, 1.0, n_groups=10)
    assert now.width_with(10) == pytest.approx(1 - 0.025 ** (1 / 10))
    # 1 - 0.025^(1/n) <= 0.05 from n = ln 0.025 / ln 0.95 = 71.9
    assert now.groups_for(0.05) == 72
    assert math.isnan(now.standard_error)


def test_single_images_have_no_design_effect_and_whole_groups_have_their_size():
    values = np.random.default_rng(0).normal(size=500)
    assert clustering(values, np.arange(500)) == pytest.approx(1)
    four = np.repeat(values, 4)
    assert clustering(four, np.repeat(np.arange(500), 4)) == pytest.approx(4, rel=0.01)
