"""``about.yaml``: asked once for a user's own data, read ever after, and never overwritten."""

from __future__ import annotations

import pytest
import yaml
from drawn.own_images import CLASSES, draw_folder

from diascope.data.about import SOURCE, about_path
from diascope.data.prepared import dataset_name, load_prepared
from diascope.data.story import NOT_REPORTED, find_questions
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import SettingsError
from diascope.steps.audit import audit
from diascope.steps.prepare import prepare

RULE = r"^[A-Za-z]+\d+"


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "cells")


def prepared(folder):
    return prepare(
        own_dataset(folder, group_from=RULE, group_kind="patient"), near_duplicates=False
    )


def test_prepare_asks_every_question_about_ones_own_data_once(folder):
    card = prepared(folder).dataset
    path = about_path(card.name)
    content = yaml.safe_load(path.read_text("utf-8"))
    assert list(content) == ["classes", "codes", *find_questions()]
    assert content["classes"] == dict.fromkeys(CLASSES, "")
    assert not any(content[key] for key in find_questions())
    assert card.story == {}
    path.write_text('acquisition: "A microscope."  # mine\n', "utf-8")
    again = prepared(folder)
    assert path.read_text("utf-8") == 'acquisition: "A microscope."  # mine\n'
    assert again.dataset.story["acquisition"].text == "A microscope."
    assert again.dataset.story["acquisition"].source == SOURCE


def test_published_data_are_asked_nothing(cells):
    prepare("malaria", source=cells, near_duplicates=False)
    assert not about_path("malaria").exists()


def test_answers_and_titles_reach_whoever_loads_the_data(folder, tmp_path):
    name = prepared(folder).dataset.name
    text = f'classes:\n  {CLASSES[0]}: "first kind"\nethics: Not reported.\nsetting: |\n  Here.\n'
    about_path(name).write_text(text, "utf-8")
    found = load_prepared(dataset_name(str(folder)))
    assert found.dataset.title_of(CLASSES[0]) == "first kind"
    assert found.dataset.title_of(CLASSES[1]) == CLASSES[1]
    assert found.dataset.story["setting"].text == "Here."
    assert found.dataset.story["ethics"].text == NOT_REPORTED
    assert found.fingerprint["card"]["class_titles"] == {CLASSES[0]: "first kind"}
    page, _ = audit(str(folder), out=tmp_path / "audit")
    assert "first kind" in page.read_text("utf-8")
    card = (page.parent / "data_card.md").read_text("utf-8")
    assert "**Setting and dates.** Here." in card
    assert f"(Source: {SOURCE})" in card


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("setting: 3", "setting is not text: put it in quotes"),
        ("seting: x", r"'seting' is not a question \(is it setting\?\)"),
        ("setting: a\nsetting: b", "setting is there twice"),
        ("ethics: not applicable", "marked not applicable without a reason"),
        ("- a", "not a list of `key: answer`"),
        ("classes: [a]", "classes is not a list of `class: title`"),
        ("classes: {third: x}", "'third' is not a class"),
        (f"classes: {{{CLASSES[0]}: 3}}", "is not text: put it in quotes"),
        (f"classes: {{{CLASSES[0]}: {CLASSES[1]}}}", "two classes are called"),
        ("classes: {}\nclasses: {}", "classes is there twice"),
        ("a: b: c", "not valid YAML, in line 1"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(folder, content, words):
    name = prepared(folder).dataset.name
    about_path(name).write_text(content, "utf-8")
    for call in (lambda: load_prepared(name), lambda: prepared(folder)):
        with pytest.raises(SettingsError, match=words) as error:
            call()
        assert f"where: {about_path(name)}" in str(error.value)
    assert about_path(name).read_text("utf-8") == content
