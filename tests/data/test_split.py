"""Properties of splits by group."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diascope.data.manifest import check_rows
from diascope.data.splits.folds import lay_out_folds
from diascope.data.splits.split import split_groups
from diascope.errors import DataError
from diascope.task import Task

FRACTIONS = (0.6, 0.2, 0.2)


@st.composite
def images(draw):
    """Draw labels and groups: groups of several sizes, some with one class only."""
    n_groups = draw(st.integers(12, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(1, 40, n_groups)
    groups = np.repeat(np.arange(n_groups), sizes)
    share = rng.choice([0.0, 0.3, 0.7, 1.0], n_groups)
    labels = (rng.random(len(groups)) < share[groups]).astype(int)
    first = np.searchsorted(groups, np.arange(n_groups))
    labels[first[:6]], labels[first[6:12]] = 0, 1  # both classes in enough groups
    return labels, groups.astype(str)


@given(images(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_no_group_is_in_two_parts_and_every_part_has_every_class(data, seed):
    labels, groups = data
    part = split_groups(labels, groups, fractions=FRACTIONS, seed=seed)
    for group in np.unique(groups):
        assert len(np.unique(part[groups == group])) == 1
    for number in range(3):
        assert set(labels[part == number]) == {0, 1}


@given(images(), st.integers(0, 1000), st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_a_split_depends_on_the_seed_and_not_on_the_order_of_rows(data, seed, order):
    labels, groups = data
    part = split_groups(labels, groups, fractions=FRACTIONS, seed=seed)
    again = split_groups(labels, groups, fractions=FRACTIONS, seed=seed)
    assert (part == again).all()
    shuffled = np.argsort(np.random.default_rng(order).random(len(labels)))
    moved = split_groups(labels[shuffled], groups[shuffled], fractions=FRACTIONS, seed=seed)
    assert (moved == part[shuffled]).all()


def malaria_like(n_groups=56):
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(n_groups), rng.integers(40, 300, n_groups))
    share = np.where(np.arange(n_groups) < 0.3 * n_groups, 0, rng.uniform(0.4, 0.9, n_groups))
    labels = (rng.random(len(groups)) < share[groups]).astype(int)
    return labels, groups.astype(str)


@pytest.mark.parametrize("seed", range(5))
def test_sizes_classes_and_kinds_of_group_are_shared_out_in_proportion(seed):
    labels, groups = malaria_like()
    part = split_groups(labels, groups, fractions=FRACTIONS, seed=seed)
    negative_only = [g for g in np.unique(groups) if not labels[groups == g].any()]
    for number, share in enumerate(FRACTIONS):
        assert abs((part == number).mean() - share) < 0.03
        assert abs(labels[part == number].mean() - labels.mean()) < 0.03
        here = sum(part[groups == group][0] == number for group in negative_only)
        assert abs(here - share * len(negative_only)) <= 1.5


def test_another_seed_gives_another_split():
    labels, groups = malaria_like()
    splits = [split_groups(labels, groups, fractions=FRACTIONS, seed=s) for s in range(5)]
    assert len({part.tobytes() for part in splits}) == 5


def test_many_small_groups_are_split_exactly_and_soon():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 7470, 10015).astype(str)
    labels = rng.choice(7, 10015, p=[0.11, 0.67, 0.05, 0.03, 0.11, 0.01, 0.02])
    part = split_groups(labels, groups, fractions=FRACTIONS, seed=0)
    for label in range(7):
        shares = np.bincount(part[labels == label], minlength=3) / (labels == label).sum()
        assert np.abs(shares - FRACTIONS).max() < 0.02


def test_a_class_in_fewer_groups_than_parts_is_an_error():
    labels, groups = np.array([0, 0, 0, 0, 1, 1]), np.array(list("abcdef"))
    with pytest.raises(DataError, match=r"only 2 groups[\s\S]*do: Add images") as error:
        split_groups(labels, groups, fractions=FRACTIONS, seed=0)
    assert "folds" not in str(error.value)
    table = pl.DataFrame({"label": list("aaaabb"), "group": groups, "split": ["train"] * 6})
    with pytest.raises(DataError, match="do: Use fewer than 3 folds"):
        lay_out_folds(table, ("a", "b"), folds=3, val_fraction=0.2, seed=0)


@pytest.mark.parametrize("column", ["image_id", "path", "label", "group"])
def test_rows_that_are_numbers_are_refused_in_words(column):
    rows = {"image_id": ["x", "y"], "path": ["x", "y"], "label": ["0", "1"], "group": ["p", "q"]}
    table = pl.DataFrame({**rows, column: [0, 1]})
    with pytest.raises(DataError, match=f"must be text and are not: {column}"):
        check_rows(table, Task(("0", "1")))
