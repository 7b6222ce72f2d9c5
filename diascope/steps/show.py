"""Show: the pictures to look at before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from diascope.data.manifest import SPLITS
from diascope.data.pictures import Pictures
from diascope.data.prepared import Prepared, dataset_name, load_prepared
from diascope.data.sources.folder import open_files
from diascope.data.visible import describe_sixteen_bits, describe_visible
from diascope.data.window import describe_dicom, lacks_windows
from diascope.errors import SettingsError
from diascope.reporting.class_titles import titled_card, titled_table
from diascope.reporting.pseudonyms import pseudonyms, true_names
from diascope.reporting.show.page import render_show
from diascope.reporting.show.plates import View, draw_plates
from diascope.system.files import write_bytes, write_text
from diascope.system.places import on_disk
from diascope.system.progress import ShowProgress, silent

UNSEALED = ("train", "val")
PER = ("class", "group")


def show(
    data: str,
    *,
    out: Path | str | None = None,
    per: str = "class",
    split: str | None = None,
    show_ids: bool = False,
    progress: ShowProgress = silent,
) -> Path:
    """Draw examples, balance, sizes and brightness of a prepared data set, and return the page.

    Pictures and measures are of train and val: the test images are sealed and only counted, unless
    ``split="test"``. The same data give the same bytes. Groups bear pseudonyms unless
    ``show_ids``.

    Parameters
    ----------
    data : str
        Name or path of a prepared data set.
    out : path, optional
        The folder to write into; by default ``looks/<name>``. Pictures of the same names are
        replaced, nothing else is touched.
    per : str
        ``"class"``, or ``"group"`` for rows of examples of single groups too.
    split : str, optional
        Show this split alone: ``"train"``, ``"val"`` or ``"test"``.
    show_ids : bool
        Show the true names of groups.

    Returns
    -------
    Path
        ``index.html``, which holds all pictures; each is also a ``.png`` beside it.

    Raises
    ------
    SettingsError
        There are no images to show, or an option has an unknown value.
    DiascopeError
        The data set has not been prepared, or its images have gone or changed.
    """
    if per not in PER:
        raise SettingsError(f"--per is class or group, not {per!r}.")
    if split is not None and split not in SPLITS:
        raise SettingsError(f"--split is train, val or test, not {split!r}.")
    prepared = load_prepared(dataset_name(data))
    card, fingerprint = prepared.dataset, prepared.fingerprint
    view = _view(prepared, (split,) if split else UNSEALED, show_ids=show_ids)
    if per == "group" and view.rows["group"].n_unique() == view.rows.height:
        raise SettingsError("Every image is a group of its own.", fix="Leave out --per group.")
    with open_files(fingerprint["source"]) as files:
        pictures = Pictures(files, view.rows, card.decoding)
        plates = list(draw_plates(view, pictures, has_groups=per == "group", progress=progress))
    folder = on_disk(out) if out is not None else Path("looks") / card.name
    for plate in plates:
        write_bytes(folder / f"{plate.name}.png", plate.png)
    about = {"title": card.title, "licence": card.licence, "citation": card.citation}
    page = render_show(
        view,
        plates,
        name=card.name,
        about=about,
        notes=_notes(fingerprint),
        facts=_facts(fingerprint),
    )
    return write_text(folder / "index.html", page)


def _view(prepared: Prepared, splits: tuple[str, ...], *, show_ids: bool) -> View:
    card, manifest = prepared.dataset, prepared.manifest
    if not manifest.filter(pl.col("split").is_in(splits)).height:
        raise SettingsError(
            f"{card.name} has no images of {' or '.join(splits)}.",
            fix="Show another split: pass --split train, val or test.",
        )
    names = true_names(manifest) if show_ids else pseudonyms(manifest, card.group_kind)
    classes = titled_card(card).task.classes
    return View(titled_table(manifest, card), splits, classes, card.group_kind, names)


def _facts(fingerprint: dict[str, Any]) -> list[str]:
    return [] if lacks_windows(fingerprint) else describe_dicom(fingerprint)


def _notes(fingerprint: dict[str, Any]) -> list[str]:
    split = fingerprint.get("split", {})
    notes = [*split.get("warnings", []), *fingerprint.get("notes", [])]
    notes += [*describe_visible(fingerprint), *describe_sixteen_bits(fingerprint)]
    notes += describe_dicom(fingerprint) if lacks_windows(fingerprint) else []
    if fingerprint.get("complete", True):
        return notes
    here, expected = fingerprint["n_images"], fingerprint["expected_images"]
    return [f"Only a part of the data set was prepared: {here:,} of {expected:,} images.", *notes]
