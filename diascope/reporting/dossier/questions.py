"""The answers of people: a small file beside the run that they write and diascope reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from diascope.data.answers import answers_in, problems_in, question_lines, read_answers_file
from diascope.data.story import Statement
from diascope.errors import SettingsError
from diascope.reporting.dossier.checklists import asked_by, find_questions

ANSWERS = "dossier.yaml"  # in the folder of a run
NOT_APPLICABLE = re.compile(r"not applicable\s*:\s*(?=\S)", re.IGNORECASE)
HEAD = """\
# What only people know about this model and its data. `diascope report` reads this file for the
# checklists at the end of the report and for the cards, and never changes it.
#
# Write each answer between the quotes, or after a bar for several lines:
#
#   funding: |
#     A grant of the university hospital.
#
#     The funder had no part in the study.
#
# An answer may also begin with "not applicable:" and give the reason. What stays empty stays open.
# Every reader of the report can read what is written here: name no patients.
"""


FIX = "Correct these lines; without the file, `diascope report` writes one with all questions."


def empty_answers(told: Mapping[str, Statement] | None = None) -> str:
    """Return the file with every question and no answer.

    Parameters
    ----------
    told : mapping, optional
        What is known already, by question: it stands beside the question.
    """
    parts = [HEAD]
    for key, question in find_questions().items():
        wanted = asked_by(key)
        notes = [f"({wanted})"] if wanted else []
        parts.append(question_lines(key, question, *notes, told=(told or {}).get(key)))
    return "\n".join(parts)


def read_answers(path: Path) -> dict[str, str]:
    """Return the answers by question, in the order of the questions; none where there is no file.

    The file (see `empty_answers`) is data: nothing in it is run.

    Raises
    ------
    SettingsError
        It cannot be read, has unknown questions, or answers that are not text; everything that is
        wrong is in one message.
    """
    content, twice = read_answers_file(path, fix=FIX)
    problems = problems_in(content, twice, find_questions())
    if problems:
        raise SettingsError("; ".join(problems) + ".", where=path, fix=FIX)
    return answers_in(content, find_questions())


def open_questions(known: Iterable[str]) -> list[str]:
    """Return the questions without an answer."""
    answered = set(known)
    return [key for key in find_questions() if key not in answered]


def reason_not_applicable(answer: str) -> str:
    """Return the reason why a question does not apply; empty where it does apply.

    Examples
    --------
    >>> reason_not_applicable("Not applicable: cells, not people.")
    'cells, not people.'
    >>> reason_not_applicable("The university.")
    ''
    """
    match = NOT_APPLICABLE.match(answer)
    return answer[match.end() :] if match else ""
