"""The story of a data set: how the images and their labels came about, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

NOT_REPORTED = "not reported"


@dataclass(frozen=True)
class Question:
    """What only people know: a title of a few words, and the question."""

    title: str
    asks: str


@dataclass(frozen=True)
class Statement:
    """An answer to a question, and where it can be read; `NOT_REPORTED` is an answer, too."""

    text: str
    source: str = ""

    @property
    def is_reported(self) -> bool:
        """Whether something is known."""
        return self.text != NOT_REPORTED


@cache
def find_questions() -> dict[str, Question]:
    """Return the questions about a data set by key, in the order in which people are asked."""
    text = (resources.files("diascope.data") / "questions.yaml").read_text("utf-8")
    return {key: Question(**content) for key, content in yaml.safe_load(text).items()}


def told(source: str, /, **answers: str) -> dict[str, Statement]:
    """Return the answers that one source gives, by question.

    Examples
    --------
    >>> told("doi:10.1", recruitment="consecutively")["recruitment"].source
    'doi:10.1'
    """
    return {key: Statement(text, source) for key, text in answers.items()}
