"""Data: where the images come from, how many there are, and which were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from diascope.data.visible import describe_sixteen_bits, describe_visible
from diascope.data.window import describe_dicom
from diascope.reporting.report.characteristics import characteristics
from diascope.reporting.report.facts import Facts, parts_of
from diascope.reporting.report.labels import label_notes
from diascope.system.words import counted, first_of

WORTH_A_WARNING = 0.01  # the fraction of empty images in a data set


def section(facts: Facts) -> dict[str, Any]:
    """Return the flow of images, counts by split and class, age and sex, and the source."""
    fingerprint = facts.fingerprint
    rejected = fingerprint.get("rejected") or []
    kinds = fingerprint.get("group_kinds") or {}
    columns, described = characteristics(facts.manifest, facts.group_kind, facts.classes)
    return {
        "flow": flow(fingerprint, facts.manifest.height),
        "n_joined": (fingerprint.get("duplicates") or {}).get("groups_joined", 0),
        "rows": split_rows(facts.manifest, facts.classes),
        "titles": [
            (name, title) for name, title in facts.dataset.class_titles.items() if name != title
        ],
        "table_columns": columns,
        "table_rows": described,
        "group_kinds": ", ".join(f"{name} {n:,}" for name, n in kinds.items()),
        "notes": data_notes(fingerprint),
        "rejected": [
            {
                "reason": reason,
                "n_files": n_files,
                "paths": [one["path"] for one in rejected if one["reason"] == reason],
            }
            for reason, n_files in rejected_reasons(fingerprint)
        ],
        "content": content_text(fingerprint, facts.dataset.modality),
    }


@dataclass(frozen=True)
class Step:
    """A box of the flow diagram: images that are there, or that are excluded, and why."""

    n_images: int
    text: str
    is_exclusion: bool = False
    reasons: tuple[tuple[str, int], ...] = ()  # each with its number of images


def _published(fingerprint: Mapping[str, Any], n_found: int) -> list[Step]:
    """Return how many images the complete data set has, where not all of them were there."""
    expected = fingerprint.get("expected_images")
    if not expected or expected <= n_found:
        return []
    missing = Step(expected - n_found, "not in this copy of the data", is_exclusion=True)
    return [Step(expected, "images published"), missing]


def flow(fingerprint: Mapping[str, Any], n_in_run: int) -> list[Step]:
    """Return the flow of images from those found to those of the run; the numbers add up.

    Parameters
    ----------
    fingerprint : mapping
        Of the data as they were trained on.
    n_in_run : int
        The images in the manifest of the run.

    Returns
    -------
    list of Step
        The images found first and those of the run last; between them what was excluded, each
        kind with its reasons.
    """
    rejected = fingerprint.get("rejected") or []
    n_found = fingerprint.get("found", fingerprint["n_images"] + len(rejected))
    by_hand = (fingerprint.get("labels") or {}).get("excluded") or []
    n_by_hand = sum(one["n_images"] for one in by_hand)
    n_left = n_found - len(rejected) - (fingerprint.get("left_out") or 0) - n_by_hand
    exclusions = [
        Step(len(rejected), "cannot be used", True, tuple(rejected_reasons(fingerprint))),
        Step(fingerprint.get("left_out") or 0, "in no list of the official split", True),
        Step(
            n_by_hand,
            "excluded by hand",
            True,
            tuple((f"{one['label']}, {one['split']}", one["n_images"]) for one in by_hand),
        ),
        Step(max(0, n_left - n_in_run), "test images, sealed and in no fold", True),
    ]
    return [
        *_published(fingerprint, n_found),
        Step(n_found, "images found"),
        *(step for step in exclusions if step.n_images),
        Step(n_in_run, "images of this run"),
    ]


def split_rows(manifest: pl.DataFrame, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Count images and groups of every class in every split (or fold), and in all.

    Returns
    -------
    list of dict
        ``name, n_images, n_groups`` and ``classes``, a list of ``n_images, n_groups`` in label
        order.
    """
    return [
        {
            "name": name,
            **_counts(part),
            "classes": [_counts(part.filter(pl.col("label") == label)) for label in classes],
        }
        for name, part in {**parts_of(manifest), "all": manifest}.items()
    ]


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    return {"n_images": rows.height, "n_groups": rows["group"].n_unique()}


