"""Compare a run with reporting checklists: what it answers, and what people have to answer.

After Tejani et al. 2024 (CLAIM 2024), Collins et al. 2024 (TRIPOD+AI) and Sounderajah et al. 2025
(STARD-AI). The evidence of an item counts as located only where the run holds all of it, and where
the card of the data or people answered what is asked of them; "not reported" answers nothing.
Nobody judges how good an answer is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from diascope.reporting.dossier.checklists import Checklist, Item, find_checklists, find_questions
from diascope.reporting.dossier.pieces import EVIDENCE
from diascope.reporting.dossier.questions import open_questions, reason_not_applicable
from diascope.reporting.dossier.told import statements
from diascope.reporting.report.facts import Facts

LOCATED, PARTIAL, AUTHOR_INPUT = "evidence located", "partial", "author input"
NOT_LOCATED, NOT_APPLICABLE = "not located", "not applicable"
STATES = (LOCATED, PARTIAL, AUTHOR_INPUT, NOT_LOCATED, NOT_APPLICABLE)


def section(facts: Facts) -> dict[str, Any]:
    """Return every checklist with the state of its items, the answers, and the open questions."""
    questions, known = find_questions(), statements(facts)
    answers = {key: one.text for key, one in known.items() if one.is_reported}
    unreported = [key for key, one in known.items() if not one.is_reported]
    return {
        "checklists": [
            _table(checklist, facts, answers, unreported) for checklist in find_checklists()
        ],
        "answered": [
            {"key": key, "title": questions[key].title, "answer": text, "source": known[key].source}
            for key, text in answers.items()
        ],
        "unreported": [
            {"title": questions[key].title, "source": known[key].source} for key in unreported
        ],
        "unanswered": [
            {"key": key, "asks": questions[key].asks} for key in open_questions(answers)
        ],
    }


def _table(
    checklist: Checklist, facts: Facts, answers: Mapping[str, str], unreported: Collection[str]
) -> dict[str, Any]:
    sections = [
        {
            "name": part.name,
            "rows": [judge(item, facts, answers, unreported) for item in part.items],
        }
        for part in checklist.sections
    ]
    counts = Counter(item["state"] for section in sections for item in section["rows"])
    return {
        "name": checklist.name,
        "title": checklist.title,
        "source": checklist.source,
        "counts": [(state, counts[state]) for state in STATES],
        "sections": sections,
    }


def judge(
    item: Item, facts: Facts, answers: Mapping[str, str], unreported: Collection[str] = ()
) -> dict[str, Any]:
    """Return the state of an item.

    Parameters
    ----------
    unreported : collection of str
        The questions that the publisher of the data leaves open.

    Returns
    -------
    dict
        ``number, text``; ``state``, one of `STATES`; ``links`` (``anchor, title``) to the evidence
        and answers, and ``notes``, what is missing or why it does not apply.
    """
    row: dict[str, Any] = {"number": item.number, "text": item.text, "links": [], "notes": []}
    exempt = item.not_applicable
    if exempt and not (exempt.unless and EVIDENCE[exempt.unless].is_there(facts)):
        return {**row, "state": NOT_APPLICABLE, "notes": [exempt.because]}
    here = [key for key in item.evidence if EVIDENCE[key].is_there(facts)]
    lacking = [EVIDENCE[key].otherwise for key in item.evidence if key not in here]
    answered = [key for key in item.human if key in answers]
    is_begun = bool(here or answered)
    unanswered = [key for key in item.human if key not in answers]
    if item.either and (answered or not lacking):
        lacking, unanswered = [], []
    here += [key for key in item.see if EVIDENCE[key].is_there(facts)]
    links = [(EVIDENCE[key].anchor, EVIDENCE[key].title) for key in here]
    questions = find_questions()
    links += [(f"answer-{key.replace('_', '-')}", questions[key].title) for key in answered]
    ask = "Or to be answered" if item.either else "To be answered"
    asked = [f"{ask}: {', '.join(unanswered)}."] if unanswered else []
    silent = [key for key in unanswered if key in unreported]
    asked += [f"Not reported by the publisher of the data: {', '.join(silent)}."] if silent else []
    return {
        **row,
        "state": _state(item, is_begun, lacking, unanswered, answers),
        "links": [{"anchor": anchor, "title": title} for anchor, title in dict.fromkeys(links)],
        "notes": [*dict.fromkeys(lacking), *asked],
    }


def _state(
    item: Item,
    is_begun: bool,
    lacking: list[str],
    unanswered: list[str],
    answers: Mapping[str, str],
) -> str:
    if lacking or unanswered:
        if is_begun:
            return PARTIAL
        return NOT_LOCATED if lacking else AUTHOR_INPUT
    reasons = [reason_not_applicable(answers.get(key, "")) for key in item.human]
    if reasons and all(reasons) and not item.evidence:
        return NOT_APPLICABLE
    return LOCATED
