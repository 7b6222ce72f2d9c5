"""Codes of classes: each is in the dictionary that it is of, and travels with the card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SMALL
from drawn.run_folders import bundle as draw_bundle
from pydicom.sr._concepts_dict import concepts

from diascope.bundle.card import Card
from diascope.data.about import about_path
from diascope.data.codes import PRIVATE, Code, code_of, parse_code
from diascope.data.prepared import load_prepared
from diascope.data.spec import DatasetCard
from diascope.errors import DataError, RunError, SettingsError
from diascope.reporting.dicom import secondary_capture, structured_report
from diascope.steps.train import train
from diascope.system.plugins import find, find_all
from diascope.training.run import open_bundle

ALL_CODES = [
    *structured_report.CODES,
    *secondary_capture.CODES,
    *dict.fromkeys(code for spec in find_all("datasets").values() for code in spec.codes.values()),
]


@pytest.mark.parametrize("code", ALL_CODES, ids=lambda code: code.text)
def test_every_code_is_in_the_dictionary_of_pydicom_with_its_meaning(code):
    meanings = [
        values[code.value][0] for values in concepts[code.scheme].values() if code.value in values
    ]
    assert code.meaning in meanings


def test_the_reference_data_sets_have_their_worked_examples():
    assert set(find("datasets", "breast_idc").codes) == {"idc"}
    assert set(find("datasets", "ham10000").codes) == {"mel"}
    assert not find("datasets", "malaria").codes
    page = (Path(__file__).parents[2] / "docs" / "dicom.md").read_text("utf-8")
    for spec in find_all("datasets").values():
        for name, code in spec.codes.items():
            row = f"| `{name}` | {code.value} | {code.scheme} | {code.meaning} |"
            assert any(f"`{spec.name}`" in line and row in line for line in page.splitlines())


def test_a_code_that_dicom_cannot_hold_is_refused():
    for parts in (
        ("", "SCT", "x"),
        ("1" * 17, "SCT", "x"),
        ("1", "", "x"),
        ("1", "SCT", "m" * 65),
        ("1\\2", "SCT", "x"),
        ("1", "SCT", "a\nb"),
        (" 1", "SCT", "x"),
        (1, "SCT", "x"),
    ):
        with pytest.raises(ValueError, match="of a code"):
            Code(*parts)
    with pytest.raises(ValueError, match="is not `value, scheme, meaning`"):
        parse_code("1162635006, SCT")
    assert parse_code(" 1 ,SCT, a, b").meaning == "a, b"


@pytest.mark.parametrize("name", ["nv", "squamous cell carcinoma", "a\\b", " x", "é" * 40, "\x07"])
def test_a_class_without_a_code_has_a_private_one_that_dicom_can_hold(name):
    code = code_of(name, {})
    assert code.scheme == PRIVATE
    assert code == code_of(name, {})
    assert len(code.value) <= 16
    assert code_of(f"{name}.", {}) != code


def test_codes_travel_with_the_cards_and_do_not_change_what_the_model_is(tmp_path):
    card = find("datasets", "breast_idc").card
    assert DatasetCard.from_dict(card.as_dict()) == card
    damaged = {**card.as_dict(), "codes": {"idc": {"value": "1"}}}
    with pytest.raises(DataError, match="damaged"):
        DatasetCard.from_dict(damaged)
    bare = draw_bundle(("no_idc", "idc"), "idc")
    coded = replace(bare, card=bare.card.model_copy(update={"codes": dict(card.codes)}))
    saved = coded.save(tmp_path)
    assert Card.load(tmp_path).codes == card.codes
    assert saved.card.digest == bare.save(tmp_path).card.digest
    wrong = bare.card.model_copy(update={"codes": {"other": card.codes["idc"]}})
    wrong.save(tmp_path)
    with pytest.raises(RunError, match="the codes name a class that does not exist"):
        Card.load(tmp_path)


def test_a_network_has_the_codes_that_people_state_of_their_data(prepared, tmp_path):
    stated = 'codes:\n  parasitized: "P1, 99LOCAL, Plasmodium, any"\n'
    about_path("malaria").write_text(stated, "utf-8")
    run = train("malaria", out=tmp_path / "run", settings=SMALL)
    card = open_bundle(run).card
    assert card.codes == {"parasitized": Code("P1", "99LOCAL", "Plasmodium, any")}
    assert card.code_of("uninfected") == Code("uninfected", PRIVATE, "uninfected")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("codes: [a]", "codes is not a list of `class: code`"),
        ("codes: {third: 'a, b, c'}", "'third' is not a class"),
        ("codes: {parasitized: '1162635006'}", "the code of class parasitized is wrong"),
        ("codes: {parasitized: 'a, b, c', uninfected: 'a, b, c'}", "two classes have the code"),
        ("codes: {}\ncodes: {}", "codes is there twice"),
    ],
)
def test_wrong_codes_are_said_in_words(prepared, content, words):
    about_path("malaria").write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=words):
        load_prepared("malaria")
