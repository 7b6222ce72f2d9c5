"""What people say of their own data: ``about.yaml`` beside what was prepared.

`prepare` writes it once, with every question and no answer. From then on it is read wherever the
data set is: by training, audit, show and report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diascope.data.answers import answers_in, problems_in, question_lines, read_answers_file
from diascope.data.spec import DatasetCard
from diascope.data.story import NOT_REPORTED, Statement, find_questions
from diascope.errors import SettingsError
from diascope.system.environment import dataset_folder
from diascope.system.files import write_text

ABOUT = "about.yaml"
TITLES = "classes"
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
        titles = f"{HEAD_OF_TITLES}{TITLES}:\n" + "\n".join(names) + "\n"
        asked = [
            question_lines(key, question, told=card.story.get(key))
            for key, question in find_questions().items()
        ]
        write_text(path, "\n".join([HEAD, titles, *asked]))
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
    titles = content.pop(TITLES, None) or {}
    problems = [
        *problems_in(content, [key for key in twice if key != TITLES], find_questions()),
        *([f"{TITLES} is there twice"] if TITLES in twice else []),
        *_problems_of_titles(titles, card),
    ]
    if problems:
        raise SettingsError("; ".join(problems) + ".", where=path, fix=FIX)
    named = {str(name): title.strip() for name, title in titles.items() if title}
    story = {key: _statement(text) for key, text in answers_in(content, find_questions()).items()}
    return replace(
        card,
        class_titles={**card.class_titles, **{key: title for key, title in named.items() if title}},
        story={**card.story, **story},
    )


def _statement(text: str) -> Statement:
    is_unknown = text.lower().strip(" .") == NOT_REPORTED
    return Statement(NOT_REPORTED if is_unknown else text, SOURCE)


def _problems_of_titles(titles: Any, card: DatasetCard) -> list[str]:
    if not isinstance(titles, Mapping):
        return [f"{TITLES} is not a list of `class: title`"]
    classes = card.task.classes
    found = [
        f"{str(name)!r} is not a class (there are {', '.join(classes[:20])})"
        for name in titles
        if str(name) not in classes
    ]
    found += [
        f"the title of class {name} is not text: put it in quotes"
        for name, title in titles.items()
        if title is not None and not isinstance(title, str)
    ]
    given = {**card.class_titles, **{str(name): title for name, title in titles.items() if title}}
    shown = [str(given.get(name, name)).strip() for name in classes]
    twice = sorted({title for title in shown if shown.count(title) > 1})
    return [*found, *(f"two classes are called {title!r}" for title in twice)]
