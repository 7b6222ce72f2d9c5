"""The data card: what a data set is, where it comes from, and what is wrong with it, in Markdown.

After Gebru et al. 2021 (Datasheets for Datasets) and Pushkarna et al. 2022 (Data Cards). What was
measured is written down; what only people know is theirs to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from diascope.data.manifest import COLUMNS, MEASURED
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.metrics.estimate import counted, plural
from diascope.reporting.checklists import find_questions
from diascope.reporting.division import data_notes, duplicates_text
from diascope.reporting.markdown import bullets, paragraphs, sections, table, words
from diascope.reporting.pseudonyms import Names
from diascope.reporting.summary import content_text, data_warnings
from diascope.reporting.tables import rejected_reasons, split_rows

ASKED = (
    "data_collection",
    "setting",
    "eligibility",
    "recruitment",
    "data_selection",
    "acquisition",
    "reference_standard",
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
    card: DatasetCard,
    fingerprint: Mapping[str, Any],
    manifest: pl.DataFrame,
    names: Names,
    *,
    audit: Mapping[str, Any] | None = None,
    answers: Mapping[str, str] | None = None,
) -> str:
    """Return the card of a data set.

    Parameters
    ----------
    card : DatasetCard
    fingerprint : mapping
        What was measured of it.
    manifest : DataFrame
        With its splits or folds.
    names : Names
        What must not occur.
    audit : mapping, optional
        The content of ``audit.json``.
    answers : mapping of str to str, optional
        What people said of it.
    """
    kind = "group" if card.group_kind == UNGROUPED else card.group_kind
    body = sections(
        [
            ("Source", _source(card, fingerprint)),
            ("Counts", _counts(card, manifest)),
            (f"Kinds of {words(kind)}", _kinds(fingerprint)),
            ("Content", _content(card, fingerprint, manifest)),
            ("Split", _split(card, fingerprint, manifest)),
            ("Duplicates", words(duplicates_text(fingerprint.get("duplicates") or {}, kind))),
            ("What to be wary of", bullets(names.cleaned_all(traps(card, fingerprint)))),
            ("Files left out", _left_out(fingerprint, names)),
            ("Audit", _audit(audit, names)),
            ("What people say of it", _said(answers or {}, names)),
        ]
    )
    return f"# Data card: {words(names.cleaned(card.title))}\n\n{body}\n"


def _source(card: DatasetCard, fingerprint: Mapping[str, Any]) -> str:
    rows = [
        ("name", card.name),
        ("modality", card.modality),
        ("from", card.homepage or "not stated"),
        ("licence", card.licence or "not stated"),
        ("please cite", card.citation or "not stated"),
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
        return f"{counts}\n\nImages. Which of them are of one patient is not known."
    return f"{counts}\n\nImages / {words(plural(card.group_kind))} that have some."


def _kinds(fingerprint: Mapping[str, Any]) -> str:
    kinds = fingerprint.get("group_kinds") or {}
    return bullets(f"{name}: {number:,}" for name, number in kinds.items())


def _content(card: DatasetCard, fingerprint: Mapping[str, Any], manifest: pl.DataFrame) -> str:
    own = {*COLUMNS, *MEASURED, "split"}
    others = [name for name in manifest.columns if name not in own and "split_fold" not in name]
    known = f"Besides the label, it has {', '.join(others)}."
    known = known if others else "There is no metadata but the label."
    found = [content_text(fingerprint, card.modality), known]
    return words(" ".join([*found, *data_notes(fingerprint)]))


def _split(card: DatasetCard, fingerprint: Mapping[str, Any], manifest: pl.DataFrame) -> str:
    if "fold" in manifest.columns:
        n_folds = manifest["fold"].n_unique()
        return words(f"{counted(n_folds, 'fold')} by {card.group_kind}, for a cross-validation.")
    split = fingerprint.get("split") or {}
    how = {
        "official": "The split came with the data.",
        "random": "Split at random, image by image: groups are on both sides.",
    }.get(
        split.get("mode", "grouped"),
        f"Split by {card.group_kind}; no {card.group_kind} is in two parts.",
    )
    seed = f" Seed {split['seed']}." if "seed" in split else ""
    return words(how + seed)


def traps(card: DatasetCard, fingerprint: Mapping[str, Any]) -> list[str]:
    """Return what whoever uses a data set must know, in sentences, by what was measured of it."""
    kind = card.group_kind
    found = [*((fingerprint.get("split") or {}).get("warnings") or []), *data_warnings(fingerprint)]
    kinds = fingerprint.get("group_kinds") or {}
    one_sided = {name: n for name, n in kinds.items() if name.endswith(" only")}
    if card.task.positive is not None and one_sided and len(one_sided) < len(kinds):
        n_one_sided = sum(one_sided.values())
        found.append(
            f"{counted(n_one_sided, kind)} of {sum(kinds.values()):,} "
            f"{'has' if n_one_sided == 1 else 'have'} images of one class alone: who recognises "
            f"the {kind} knows the label."
        )
    n_tiny = fingerprint.get("n_tiny") or 0
    if n_tiny:
        found.append(f"{counted(n_tiny, 'image')} under 8 px on a side show next to nothing.")
    if kind == UNGROUPED:
        found.append("Images of one patient may lie in several parts: none are known.")
    return list(dict.fromkeys(found))


def _left_out(fingerprint: Mapping[str, Any], names: Names) -> str:
    rows = rejected_reasons(fingerprint, names)
    return bullets(f"{row['reason']}: {counted(row['n_files'], 'file')}" for row in rows)


def _audit(audit: Mapping[str, Any] | None, names: Names) -> str:
    if audit is None:
        return "These data were not audited: run `diascope audit` on them."
    seen = f"{audit['n_images']:,} of {audit['n_in_data']:,} images were looked at"
    headlines = names.cleaned_all(list(audit["headlines"])) or ["Nothing was flagged."]
    suspects = audit.get("suspects")
    told = [f"{counted(suspects['n_suspects'], 'label')} may be wrong."] if suspects else []
    odd = [
        f"{one['name']}: {counted(one['n_images'], 'image')}"
        for one in audit.get("quality") or []
        if one["n_images"]
    ]
    head = words(f"{seen}; the labels of test stayed sealed.")
    return f"{head}\n\n{bullets([*headlines, *told, *odd])}"


def _said(answers: Mapping[str, str], names: Names) -> str:
    questions = find_questions()
    keys = [key for key in ASKED if key in answers]
    cleaned = names.cleaned_all([answers[key] for key in keys])
    said = dict(zip(keys, cleaned, strict=True))
    return "\n\n".join(
        f"**{questions[key].title}.** {paragraphs(said.get(key, ''))}" for key in ASKED
    )
