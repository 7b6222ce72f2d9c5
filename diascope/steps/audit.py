"""Audit: find what is wrong with a data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from diascope.audit import MOST_IMAGES
from diascope.audit.findings import Findings, examine
from diascope.audit.measure import Measures, measure_images
from diascope.data.duplicates.within_groups import WithinGroups, near_within_groups
from diascope.data.pictures import Pictures
from diascope.data.prepared import Prepared, dataset_name, load_prepared, save_audit
from diascope.data.sources.folder import open_files
from diascope.errors import SettingsError, SourceError
from diascope.reporting.audit.page import headlines, render_audit
from diascope.reporting.audit.pictures import draw_pictures
from diascope.reporting.cards.data_card import data_card
from diascope.reporting.class_titles import (
    titled_card,
    titled_findings,
    titled_fingerprint,
    titled_table,
)
from diascope.reporting.pseudonyms import Names, cleaned_card, pseudonyms, true_names
from diascope.system.files import write_json, write_text
from diascope.system.places import on_disk
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.spreadsheets import defused


def audit(
    data: str,
    *,
    out: Path | str | None = None,
    seed: int = 0,
    most_images: int = MOST_IMAGES,
    show_ids: bool = False,
    progress: ShowProgress = silent,
) -> tuple[Path, dict[str, Any]]:
    """Look for shortcuts, leaks, duplicates, wrong labels and bad images in a prepared data set.

    Only labels of train and val are read: those of the test images are sealed, and except for the
    counts of ``prepare``, which the data card repeats, nothing depends on them. The same data and
    seed give the same bytes.

    Parameters
    ----------
    data : str
        Name or path of a prepared data set.
    out : path, optional
        The folder to write into; by default ``audits/<name>``. Files of the same names are
        replaced, nothing else is touched.
    seed : int
        Of the folds, the resamples, and the sample of a large data set.
    most_images : int
        Examine no more than this many images, chosen at random.
    show_ids : bool
        Show the true names of groups and images on the page.

    Returns
    -------
    path : Path
        ``audit.html``; beside it are ``audit.json``, ``data_card.md`` and, where labels could be
        judged, ``suspects.csv``, which has true ids: it is for correcting the labels.
    facts : dict
        The content of ``audit.json``.

    Raises
    ------
    SettingsError
        The seed or the number of images is impossible.
    DiascopeError
        The data set has not been prepared, or its images have gone or changed.
    """
    if seed < 0 or most_images < 1:
        raise SettingsError("A seed is a whole number from 0 on, and --most-images at least 1.")
    prepared = load_prepared(dataset_name(data))
    names = _names(prepared, show_ids=show_ids)
    dataset = cleaned_card(prepared.dataset, names)
    fingerprint = names.cleaned_in(prepared.fingerprint)
    images = prepared.manifest.sort("image_id")
    if images.height > most_images:
        images = images.sample(most_images, seed=seed).sort("image_id")
    with open_files(prepared.fingerprint["source"]) as files:
        pictures = Pictures(files, images, dataset.decoding)
        measures = measure_images(pictures, progress=progress)
        within = _near_within(prepared, images, measures, pictures, progress)
        findings = examine(
            images,
            measures,
            task=dataset.task,
            group_kind=dataset.group_kind,
            mode=fingerprint.get("split", {}).get("mode", "grouped"),
            pairs=_together(prepared.pairs, within),
            seed=seed,
            progress=progress,
        )
        titled = titled_findings(findings, dataset)
        shown = draw_pictures(titled, pictures, names=names)
    folder = on_disk(out) if out is not None else Path("audits") / dataset.name
    facts = {
        "data": dataset.name,
        "seed": seed,
        "n_in_data": prepared.manifest.height,
        "near_duplicates_searched": within is not None,
        "near_within_groups": within
        and {
            "n_alike": within.n_proposed,
            "n_compared": within.n_compared,
        },
        "headlines": headlines(titled),
        **findings.as_dict(),
    }
    if findings.suspects is not None:
        write_text(folder / "suspects.csv", defused(suspects_table(findings)).write_csv())
    else:
        (folder / "suspects.csv").unlink(missing_ok=True)  # of an audit before
    write_json(folder / "audit.json", facts)
    _save_for_reports(prepared, facts, progress)
    card = data_card(
        titled_card(dataset),
        titled_fingerprint(fingerprint, dataset),
        titled_table(prepared.manifest, dataset),
        audit=names.cleaned_in(facts),
    )
    write_text(folder / "data_card.md", card)
    page = render_audit(
        titled,
        facts | {"group_kinds": titled.as_dict()["group_kinds"]},
        shown,
        card=titled_card(dataset),
        notes=list(fingerprint.get("notes", [])),
    )
    return write_text(folder / "audit.html", page), facts


def _save_for_reports(prepared: Prepared, facts: Mapping[str, Any], progress: ShowProgress) -> None:
    """Store the findings beside the data; where that cannot be, the page is there all the same."""
    try:
        save_audit(prepared, facts)
    except SourceError as error:
        remark = f"Reports will not have the findings of this audit: {error.problem}"
        progress(Progress("auditing", 1, 1, remark=remark))


def _together(pairs: pl.DataFrame | None, within: WithinGroups | None) -> pl.DataFrame | None:
    if pairs is None or within is None:
        return pairs
    return pl.concat([pairs, within.pairs], how="diagonal_relaxed")


def _near_within(
    prepared: Prepared,
    images: pl.DataFrame,
    measures: Measures,
    pictures: Pictures,
    progress: ShowProgress,
) -> WithinGroups | None:
    """Search within groups as well, where ``prepare`` searched across them."""
    searched = (prepared.fingerprint.get("duplicates") or {}).get("near_searched")
    if prepared.pairs is None or not searched:
        return None
    return near_within_groups(
        images, measures.small, pictures.__getitem__, known=prepared.pairs, progress=progress
    )


def _names(prepared: Prepared, *, show_ids: bool) -> Names:
    manifest = prepared.manifest
    return true_names(manifest) if show_ids else pseudonyms(manifest, prepared.dataset.group_kind)


def suspects_table(findings: Findings) -> pl.DataFrame:
    """Return the suspects, the most suspicious first: a row an image, none of test.

    Returns
    -------
    DataFrame
        ``number`` (as on the page), ``image_id, path, split, group, label, suggested, margin``,
        and ``new_label``, empty, for whoever looks at the images to fill in.
    """
    assert findings.suspects is not None  # noqa: S101 - for the type checker
    suspects = findings.suspects
    rows = findings.probed[suspects.rows]
    classes = np.array(findings.task.classes)
    return (
        rows.select("image_id", "path", "split", "group", "label")
        .with_columns(
            number=pl.int_range(1, pl.len() + 1),
            suggested=pl.Series(classes[suspects.suggested].tolist(), dtype=pl.String),
            margin=pl.Series(suspects.margins).round(4),
            new_label=pl.lit(""),
        )
        .select("number", pl.exclude("number"))
    )
