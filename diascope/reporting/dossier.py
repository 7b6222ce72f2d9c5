"""Hold a run against reporting checklists: what it answers, and what people have to say.

After Tejani et al. 2024 (CLAIM 2024), Collins et al. 2024 (TRIPOD+AI) and Sounderajah et al. 2025
(STARD-AI). An item counts as answered only where the run holds the evidence, and where people
answered what is asked of them; nobody judges how good an answer is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from diascope.reporting.answers import open_questions, reason_not_applicable
from diascope.reporting.checklists import Checklist, Item, find_checklists, find_questions
from diascope.reporting.evidence import EVIDENCE
from diascope.reporting.facts import Facts
from diascope.reporting.pseudonyms import Names

ANSWERED, NEEDS_HUMAN = "answered", "needs a human"
NOT_DONE, NOT_APPLICABLE = "not done", "not applicable"
STATES = (ANSWERED, NEEDS_HUMAN, NOT_DONE, NOT_APPLICABLE)


def dossier_of(facts: Facts, answers: Mapping[str, str], names: Names) -> dict[str, Any]:
    """Return what the dossier shows.

    Parameters
    ----------
    facts : Facts
    answers : mapping of str to str
        What people said, see `diascope.reporting.answers.read_answers`.
    names : Names
        What must not occur in their answers.

    Returns
    -------
    dict
        ``checklists`` (each ``name, title, source, counts`` by state, and ``sections`` of ``name``
        and ``rows``, see `judge`), ``said`` (``key, title, answer``) and ``unsaid`` (``key, title,
        asks``).
    """
    questions = find_questions()
    cleaned = names.cleaned_all(list(answers.values()))
    return {
        "checklists": [_table(checklist, facts, answers) for checklist in find_checklists()],
        "said": [
            {"key": key, "title": questions[key].title, "answer": answer}
            for key, answer in zip(answers, cleaned, strict=True)
        ],
        "unsaid": [
            {"key": key, "title": questions[key].title, "asks": questions[key].asks}
            for key in open_questions(answers)
        ],
    }


def _table(checklist: Checklist, facts: Facts, answers: Mapping[str, str]) -> dict[str, Any]:
    sections = [
        {"name": section.name, "rows": [judge(item, facts, answers) for item in section.items]}
        for section in checklist.sections
    ]
    counts = Counter(item["state"] for section in sections for item in section["rows"])
    return {
        "name": checklist.name,
        "title": checklist.title,
        "source": checklist.source,
        "counts": [(state, counts[state]) for state in STATES],
        "sections": sections,
    }


def judge(item: Item, facts: Facts, answers: Mapping[str, str]) -> dict[str, Any]:
    """Say how an item stands.

    Parameters
    ----------
    item : Item
    facts : Facts
    answers : mapping of str to str

    Returns
    -------
    dict
        ``number, text``; ``state``, one of `STATES`; ``links`` (``anchor, title``) to what answers
        it, and ``notes``, what is missing or why it does not apply.
    """
    row: dict[str, Any] = {"number": item.number, "text": item.text, "links": [], "notes": []}
    spared = item.not_applicable
    if spared and not (spared.unless and EVIDENCE[spared.unless].is_there(facts)):
        return {**row, "state": NOT_APPLICABLE, "notes": [spared.because]}
    here = [key for key in item.evidence if EVIDENCE[key].is_there(facts)]
    lacking = [EVIDENCE[key].otherwise for key in item.evidence if key not in here]
    said = [key for key in item.human if key in answers]
    unsaid = [key for key in item.human if key not in said]
    if item.either and (said or not lacking):
        lacking, unsaid = [], []
    here += [key for key in item.see if EVIDENCE[key].is_there(facts)]
    links = [(EVIDENCE[key].anchor, EVIDENCE[key].title) for key in here]
    links += [(f"said-{key.replace('_', '-')}", find_questions()[key].title) for key in said]
    ask = "Or to be answered" if item.either else "To be answered"
    asked = [f"{ask}: {', '.join(unsaid)}."] if unsaid else []
    return {
        **row,
        "state": _state(item, lacking, unsaid, answers),
        "links": [{"anchor": anchor, "title": title} for anchor, title in dict.fromkeys(links)],
        "notes": [*dict.fromkeys(lacking), *asked],
    }


def _state(item: Item, lacking: list[str], unsaid: list[str], answers: Mapping[str, str]) -> str:
    if lacking:
        return NOT_DONE
    if unsaid:
        return NEEDS_HUMAN
    reasons = [reason_not_applicable(answers.get(key, "")) for key in item.human]
    if reasons and all(reasons) and not item.evidence:
        return NOT_APPLICABLE
    return ANSWERED
