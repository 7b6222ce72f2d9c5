"""The data card: what a data set is, where it comes from, and what is wrong with it, in Markdown.

After Gebru et al. 2021 (Datasheets for Datasets) and Pushkarna et al. 2022 (Data Cards). It has
what was measured, what the publication says, and the answers of people to what only they know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from diascope.data.identities import identity_columns, subgroup_columns
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.data.story import Statement
from diascope.reporting.cards.markdown import (
    NOT_STATED,
    bullets,
    paragraphs,
    sections,
    table,
    words,
)
from diascope.reporting.dossier.checklists import find_questions
from diascope.reporting.report.data import (
    content_text,
    data_notes,
    data_warnings,
    rejected_reasons,
    split_rows,
)
from diascope.reporting.report.split import duplicates_text, screened_text
from diascope.system.words import counted, plural

ASKED = (
    "study_design",
    "data_collection",
    "setting",
    "eligibility",
    "recruitment",
    "data_selection",
    "acquisition",
    "reference_standard",
    "reference_standard_reason",
    "annotators",
    "annotation_agreement",
    "missing_data",
    "characteristics",
    "representativeness",
    "deidentification",
    "ethics",
    "data_availability",
)


def data_card(
    dataset: DatasetCard,
    fingerprint: Mapping[str, Any],
    manifest: pl.DataFrame,
    *,
    audit: Mapping[str, Any] | None = None,
    statements: Mapping[str, Statement] | None = None,
) -> str:
    """Return the card of a data set.

    Its texts stand in the card as they are: true names must be out of them, and the titles of
    classes in. Rows of the manifest are only counted.

    Parameters
    ----------
    audit : mapping, optional
        The content of ``audit.json``.
    statements : mapping, optional
        What is known, by question; by default, what the card of the data set says.
    """
    kind = "group" if dataset.group_kind == UNGROUPED else dataset.group_kind
    body = sections(
        [
            ("Source", _source(dataset, fingerprint)),
            ("Counts", _counts(dataset, manifest)),
            (f"Kinds of {words(kind)}", _kinds(fingerprint)),
            ("Content", _content(dataset, fingerprint, manifest)),
            ("Split", _split(dataset, fingerprint, manifest)),
            ("Duplicates", words(duplicates_text(fingerprint.get("duplicates") or {}, kind))),
            ("Known problems", bullets(known_problems(dataset, fingerprint))),
            ("Files left out", _left_out(fingerprint)),
            ("Audit", _audit(audit)),
            ("How the data came about", _story(statements or dataset.story)),
        ]
    )
    return f"# Data card: {words(dataset.title)}\n\n{body}\n"


def _source(card: DatasetCard, fingerprint: Mapping[str, Any]) -> str:
    rows = [
        ("name", card.name),
        ("modality", card.modality),
        ("source", card.homepage or "not stated"),
        ("licence", card.licence or "not stated"),
        ("citation", card.citation or "not stated"),
        ("SHA-256 of the content", fingerprint.get("content_sha256") or "not computed"),
    ]
    return bullets(f"{name}: {value}" for name, value in rows)


def _counts(card: DatasetCard, manifest: pl.DataFrame) -> str:
    rows = split_rows(manifest, card.task.classes)
    is_grouped = card.group_kind != UNGROUPED

    def count(one: Mapping[str, int]) -> str:
        groups = f" / {one['n_groups']:,}" if is_grouped else ""
        return f"{one['n_images']:,}{groups}"

    head = ["", "all classes", *card.task.classes]
    counts = table(
        head, [(row["name"], count(row), *(count(one) for one in row["classes"])) for row in rows]
    )
    if not is_grouped:
        counts = f"{counts}\n\nImages. It is not known which of them are from one patient."
    else:
        counts = f"{counts}\n\nImages / {words(plural(card.group_kind))} that have any."
    titles = [f"{name}: {title}" for name, title in card.class_titles.items() if name != title]
    return f"{counts}\n\nClasses by their keys in files:\n\n{bullets(titles)}" if titles else counts


def _kinds(fingerprint: Mapping[str, Any]) -> str:
    kinds = fingerprint.get("group_kinds") or {}
    return bullets(f"{name}: {number:,}" for name, number in kinds.items())


def _content(card: DatasetCard, fingerprint: Mapping[str, Any], manifest: pl.DataFrame) -> str:
    shown, identities = subgroup_columns(manifest), identity_columns(manifest)
    known = f"Metadata besides the label: {', '.join(shown)}."
    known = known if shown else "There is no metadata but the label."
    found = [content_text(fingerprint, card.modality), known]
    if identities:
        kept_out = ", ".join(f"{name} ({reason})" for name, reason in identities.items())
        found.append(
            f"Kept out of all results because they look like identities: {kept_out}; give a column "
            "that is none another name."
        )
    return words(" ".join([*found, *data_notes(fingerprint)]))


def _split(card: DatasetCard, fingerprint: Mapping[str, Any], manifest: pl.DataFrame) -> str:
    if "fold" in manifest.columns:
        n_folds = manifest["fold"].n_unique()
        return words(f"{counted(n_folds, 'fold')} by {card.group_kind}, for a cross-validation.")
    split = fingerprint.get("split") or {}
    how = {
        "official": "The split came with the data.",
        "random": "Split at random, image by image: the parts share groups.",
    }.get(
        split.get("mode", "grouped"),
        f"Split by {card.group_kind}; no {card.group_kind} is in two parts.",
    )
    seed = f" Seed {split['seed']}." if "seed" in split else ""
    screened = screened_text(fingerprint, card.group_kind)
    return words(" ".join(filter(None, [how + seed, screened])))


def known_problems(card: DatasetCard, fingerprint: Mapping[str, Any]) -> list[str]:
    """Return what every user of a data set must know, in sentences, as far as it was measured."""
    kind = card.group_kind
    found = [*((fingerprint.get("split") or {}).get("warnings") or []), *data_warnings(fingerprint)]
    kinds = fingerprint.get("group_kinds") or {}
    one_sided = {name: n for name, n in kinds.items() if name.endswith(" only")}
    if card.task.positive is not None and one_sided and len(one_sided) < len(kinds):
        n_one_sided = sum(one_sided.values())
        found.append(
            f"{counted(n_one_sided, kind)} of {sum(kinds.values()):,} "
            f"{'has' if n_one_sided == 1 else 'have'} images of one class only: recognising the "
            f"{kind} gives the label away."
        )
    n_tiny = fingerprint.get("n_tiny") or 0
    if n_tiny:
        found.append(f"{counted(n_tiny, 'image')} under 8 px on a side show almost nothing.")
    if kind == UNGROUPED:
        found.append("Images of one patient may lie in several parts: patients are not known.")
    return list(dict.fromkeys(found))


def _left_out(fingerprint: Mapping[str, Any]) -> str:
    not_taken = [(str(one["kind"]), one["n_files"]) for one in fingerprint.get("not_taken") or ()]
    rows = [*rejected_reasons(fingerprint), *not_taken]
    return bullets(f"{reason}: {counted(n_files, 'file')}" for reason, n_files in rows)


def _audit(audit: Mapping[str, Any] | None) -> str:
    if audit is None:
        return "These data were not audited: run `diascope audit` on them."
    examined = f"{audit['n_images']:,} of {audit['n_in_data']:,} images were examined"
    headlines = audit["headlines"] or ["Nothing was flagged."]
    suspects = audit.get("suspects")
    suspected = [_suspected(suspects)] if suspects else []
    odd = [
        f"{one['name']}: {counted(one['n_images'], 'image')}"
        for one in audit.get("quality") or []
        if one["n_images"]
    ]
    head = words(f"{examined}; the labels of test stayed sealed.")
    return f"{head}\n\n{bullets([*headlines, *suspected, *odd])}"


def _suspected(suspects: Mapping[str, Any]) -> str:
    accuracy = suspects.get("probe_balanced_accuracy")
    own = f", whose own balanced accuracy is {accuracy:.3f}" if accuracy is not None else ""
    return (
        f"{counted(suspects['n_suspects'], 'label')} implausible to a simple probe{own}: for a "
        "person to review, not a count of wrong labels."
    )


def _story(statements: Mapping[str, Statement]) -> str:
    questions = find_questions()
    return "\n\n".join(
        f"**{questions[key].title}.** {_stated(statements.get(key))}" for key in ASKED
    )


def _stated(statement: Statement | None) -> str:
    if statement is None:
        return NOT_STATED
    text = paragraphs(statement.text) if statement.is_reported else "Not reported."
    return f"{text} (Source: {words(statement.source)})" if statement.source else text