def rejected_reasons(fingerprint: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Count the files left out by reason, the most frequent first."""
    rejected = fingerprint.get("rejected") or []
    return Counter(str(one["reason"]) for one in rejected).most_common()


def data_warnings(fingerprint: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the data, by their fingerprint."""
    found = list(fingerprint.get("notes", ()))
    expected = fingerprint.get("expected_images")
    if not fingerprint.get("complete", True):
        of_all = f" of {expected:,}" if expected else ""
        found.append(
            f"Only a part of the data set was there: {fingerprint['n_images']:,}{of_all} images. "
            "The figures are not comparable with published ones."
        )
    elif fingerprint.get("content_verified") is False:
        found.append(
            "The content does not have the published checksum: it differs from what others used."
        )
    n_conflicts = (fingerprint.get("duplicates") or {}).get("across_labels", 0)
    if n_conflicts:
        found.append(
            f"{counted(n_conflicts, 'picture')} {'is' if n_conflicts == 1 else 'are'} filed under "
            "several classes: at least one of the labels of each is wrong."
        )
    if conflicts := (fingerprint.get("duplicates") or {}).get("conflicts"):
        found.append(_conflicts_text(conflicts))
    rejected = fingerprint.get("rejected") or []
    if rejected:
        found.append(
            f"{counted(len(rejected), 'file')} could not be used and "
            f"{'was' if len(rejected) == 1 else 'were'} left out."
        )
    return found + describe_visible(fingerprint, least=WORTH_A_WARNING)


def _conflicts_text(conflicts: Sequence[Mapping[str, Any]]) -> str:
    """Name the classes under which near-duplicates are filed that have two labels."""
    n_pairs = sum(one["n_pairs"] for one in conflicts)
    classes = [f"{' and '.join(one['labels'])}: {one['n_pairs']:,}" for one in conflicts]
    return (
        f"{counted(n_pairs, 'pair')} of near-duplicates {'is' if n_pairs == 1 else 'are'} filed "
        f"under two classes ({first_of(classes)}): of each pair, one label at most is right. They "
        "are listed in duplicates.parquet of the prepared data."
    )


def data_notes(fingerprint: Mapping[str, Any]) -> list[str]:
    """Say which images were not used, which labels were changed, and how the data were read."""
    found = []
    n_left = fingerprint.get("left_out") or 0
    if n_left:
        found.append(f"{counted(n_left, 'image')} in no list of the official split were left out.")
    n_unlisted = (fingerprint.get("unlisted") or {}).get("n_files", 0)
    if n_unlisted:
        found.append(f"{counted(n_unlisted, 'image file')} in no row of the data were not used.")
    for one in fingerprint.get("not_taken") or ():
        found.append(f"{counted(one['n_files'], 'file')} not used: {one['kind']}.")
    remarks = fingerprint.get("remarks") or []
    found += label_notes(fingerprint)
    found += describe_sixteen_bits(fingerprint)
    found += describe_dicom(fingerprint)
    return [*found, *(f"{remark[:1].upper()}{remark[1:]}." for remark in remarks)]


def content_text(fingerprint: Mapping[str, Any], modality: str) -> str:
    """Say what the images are, and whether they are the published ones."""
    spans = " and ".join(
        f"{_span(fingerprint[f'{side}_px'])} px {word}"
        for side, word in (("width", "wide"), ("height", "high"))
    )
    verified = {
        True: "The content has the published checksum.",
        False: "The content does not have the published checksum of the complete data set.",
        None: "There is no published checksum of the complete data set to compare with.",
    }[fingerprint.get("content_verified")]
    return f"{modality[:1].upper()}{modality[1:]}; {spans}. {verified}"


def _span(sizes: Mapping[str, float]) -> str:
    low, middle, high = (f"{sizes[key]:,.0f}" for key in ("min", "median", "max"))
    return low if low == high else f"{low} to {high} (median {middle})"
