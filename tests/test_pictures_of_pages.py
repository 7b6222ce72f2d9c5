"""The pictures of the pages are of the current code; what makes one old, and what does not."""

from __future__ import annotations

import doctest
import importlib.util
import shutil
import sys
from copy import deepcopy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_SPEC = importlib.util.spec_from_file_location(
    "picture_sources", ROOT / "docs" / "picture_sources.py"
)
sources = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = sources
_SPEC.loader.exec_module(sources)

CSS = "diascope/reporting/templates/page.css"
SUMMARY = "diascope/reporting/report/summary.py"


@pytest.mark.parametrize("name", sources.PICTURES)
def test_a_picture_is_of_the_current_code(name):
    known = sources.read_record().get(name)
    found = sources.problems(name, known, sources.shown_by(name))
    assert not found, f"{found}; {sources.REMAKE}"


def test_every_picture_that_a_page_shows_is_made_by_the_command():
    assert {path.name for path in (ROOT / "docs").glob("*.png")} == set(sources.PICTURES)
    assert set(sources.read_record()) <= set(sources.PICTURES)


def test_the_examples_of_the_sources_hold():
    assert doctest.testmod(sources) == (0, 2)


@pytest.fixture
def copy(tmp_path):
    """Copy the sources of the pictures, to be edited."""
    for room in sources.TEMPLATE_ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room)
    shutil.copytree(ROOT / "diascope" / "metrics", tmp_path / "diascope" / "metrics")
    return tmp_path


def recorded(name="report.png", **changed):
    """Return a record of a picture as it would be made now, with something changed."""
    made = {
        "version": sources.project_version(),
        "sha256": sources.hashlib.sha256((ROOT / "docs" / name).read_bytes()).hexdigest(),
        **deepcopy(sources.shown_by(name)),
    }
    return {**made, **changed}


def old(copy, file, before, after):
    """Edit a file of the copy; return what is then said of the picture of the report."""
    text = (copy / file).read_text("utf-8")
    assert before in text
    (copy / file).write_text(text.replace(before, after, 1), encoding="utf-8")
    return sources.problems("report.png", recorded(), sources.shown_by("report.png", copy))


def test_nothing_is_said_where_nothing_changed(copy):
    assert not sources.problems("report.png", recorded(), sources.shown_by("report.png", copy))


def test_a_style_and_a_word_of_a_section_in_view_make_the_picture_old(copy):
    assert old(copy, CSS, "color", "colour") == [f"{CSS} has changed since report.png was made"]
    (copy / CSS).write_bytes((ROOT / CSS).read_bytes())
    template = "diascope/reporting/report/summary.html.j2"
    assert old(copy, template, "<p", "<p hidden")[0].startswith(template)


def test_a_macro_that_a_template_imports_makes_the_picture_old(copy):
    macros = "diascope/reporting/templates/macros.html.j2"
    assert old(copy, macros, "<", "<b><")[0].startswith(macros)


def test_a_comment_a_docstring_and_another_section_do_not_make_it_old(copy):
    first = (copy / SUMMARY).read_text("utf-8").splitlines()[0]
    assert not old(copy, SUMMARY, first, '"""Another docstring."""\n# and a comment')
    assert not old(copy, CSS, "{", "{ /* a comment */\n\n")
    assert not old(copy, "diascope/reporting/report/limits.html.j2", "<", "<b><")
    assert not old(copy, "diascope/reporting/report/errors.py", "def ", "VALUE = 1\n\n\ndef ")


def test_a_statement_of_a_section_in_view_makes_it_old(copy):
    assert old(copy, SUMMARY, "\ndef ", "\nVALUE = 1\n\ndef ")[0].startswith(SUMMARY)


def test_a_section_that_is_added_renamed_or_moved_is_named(monkeypatch):
    before = sources.shown_by("report.png")
    titles = before["titles"]

    def said(after):
        return sources.problems("report.png", recorded(), {**before, "titles": after})

    assert said([*titles, "New"]) == ["report.png lacks the section 'New'"]
    assert len(said(["Overview", *titles[1:]])) == 2
    assert said(titles[:-1]) == [f"report.png shows '{titles[-1]}', which is no section"]
    assert said(titles[::-1]) == ["report.png shows the sections in another order"]


def test_a_new_version_and_another_file_make_it_old():
    now = sources.shown_by("report.png")
    said = sources.problems("report.png", recorded(version="0.0.1", sha256="0"), now)
    assert said == [
        "report.png is another file than the one that was made",
        "report.png is of version 0.0.1",
    ]
    assert sources.problems("report.png", None, now) == ["report.png is of an unknown commit"]


def test_a_chart_of_a_story_is_old_only_if_its_own_functions_changed(tmp_path):
    shutil.copytree(ROOT / "diascope", tmp_path / "diascope")
    plates = tmp_path / "diascope" / "reporting" / "show" / "plates.py"
    before = sources.shown_by("story_malaria.png", tmp_path)
    text = plates.read_text("utf-8")
    plates.write_text(text.replace('"Class balance"', '"Balance"'), encoding="utf-8")
    assert sources.shown_by("story_malaria.png", tmp_path) == before
    assert sources.shown_by("story_skin_lesions.png", tmp_path) != before
    plates.write_text(text.replace('"Images of each', '"All of each'), encoding="utf-8")
    assert 'f"All of each' in plates.read_text("utf-8")
    assert sources.shown_by("story_malaria.png", tmp_path) != before
