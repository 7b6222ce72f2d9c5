"""What is known of a study without asking: from the card of the data, and from the run itself."""

from __future__ import annotations

from diascope.data.spec import UNGROUPED
from diascope.data.story import Statement
from diascope.reporting.report.characteristics import characteristics
from diascope.reporting.report.facts import Facts
from diascope.system.words import plural

THIS_RUN = "this run"


def statements(facts: Facts) -> dict[str, Statement]:
    """Return what is known by question: by the answers of people, or else without asking."""
    answers = {key: Statement(text) for key, text in facts.answers.items()}
    return told_without_asking(facts) | answers


def told_without_asking(facts: Facts) -> dict[str, Statement]:
    """Return what the card of the data and the run itself answer, by question."""
    found = dict(facts.dataset.story)
    if found and not facts.fingerprint.get("data_path"):
        found["sample_size"] = Statement(_sample_size(facts), THIS_RUN)
    of_people = found.get("characteristics")
    is_open = of_people is None or not of_people.is_reported
    if is_open and characteristics(facts.manifest, facts.group_kind)[1]:
        text = "What the metadata hold is listed by split and by class under Data, Table 1."
        found["characteristics"] = Statement(text, THIS_RUN)
    return found


def _sample_size(facts: Facts) -> str:
    """Say where the numbers come from: of a public collection nobody calculated them."""
    kinds = plural(facts.group_kind if facts.is_grouped else UNGROUPED)
    split = facts.fingerprint.get("split") or {}
    fractions = ", ".join(f"{100 * part:g} %" for part in split.get("fractions") or ())
    how = f"by whole {kinds} ({fractions} of the images)" if fractions else f"by whole {kinds}"
    if facts.run.is_cross_validation:
        how = f"into folds of whole {kinds}, each tested once"
    elif split.get("mode") == "official":
        how = "as published"
    return (
        "No sample size was calculated: all usable images of this public collection that were "
        f"there, {facts.manifest.height:,}, were taken and divided {how}. The intervals show how "
        "precise the results are."
    )
