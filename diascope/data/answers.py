"""A file of answers: YAML that people write and diascope reads, and never writes again."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from diascope.data.story import Question, Statement
from diascope.errors import SettingsError
from diascope.system.reading import read_ordinary
from diascope.system.yaml_text import parse_yaml

MAX_BYTES = 1_000_000
WIDTH = 96


def question_lines(key: str, question: Question, *notes: str, told: Statement | None = None) -> str:
    """Return a question as a comment, and a line for the answer."""
    texts = [question.asks, *notes]
    if told is not None:
        said = f" ({told.source})" if told.source else ""
        texts.append(f"Known: {told.text}{said} An answer here goes before it.")
    comment = [f"# {line}" for text in texts for line in wrap(text, WIDTH)]
    return "\n".join([*comment, f'{key}: ""\n'])


def read_answers_file(path: Path, *, fix: str) -> tuple[dict[str, Any], list[str]]:
    """Return the content of a file of answers and its duplicate keys; nothing without a file.

    The file is data: nothing in it is run.

    Parameters
    ----------
    fix : str
        What to do where the file is not a list of answers.

    Raises
    ------
    SettingsError
        It cannot be read, or is not a list of ``key: answer``.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError("The file of answers is too large.", where=path, fix="Shorten it.")
        text = read_ordinary(path, most_bytes=MAX_BYTES).decode("utf-8")
        content, keys = parse_yaml(text), _keys(text)
    except FileNotFoundError:
        return {}, []
    except yaml.YAMLError as error:
        raise SettingsError(
            f"The answers are not valid YAML{_line(error)}.",
            where=path,
            fix="Put the answer in quotes, or write it below a bar: `key: |`.",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) else ""
        raise SettingsError(
            f"The answers cannot be read{reason}.", where=path, fix="Save them as text, in UTF-8."
        ) from error
    if content is None:
        return {}, []
    if not isinstance(content, Mapping):
        raise SettingsError("The answers are not a list of `key: answer`.", where=path, fix=fix)
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    return dict(content), twice


def answers_in(content: Mapping[str, Any], questions: Collection[str]) -> dict[str, str]:
    """Return the answers by question, in the order of the questions."""
    texts = {key: str(content.get(key) or "").replace("\0", "").strip() for key in questions}
    return {key: text for key, text in texts.items() if text}


def problems_in(
    content: Mapping[str, Any], twice: Collection[str], questions: Collection[str]
) -> list[str]:
    """Return all that is wrong with a file of answers, a phrase each."""
    found = [f"{key} is there twice" for key in twice]
    for key, answer in content.items():
        if key not in questions:
            near = difflib.get_close_matches(str(key), questions, n=1, cutoff=0.5)
            found.append(f"{key!r} is not a question" + (f" (is it {near[0]}?)" if near else ""))
        elif answer is not None and not isinstance(answer, str):
            found.append(f"the answer to {key} is not text: put it in quotes")
        elif answer and re.fullmatch(r"not applicable\W*", answer.strip(), re.IGNORECASE):
            found.append(f"{key} is marked not applicable without a reason")
    return found


def _keys(text: str) -> list[str]:
    """Return the keys of the file, duplicates included: a mapping loses them."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        return []
    return [str(key.value) for key, _ in node.value]


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", in line {mark.line + 1}" if mark is not None else ""
