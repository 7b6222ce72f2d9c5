"""What people say of a model: a small file beside the run that they write and diascope reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from diascope.errors import SettingsError
from diascope.reporting.checklists import asked_by, find_questions

ANSWERS = "dossier.yaml"  # in the folder of a run
MAX_BYTES = 1_000_000
WIDTH = 96
NOT_APPLICABLE = re.compile(r"not applicable\s*:\s*(?=\S)", re.IGNORECASE)
HEAD = """\
# What only people know of this model and its data. `diascope report` reads this file for the
# dossier at the end of the report and for the cards, and never changes it.
#
# Write each answer between the quotes, or after a bar for several lines:
#
#   funding: |
#     A grant of the university hospital.
#
#     The funder had no part in the study.
#
# An answer that begins with "not applicable:" and gives the reason is one, too. What stays empty
# stays open. Whoever reads the report reads what stands here: name no patients.
"""


def empty_answers() -> str:
    """Return the file with every question and no answer."""
    parts = [HEAD]
    for key, question in find_questions().items():
        wanted = asked_by(key)
        lines = [question.asks, f"({wanted})"] if wanted else [question.asks]
        comment = [f"# {line}" for text in lines for line in wrap(text, WIDTH)]
        parts.append("\n".join([*comment, f'{key}: ""\n']))
    return "\n".join(parts)


def read_answers(path: Path) -> dict[str, str]:
    """Return what people said, by question; nothing where there is no file.

    Parameters
    ----------
    path : Path
        The file, see `empty_answers`. It is data: nothing in it is run.

    Returns
    -------
    dict
        Every question that was answered, in the order of the questions.

    Raises
    ------
    SettingsError
        It cannot be read, or has questions that nobody asked, or answers that are no text; all
        that is wrong is in one message.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError("The file of answers is too large.", where=path, fix="Shorten it.")
        text = path.read_text("utf-8")
        content, keys = yaml.safe_load(text), _keys(text)
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise SettingsError(
            f"The answers are no YAML{_line(error)}.",
            where=path,
            fix="Put the answer in quotes, or write it below a bar: `key: |`.",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(
            "The answers cannot be read.", where=path, fix="Save them as text, in UTF-8."
        ) from error
    content = {} if content is None else content
    problems = _problems(content, keys)
    if problems:
        raise SettingsError(
            "; ".join(problems) + ".",
            where=path,
            fix="Mend these lines; without the file, `diascope report` writes one with all "
            "questions.",
        )
    said = {key: str(content.get(key) or "").replace("\0", "").strip() for key in find_questions()}
    return {key: answer for key, answer in said.items() if answer}


def _keys(text: str) -> list[str]:
    """Return the keys of the file, those that are there twice, too: a mapping loses them."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return []
    return [str(key.value) for key, _ in node.value]


def _problems(content: Any, keys: list[str]) -> list[str]:
    if not isinstance(content, Mapping):
        return ["The answers are not a list of `key: answer`"]
    questions = find_questions()
    found = [f"{key} is there twice" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    for key, answer in content.items():
        if key not in questions:
            near = difflib.get_close_matches(str(key), questions, n=1, cutoff=0.5)
            found.append(f"{key!r} is no question" + (f" (is it {near[0]}?)" if near else ""))
        elif answer is not None and not isinstance(answer, str):
            found.append(f"the answer of {key} is no text: put it in quotes")
        elif answer and re.fullmatch(r"not applicable\W*", answer.strip(), re.IGNORECASE):
            found.append(f"{key} is said to be not applicable, and not why")
    return found


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", in line {mark.line + 1}" if mark is not None else ""


def open_questions(answers: Mapping[str, str]) -> list[str]:
    """Return the questions that nobody answered."""
    return [key for key in find_questions() if key not in answers]


def reason_not_applicable(answer: str) -> str:
    """Return why people say that a question does not apply; empty where they do not say that.

    Examples
    --------
    >>> reason_not_applicable("Not applicable: cells, not people.")
    'cells, not people.'
    >>> reason_not_applicable("The university.")
    ''
    """
    match = NOT_APPLICABLE.match(answer)
    return answer[match.end() :] if match else ""
