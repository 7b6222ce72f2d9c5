"""Data and sample size: Table 1 by hand, a flow that adds up, and the groups that are needed."""

from __future__ import annotations

import math

import polars as pl
import pytest
from drawn.facts import facts_of, with_parts
from drawn.run_folders import make_run

from diascope.metrics.sample_size import Precision
from diascope.reporting.report import data, sample_size
from diascope.reporting.report.characteristics import characteristics
from diascope.reporting.report.data import flow
from diascope.reporting.template import fill_template

# Four lesions; the images of the first differ in field, and its sex is known from one image alone.
TABLE = pl.DataFrame(
    {
        "image_id": ["1", "2", "3", "4", "5", "6"],
        "label": ["mel", "mel", "nv", "nv", "mel", "train"],
        "group": ["A", "A", "B", "C", "C", "D"],
        "split": ["train", "train", "train", "val", "val", "test"],
        "sex": [None, "female", "male", "unknown", "", "female"],
        "age": ["50", "50", "60", "70", "70", None],
        "field": ["p", "q", "p", "p", "q", "q"],
        "x": [1, 2, 3, 4, 5, 6],
        "PatientName": ["Ann Lee", "Ann Lee", "Bo Li", "Cy Ho", "Cy Ho", "Di Wu"],
    }
)


def rows_by_name(rows):
    """Return the texts of rows by heading and name."""
    found, heading = {}, ""
    for row in rows:
        heading = heading if row.is_value else row.name
        found[(heading if row.is_value else "", row.name)] = row.texts
    return found


def test_table_1_counts_groups_with_what_is_known_of_any_of_their_images():
    columns, rows = characteristics(TABLE, "lesion", ["mel", "nv", "train"])
    # a class may be called like a split
    assert columns == ["train", "val", "test", "all", "mel", "nv", "train"]
    found = rows_by_name(rows)
    sex = "sex (lesions): number (%)"
    # train: A female, B male; val: C missing; test: D female; mel: A and C; nv: B and C
    assert found[sex, "female"] == (
        *("1 (50.0 %)", "0", "1 (100.0 %)", "2 (66.7 %)"),
        *("1 (100.0 %)", "0 (0.0 %)", "1 (100.0 %)"),
    )
    assert found[sex, "missing"][:4] == ("0 (0.0 %)", "1 (100.0 %)", "0 (0.0 %)", "1 (25.0 %)")
    assert found[sex, "missing"][4:] == ("1 (50.0 %)", "1 (50.0 %)", "0 (0.0 %)")
    # few different ages are listed as they are, once for each lesion
    age = "age, years (lesions): number (%)"
    assert found[age, "50"][3] == "1 (33.3 %)"
    # field differs within lesions: by image
    assert found["field (images): number (%)", "p"][3] == "3 (50.0 %)"
    assert not [name for name in found if "PatientName" in name[1] or name[1].startswith("x ")]


def test_table_1_gives_quartiles_of_numbers_and_counts_the_values_that_it_does_not_list():
    n = 40
    table = pl.DataFrame(
        {
            "image_id": [f"{row:02}" for row in range(n)],
            "label": ["a"] * n,
            "group": [f"{row:02}" for row in range(n)],
            "split": ["train"] * n,
            "age": [None, *map(str, range(1, n))],
            "site": [f"site {row % 15}" for row in range(n)],
        }
    )
    _, rows = characteristics(table, "image")
    found = rows_by_name(rows)
    assert (
        found["age, years (images)", "median [quartiles], range"]
        == ("20 [10.5, 29.5], 1 to 39",) * 2
    )
    assert found["age, years (images)", "missing"] == ("1 (2.5 %)",) * 2
    site = [texts[1] for (heading, _), texts in found.items() if heading.startswith("site")]
    assert len(site) == 12 + 1 + 1
    assert sum(int(text.split()[0]) for text in site) == n
    assert ("site (images): number (%)", "3 other values") in found


def test_the_numbers_of_the_flow_add_up_and_each_exclusion_has_its_reason():
    fingerprint = {
        "n_images": 80,
        "found": 100,
        "rejected": [{"path": str(n), "reason": "truncated" if n else "empty"} for n in range(5)],
        "left_out": 12,
        "labels": {"excluded": [{"split": "train", "label": "mel", "n_images": 3}]},
    }
    steps = flow(fingerprint, 70)
    assert [(step.n_images, step.text) for step in steps] == [
        (100, "images found"),
        (5, "cannot be used"),
        (12, "in no list of the official split"),
        (3, "excluded by hand"),
        (10, "test images, sealed and in no fold"),
        (70, "images of this run"),
    ]
    excluded = [step.n_images for step in steps if step.is_exclusion]
    assert steps[0].n_images - sum(excluded) == steps[-1].n_images
    assert steps[1].reasons == (("truncated", 4), ("empty", 1))
    assert steps[3].reasons == (("mel, train", 3),)


def test_the_page_shows_flow_prevalence_and_table_1(tmp_path):
    facts = facts_of(make_run(tmp_path))
    n = facts.manifest.height
    site = pl.Series(["back", "face"] * (n // 2))
    known = with_parts(facts, manifest=facts.manifest.with_columns(site=site))
    page = fill_template("report/data.html.j2", facts=known, **data.section(known))
    assert "cannot be used<br>2: truncated" in page
    # uninfected and parasitized images alike, and every patient has both
    assert '<span class="soft">(50.0 %)</span>' in page
    assert "15 (100.0 %)" in page
    assert 'id="table-1"' in page
    assert "45 (50.0 %)" in page


@pytest.mark.parametrize("classes", [("uninfected", "parasitized"), ("a", "b", "c")])
def test_the_groups_needed_are_those_of_the_estimates(tmp_path, classes):
    facts = facts_of(make_run(tmp_path, classes=classes, n_groups=60))
    found = sample_size.section(facts)
    page = fill_template("report/sample_size.html.j2", facts=facts, **found)
    row = next(row for row in found["rows"] if not row["why_not"])
    estimate = row["estimate"]
    now = Precision(
        *(estimate[key] for key in ("value", "low", "high")), n_groups=estimate["n_groups"]
    )
    assert row["width"] == pytest.approx(now.width_with(now.n_groups))
    assert row["needed"][1] == max(10, now.groups_for(0.05) or 0)
    assert f"{row['needed'][1]:,}" in page
    assert ("Riley et al. 2021" in page) == (len(classes) == 2)
    if found["validation"]:
        sizes, prevalence = found["validation"], 0.5
        assert sizes["prevalence"] == prevalence
        # (1 - f) / (f s^2) with s = asinh(0.1) / 1.959964 = 0.0509363
        assert sizes["rows"][0]["n"] == math.ceil((1 - prevalence) / prevalence / 0.0509363**2)
        needed = math.ceil(sizes["rows"][0]["n"] * sizes["design_effect"] / sizes["images_a_group"])
        assert sizes["rows"][0]["n_groups"] == max(10, needed)
