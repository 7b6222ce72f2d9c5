"""Reporting checklists, as data: a ``.yaml`` file each, found by lying beside this module.

An item names its requirement, in words of our own, and what answers it: evidence in the run (see
`diascope.reporting.dossier.pieces`), people (a question of ``questions.yaml``, here or in
`diascope.data`), or the reason why
it does not apply. To report a study, use the published lists.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

from diascope.data import story
from diascope.data.story import Question

QUESTIONS = "questions.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NotApplicable(_Strict):
    """Why an item does not apply, and the evidence with which it applies after all, if any."""

    because: str
    unless: str = ""


class Item(_Strict):
    """One item of a checklist, numbered as published, in words of our own.

    Parameters
    ----------
    evidence : tuple of str
        Keys of the evidence that is required, all of it.
    see : tuple of str
        Keys of more evidence, linked to where the run has it, but not required.
    human : tuple of str
        Keys of the questions that people have to answer, all of them.
    either : bool
        Evidence alone or answers alone will do.
    """

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


class Section(_Strict):
    """Items that belong together, under a name."""

    name: str
    items: tuple[Item, ...]


class Checklist(_Strict):
    """A published checklist; of its ``n_items`` numbered items, 8a, 8b and 8c are one."""

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
    folder = resources.files("diascope.reporting") / "dossier"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    return tuple(Checklist.model_validate(_read(name)) for name in names if name != QUESTIONS)


@cache
def find_questions() -> dict[str, Question]:
    """Return every question by its key: of the study, then of the data."""
    of_study = {key: Question(**content) for key, content in _read(QUESTIONS).items()}
    return of_study | story.find_questions()


def asked_by(key: str) -> str:
    """Return which items require the answer to a question.

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
    path = resources.files("diascope.reporting") / "dossier" / name
    return yaml.safe_load(path.read_text("utf-8"))
