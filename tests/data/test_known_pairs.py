"""Pairs that a list names are joined, found or not, and what they say of the labels is told."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from diascope.data.duplicates.equal import join_duplicates
from diascope.data.duplicates.known import all_pairs, known_pairs
from diascope.data.duplicates.pairs import list_pairs
from diascope.datasets.ham10000 import known_pairs as ham10000_pairs
from diascope.errors import DataError
from diascope.reporting.report.data import data_warnings
from diascope.reporting.report.split import duplicates_text, screened_text

TABLE = pl.DataFrame(
    {
        "image_id": ["a1", "b1", "c1", "d1", "e1"],
        "label": ["x", "x", "y", "y", "x"],
        "group": ["a", "b", "c", "d", "e"],
        "pixel_digest": ["1", "2", "3", "4", "5"],
    }
)
LISTED = pl.DataFrame({"image_id": ["c1", "d1", "a1"], "other_id": ["b1", "e1", "gone"]})


def test_known_pairs_are_joined_where_nothing_is_searched_and_under_two_labels():
    known = known_pairs(TABLE, LISTED)
    joined, counts = join_duplicates(TABLE, None, known=known)
    assert joined["group"].to_list() == ["a", "b+c", "b+c", "d+e", "d+e"]
    assert (counts.near_searched, counts.n_near_pairs) == (False, 0)
    assert (counts.n_known_pairs, counts.n_known_not_found, counts.n_known_absent) == (2, 2, 1)
    assert counts.conflicts == [{"labels": ["x", "y"], "n_pairs": 2}]
    assert (counts.groups_joined, counts.largest_component_groups) == (2, 2)


def test_a_pair_that_is_known_and_found_counts_once():
    near = pl.DataFrame({"image_id": ["b1", "a1"], "other_id": ["c1", "e1"], "n_inliers": [40, 12]})
    known = known_pairs(TABLE, LISTED)
    _, counts = join_duplicates(TABLE, near, known=known)
    assert (counts.n_near_pairs, counts.n_known_not_found) == (2, 1)
    assert counts.conflicts == [{"labels": ["x", "y"], "n_pairs": 2}]
    together = all_pairs(near, known.pairs)
    assert together is not None
    assert together.rows() == [("b1", "c1"), ("a1", "e1"), ("d1", "e1")]
    listed = list_pairs(TABLE, near, known.pairs)
    assert listed.select("image_id", "kind", "n_inliers").rows() == [
        ("b1", "known", 40),
        ("a1", "near", 12),
        ("d1", "known", None),
    ]


def test_what_is_known_may_join_many_groups_and_what_is_found_may_not():
    chain = pl.DataFrame({"image_id": ["a1", "b1"], "other_id": ["b1", "c1"]})
    _, counts = join_duplicates(TABLE, None, known=known_pairs(TABLE, chain))
    assert counts.largest_component_groups == 3
    with pytest.raises(DataError, match="join 3 of 5 groups"):
        join_duplicates(TABLE, chain)


def test_without_a_list_nothing_is_known():
    known = known_pairs(TABLE, None)
    assert (known.pairs.height, known.n_absent) == (0, 0)
    assert all_pairs(None, known.pairs) is None
    joined, counts = join_duplicates(TABLE, None, known=known)
    assert joined.equals(TABLE)
    assert counts.conflicts == []


def test_the_report_says_how_many_were_joined_and_which_labels_conflict():
    _, counts = join_duplicates(TABLE, None, known=known_pairs(TABLE, LISTED))
    text = duplicates_text(vars(counts), "lesion")
    assert "names 2 pairs of images here that show one thing under two lesions" in text
    assert "Of 1 more listed pair an image is not here." in text
    fingerprint = {"n_images": 5, "duplicates": vars(counts)}
    (warning,) = data_warnings(fingerprint)
    assert "2 pairs of near-duplicates are filed under two classes (x and y: 2)" in warning


@pytest.mark.parametrize(
    ("mode", "kind", "searched", "said"),
    [
        ("grouped", "patient", True, "patient-disjoint, screened for near-duplicates."),
        ("grouped", "patient", False, "patient-disjoint, not screened for near-duplicates."),
        ("official", "lesion", True, "of one patient is not known"),
        ("random", "lesion", True, ""),
        ("grouped", "image", True, ""),
    ],
)
def test_a_split_is_called_disjoint_by_what_is_known_and_no_more(mode, kind, searched, said):
    fingerprint = {"split": {"mode": mode}, "duplicates": {"near_searched": searched}}
    text = screened_text(fingerprint, kind)
    assert text.endswith(said) if said.endswith(".") else said in text
    assert bool(text) == bool(said)
    assert ("not known" in text) == (kind == "lesion" and mode != "random")


def test_every_pair_of_the_document_is_listed_and_joined():
    document = Path(__file__).parents[2] / "benchmarks" / "honesty" / "near_duplicates.md"
    rows = re.findall(
        r"^\| \d+ \| (ISIC_\d+), (ISIC_\d+) \|.* \| (yes|no) \| (yes|no) \|$",
        document.read_text("utf-8"),
        re.MULTILINE,
    )
    listed = set(ham10000_pairs().select("image_id", "other_id").iter_rows())
    assert len(rows) == 78
    assert {tuple(sorted(row[:2])) for row in rows} < listed
    assert {row[3] for row in rows} == {"yes"}
