"""Groups that diascope proposes keep together what belongs together, and say why."""

from __future__ import annotations

import polars as pl
import pytest

from diascope.data.grouping import groups_from
from diascope.data.proposals import find_patterns

COUNT = range(60)


def mura(n_patients=9):
    return [
        f"{label}/patient{patient:05}/study{study}/image1.png"
        for label in ("negative", "positive")
        for patient in range(n_patients)
        for study in range(1, 4)
    ]


def without_the_word():
    return [name.replace("patient", "").replace("study", "s") for name in mura()]


LAYOUTS = {
    "mura": (mura(), "patient00007", 9),
    "chexpert": (
        [f"train/patient{n % 12:05}/study{n % 3 + 1}/view{n}_frontal.jpg" for n in COUNT],
        "patient00003",
        12,
    ),
    "tcga": (
        [f"mss/TCGA-A6-36{n % 14:02}-01Z-00-DX{n // 14 % 2}_{n}_0.png" for n in COUNT],
        "TCGA-A6-3607",
        14,
    ),
    "tcga in the name": (
        [f"msi/blk-{n:05}-TCGA-G4-63{n % 14:02}-01Z-00-DX1.png" for n in COUNT],
        "TCGA-G4-6303",
        14,
    ),
    "breakhis": (
        [
            f"benign/SOB_B_A_14-22{n % 9}49AB/{zoom}X/SOB_B_A-14-22{n % 9}49AB-{zoom}-{n:03}.png"
            for n in COUNT
            for zoom in (40, 100)
        ],
        "14-22349AB",
        9,
    ),
    "idc": (
        [f"{8860 + n % 9}/{n % 2}/{8860 + n % 9}_idx5_x{n}_y51_class{n % 2}.png" for n in COUNT],
        "8863",
        9,
    ),
    "case above the class": (
        [f"c-{n % 9}x/{n % 2}/patch{n}.png" for n in COUNT],
        "c-3x",
        9,
    ),
    "chest x-ray 14": ([f"images/{n // 3:08}_{n % 3:03}.png" for n in COUNT], "00000003", 20),
    "oct": (
        [f"CNV/CNV-{1000 + n // 3}-{n % 3}.jpeg" for n in COUNT],
        "1003",
        20,
    ),
    "eyes": ([f"{n // 2}_{('left', 'right')[n % 2]}.jpeg" for n in COUNT], "3", 30),
    "folders of numbers": (without_the_word(), "00007", 9),
    "only four patients": (
        [f"{c}/{p}/study{s}/{n}.png" for c in "ab" for p in "wxyz" for s in range(6) for n in "12"],
        None,
        0,
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_known_layouts_the_patient_is_proposed_first(layout):
    names, group, n_groups = LAYOUTS[layout]
    patterns = find_patterns(names, 2)
    if group is None:
        assert not any("study" in name for one in patterns for name, *_ in one.examples)
        return
    assert patterns[0].n_groups == n_groups
    assert patterns[0].rule is not None
    assert group in groups_from(names, patterns[0].rule).to_list()


def test_a_study_that_repeats_in_every_patient_is_never_proposed():
    for names in (mura(), without_the_word()):
        shown = [name for one in find_patterns(names, 2) for name, *_ in one.examples]
        assert not {"study1", "s1"} & set(shown)


def test_what_parts_a_proposal_is_shown_behind_it_with_that_against_it():
    first, *others = find_patterns(LAYOUTS["tcga"][0], 2)
    assert first.reasons_for == ("named as in TCGA: the patient",)
    assert any("it parts groups of proposal 1" in one.reasons_against for one in others)
    assert "for: named as in TCGA" in str(first)


@pytest.mark.parametrize("column", ["patient_id", "PatientID", "Subject", "lesion_id", "case_id"])
def test_a_column_of_patients_goes_before_every_rule(column):
    names = [f"S{n % 20:02}_{n}.png" for n in COUNT]
    table = pl.DataFrame({column: [n // 6 for n in COUNT], "age": [50] * 60})
    patterns = find_patterns(names, 2, columns=table)
    assert [one.column for one in patterns] == [column]  # the names contradict it


def test_of_several_columns_the_coarsest_comes_first_and_names_are_no_groups():
    table = pl.DataFrame(
        {
            "lesion_id": [n // 2 for n in COUNT],
            "patient_id": [n // 4 for n in COUNT],
            "patient_name": ["x"] * 30 + ["y"] * 30,
            "patient_age": [n // 30 for n in COUNT],
        }
    )
    patterns = find_patterns([f"{n}.png" for n in COUNT], 2, columns=table)
    assert [one.column for one in patterns] == ["patient_id", "lesion_id"]
    assert patterns[1].reasons_against == ("it parts groups of proposal 1",)


def test_a_column_with_gaps_is_proposed_with_what_is_missing():
    table = pl.DataFrame({"patient_id": [None, "", *(f"{n // 6}" for n in range(58))]})
    first = find_patterns([f"S{n % 20:02}_{n}.png" for n in COUNT], 2, columns=table)[0]
    assert first.column == "patient_id"
    assert "2 images without one" in first.reasons_against


def test_equal_pictures_in_several_groups_speak_against_a_proposal():
    names = [f"A{n % 20:02}_{n}.png" for n in COUNT]
    pictures = pl.Series([f"{n // 2}" for n in COUNT])
    assert find_patterns(names, 2, pictures=pictures)[0].reasons_against == (
        "30 pictures in several of its groups",
    )


def test_lesions_that_are_numbered_anew_in_every_folder_are_not_proposed_first():
    names = [f"{'ab'[n % 2]}/{n % 7:05}/lesion{n % 3}_{n}.png" for n in COUNT]
    first, *others = find_patterns(names, 2)
    assert first.n_groups == 7
    assert [one.reasons_against[0] for one in others if "lesion" in str(one.rule)] == [
        "it contradicts proposal 1"
    ]


@pytest.mark.parametrize(
    "pattern", ["{c}/P{p:02}_{n}.png", "P{p:02}/{c}/P{p:02}_{n}.png", "{c}/P{p:02}/P{p:02}_{n}.png"]
)
def test_the_rule_of_the_file_names_is_found_in_every_layout(pattern):
    names = [pattern.format(c=n % 2, p=n % 9, n=n) for n in COUNT]
    first = find_patterns(names, 2)[0]
    assert first.n_groups == 9
    assert r"^[A-Za-z]+\d+" in f"{first.rule} {first}"


def test_one_division_is_proposed_once():
    names = [f"P{n % 8:02}_{'cs'[n % 2]}_{n}.png" for n in COUNT]
    divisions = [one.n_groups for one in find_patterns(names, 2)]
    assert len(divisions) == len(set(divisions))
