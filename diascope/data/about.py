"""What people say of their own data: ``about.yaml`` beside what was prepared.

`prepare` writes it once, with every question and no answer. From then on it is read wherever the
data set is: by training, audit, show and report.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diascope.data.answers import answers_in, problems_in, question_lines, read_answers_file
from diascope.data.codes import Code, parse_code
from diascope.data.spec import DatasetCard
from diascope.data.story import NOT_REPORTED, Statement, find_questions
from diascope.errors import SettingsError
from diascope.system.environment import dataset_folder
from diascope.system.files import write_text

ABOUT = "about.yaml"
TITLES, CODES = "classes", "codes"
SOURCE = "stated by whoever prepared the data"
HEAD = """\
# What only people know about these images. diascope reads this file for reports, cards and pages,
# and never changes it.
#
# Write each answer between the quotes, or after a bar for several lines:
#
#   acquisition: |
#     Microscope ABC, 40x objective.
#
# An answer may also be "not reported", or begin with "not applicable:" and give the reason. What
# stays empty stays open. Every reader of a report can read what is written here: name no patients.
"""
HEAD_OF_TITLES = """\
# What tables and pictures call each class, such as  "1": "invasive carcinoma"
# In tables that programs read, the class keeps its name.
"""
HEAD_OF_CODES = """\
# What DICOM reports call each class: a code that you looked up, as value, scheme, meaning, such
# as  "1": "1187425009, SCT, Carcinoma"  (SCT is SNOMED CT). A class without one is reported by its
# name, in a private scheme of diascope.
"""
FIX = (
    "Correct these lines; or move the file away, and `diascope prepare` writes one with all "
    "questions."
)


def about_path(name: str) -> Path:
    """Return where the file of a prepared data set is."""
    return dataset_folder(name) / ABOUT


def write_about(card: DatasetCard) -> Path:
    """Write the questions about a data set, unless the file is there; return its path."""
    path = about_path(card.name)
    if not path.exists():
        names = [f'  {json.dumps(name, ensure_ascii=False)}: ""' for name in card.task.classes]
        each = "\n".join(names) + "\n"
        of_classes = [f"{HEAD_OF_TITLES}{TITLES}:\n{each}", f"{HEAD_OF_CODES}{CODES}:\n{each}"]
        asked = [
            question_lines(key, question, told=card.story.get(key))
            for key, question in find_questions().items()
        ]
        write_text(path, "\n".join([HEAD, *of_classes, *asked]))
    return path


def with_about(card: DatasetCard) -> DatasetCard:
    """Return the card of a data set with what its file says, which goes before the card.

    Raises
    ------
    SettingsError
        The file cannot be read, or has unknown questions, classes, or answers that are not text;
        everything that is wrong is in one message.
    """
    path = about_path(card.name)
    content, twice = read_answers_file(path, fix=FIX)
    titles, codes = (content.pop(key, None) or {} for key in (TITLES, CODES))
    others = [key for key in twice if key not in (TITLES, CODES)]
    problems = [
        *problems_in(content, others, find_questions()),
        *(f"{key} is there twice" for key in (TITLES, CODES) if key in twice),
        *_problems_of_titles(titles, card),
        *_problems_of_codes(codes, card),
    ]
    if problems:
        raise SettingsError("; ".join(problems) + ".", where=path, fix=FIX)
    named = {str(name): title.strip() for name, title in titles.items() if title}
    story = {key: _statement(text) for key, text in answers_in(content, find_questions()).items()}
    return replace(
        card,
        class_titles={**card.class_titles, **{key: title for key, title in named.items() if title}},
        codes={**card.codes, **_codes_in(codes)},
        story={**card.story, **story},
    )


def _statement(text: str) -> Statement:
    is_unknown = text.lower().strip(" .") == NOT_REPORTED
    return Statement(NOT_REPORTED if is_unknown else text, SOURCE)


def _problems_of_titles(titles: Any, card: DatasetCard) -> list[str]:
    if not isinstance(titles, Mapping):
        return [f"{TITLES} is not a list of `class: title`"]
    classes = card.task.classes
    found = _not_classes(titles, card)
    found += [
        f"the title of class {name} is not text: put it in quotes"
        for name, title in titles.items()
        if title is not None and not isinstance(title, str)
    ]
    given = {**card.class_titles, **{str(name): title for name, title in titles.items() if title}}
    shown = [str(given.get(name, name)).strip() for name in classes]
    twice = sorted({title for title in shown if shown.count(title) > 1})
    return [*found, *(f"two classes are called {title!r}" for title in twice)]


def _not_classes(names: Iterable[Any], card: DatasetCard) -> list[str]:
    classes = card.task.classes
    return [
        f"{str(name)!r} is not a class (there are {', '.join(classes[:20])})"
        for name in names
        if str(name) not in classes
    ]


def _problems_of_codes(codes: Any, card: DatasetCard) -> list[str]:
    if not isinstance(codes, Mapping):
        return [f"{CODES} is not a list of `class: code`"]
    found = _not_classes(codes, card)
    for name, text in codes.items():
        try:
            if text:
                parse_code(str(text))
        except ValueError as error:
            found.append(f"the code of class {name} is wrong: {error}")
    texts = [str(text) for text in codes.values() if text]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    return [*found, *(f"two classes have the code {text!r}" for text in twice)]


def _codes_in(codes: Mapping[Any, Any]) -> dict[str, Code]:
    return {str(name): parse_code(str(text)) for name, text in codes.items() if text}
