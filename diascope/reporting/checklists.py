"""Reporting checklists, as data: a file each in ``diascope/checklists/``, found by being there.

An item says, in words of our own, what it wants, and what answers it: evidence in the run (see
`diascope.reporting.evidence`), what people say (a question of ``questions.yaml``), or the reason
why it does not apply. Whoever reports a study goes by the published list.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

QUESTIONS = "questions.yaml"


class Question(BaseModel):
    """What only people know.

    Parameters
    ----------
    title, asks : str
        In two words, and as a question.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    asks: str


class NotApplicable(BaseModel):
    """Why an item does not apply.

    Parameters
    ----------
    because : str
        The reason.
    unless : str
        Evidence with which it applies after all; empty where nothing changes that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    because: str
    unless: str = ""


class Item(BaseModel):
    """One item of a checklist.

    Parameters
    ----------
    number : str
        As published.
    text : str
        What it wants, in words of our own.
    evidence : tuple of str
        Keys of the evidence that it takes, all of it.
    see : tuple of str
        Keys of more evidence that is linked to where the run has it, and not asked for.
    human : tuple of str
        Keys of the questions that people have to answer, all of them.
    either : bool
        Evidence alone or answers alone will do.
    not_applicable : NotApplicable, optional
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: str
    text: str
    evidence: tuple[str, ...] = ()
    see: tuple[str, ...] = ()
    human: tuple[str, ...] = ()
    either: bool = False
    not_applicable: NotApplicable | None = None

    @model_validator(mode="after")
    def _can_be_answered(self) -> Item:
        if not (self.evidence or self.human or self.not_applicable):
            raise ValueError(f"nothing answers item {self.number}")
        return self


class Section(BaseModel):
    """Items that belong together, under a name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    items: tuple[Item, ...]


class Checklist(BaseModel):
    """A published checklist.

    Parameters
    ----------
    name, title, source : str
        What it is called, in short and in a line, and where it was published.
    n_items : int
        How many numbered items it has; 8a, 8b and 8c are one.
    sections : tuple of Section
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    source: str
    n_items: int
    sections: tuple[Section, ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """All items, in order."""
        return tuple(item for section in self.sections for item in section.items)


@cache
def find_checklists() -> tuple[Checklist, ...]:
    """Return every checklist, in the order of the names of their files."""
    folder = resources.files("diascope") / "checklists"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    return tuple(Checklist.model_validate(_read(name)) for name in names if name != QUESTIONS)


@cache
def find_questions() -> dict[str, Question]:
    """Return every question by its key, in the order in which people are asked."""
    return {key: Question.model_validate(content) for key, content in _read(QUESTIONS).items()}


def asked_by(key: str) -> str:
    """Return which items want the answer to a question.

    Examples
    --------
    >>> asked_by("patient_involvement"), asked_by("model_licence")
    ('TRIPOD+AI 19', '')
    """
    wanted = []
    for checklist in find_checklists():
        numbers = [item.number for item in checklist.items if key in item.human]
        wanted += [f"{checklist.name} {', '.join(numbers)}"] if numbers else []
    return "; ".join(wanted)


def _read(name: str) -> dict[str, Any]:
    path = resources.files("diascope") / "checklists" / name
    return yaml.safe_load(path.read_text("utf-8"))
