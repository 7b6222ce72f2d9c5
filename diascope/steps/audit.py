"""Audit: what is wrong with a data set, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.atomic import write_json, write_text
from diascope.audit import MOST_IMAGES
from diascope.audit.findings import Findings, examine
from diascope.audit.measure import Measures, measure_images
from diascope.audit.near_within import WithinGroups, near_within_groups
from diascope.data.files import FileTree, open_files
from diascope.data.image import decode_image
from diascope.data.pack import read_unchanged
from diascope.errors import SettingsError
from diascope.prepared import Prepared, dataset_name, load_prepared, save_audit
from diascope.progress import Watch, silent
from diascope.reporting.audit_page import headlines, render_audit
from diascope.reporting.audit_pictures import Names, draw_pictures
from diascope.reporting.data_card import data_card
from diascope.reporting.pseudonyms import pseudonyms, true_names


def audit(
    data: str,
    *,
    out: Path | str | None = None,
    seed: int = 0,
    most_images: int = MOST_IMAGES,
    show_ids: bool = False,
    watch: Watch = silent,
) -> tuple[Path, dict[str, Any]]:
    """Look for shortcuts, leaks, duplicates, wrong labels and bad images in a prepared data set.

    Labels are read of train and val alone: those of the test images are sealed, and but for the
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
        Of more images, as many drawn at random are looked at.
    show_ids : bool
        Give the true names of groups and images on the page.
    watch : callable
        Told the progress.

    Returns
    -------
    path : Path
        ``audit.html``; beside it are ``audit.json``, ``data_card.md`` and, where labels could be
        judged, ``suspects.csv``, which has true ids: it is for whoever mends the labels.
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
    card, fingerprint = prepared.card, prepared.fingerprint
    images = prepared.manifest.sort("image_id")
    if images.height > most_images:
        images = images.sample(most_images, seed=seed).sort("image_id")
    with open_files(Path(fingerprint["source"])) as files:
        background = card.alpha_background
        measures = measure_images(files, images, alpha_background=background, watch=watch)
        within = _near_within(prepared, images, measures, files, watch)
        findings = examine(
            images,
            measures,
            task=card.task,
            group_kind=card.group_kind,
            mode=fingerprint.get("split", {}).get("mode", "grouped"),
            pairs=_together(prepared.pairs, within),
            seed=seed,
            watch=watch,
        )
        names = _names(prepared, show_ids=show_ids)

        def read(path: str, sha256: str) -> NDArray[np.uint8]:
            return _read(files, path, sha256, background)

        pictures = draw_pictures(findings, read, names=names)
    folder = Path(out) if out is not None else Path("audits") / card.name
    facts = {
        "data": card.name,
        "seed": seed,
        "n_in_data": prepared.manifest.height,
        "near_duplicates_searched": within is not None,
        "near_within_groups": within
        and {
            "n_alike": within.n_proposed,
            "n_compared": within.n_compared,
        },
        "headlines": headlines(findings),
        **findings.as_dict(),
    }
    if findings.suspects is not None:
        write_text(folder / "suspects.csv", suspects_table(findings).write_csv())
    else:
        (folder / "suspects.csv").unlink(missing_ok=True)  # of an audit before
    write_json(folder / "audit.json", facts)
    save_audit(prepared, facts)
    write_text(
        folder / "data_card.md", data_card(card, fingerprint, prepared.manifest, names, audit=facts)
    )
    page = render_audit(
        findings, facts, pictures, card=card, notes=list(fingerprint.get("notes", []))
    )
    return write_text(folder / "audit.html", page), facts


def _together(pairs: pl.DataFrame | None, within: WithinGroups | None) -> pl.DataFrame | None:
    if pairs is None or within is None:
        return pairs
    return pl.concat([pairs, within.pairs], how="diagonal_relaxed")


def _near_within(
    prepared: Prepared, images: pl.DataFrame, measures: Measures, files: FileTree, watch: Watch
) -> WithinGroups | None:
    """Look within groups as well, where ``prepare`` looked across them."""
    searched = (prepared.fingerprint.get("duplicates") or {}).get("near_searched")
    if prepared.pairs is None or not searched:
        return None
    places = list(images.select("path", "sha256").iter_rows())
    background = prepared.card.alpha_background

    def read(row: int) -> NDArray[np.uint8]:
        path, sha256 = places[row]
        return _read(files, path, sha256, background)

    return near_within_groups(images, measures.small, read, known=prepared.pairs, watch=watch)


def _names(prepared: Prepared, *, show_ids: bool) -> Names:
    manifest = prepared.manifest
    return true_names(manifest) if show_ids else pseudonyms(manifest, prepared.card.group_kind)


def _read(files: FileTree, path: str, sha256: str, background: str) -> NDArray[np.uint8]:
    return decode_image(read_unchanged(files, path, sha256), alpha_background=background)


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
