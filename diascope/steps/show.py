"""Show: the pictures that one looks at before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.atomic import write_bytes, write_text
from diascope.data.files import FileTree, open_files
from diascope.data.image import decode_image
from diascope.data.manifest import SPLITS
from diascope.data.pack import read_unchanged
from diascope.errors import SettingsError
from diascope.prepared import Prepared, dataset_name, load_prepared
from diascope.progress import Watch, silent
from diascope.reporting.look import View, draw_plates
from diascope.reporting.look_page import render_look
from diascope.reporting.pseudonyms import pseudonyms, true_names

UNSEALED = ("train", "val")
PER = ("class", "group")


def show(
    data: str,
    *,
    out: Path | str | None = None,
    per: str = "class",
    split: str | None = None,
    show_ids: bool = False,
    watch: Watch = silent,
) -> Path:
    """Draw examples, balance, sizes and brightness of a prepared data set, and return the page.

    Pictures and measures are of train and val: the test images are sealed, and only counted, unless
    they are asked for. The same data give the same bytes. Groups bear pseudonyms unless asked for.

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
        Look at this split alone: ``"train"``, ``"val"`` or ``"test"``.
    show_ids : bool
        Give the true names of groups.
    watch : callable
        Told the progress.

    Returns
    -------
    Path
        ``index.html``, which holds all pictures; each is also a ``.png`` beside it.

    Raises
    ------
    SettingsError
        There are no images to look at, or an option is not one of its values.
    DiascopeError
        The data set has not been prepared, or its images have gone or changed.
    """
    if per not in PER:
        raise SettingsError(f"--per is class or group, and {per!r} is neither.")
    if split is not None and split not in SPLITS:
        raise SettingsError(f"--split is train, val or test, and {split!r} is none of them.")
    prepared = load_prepared(dataset_name(data))
    card, fingerprint = prepared.card, prepared.fingerprint
    view = _view(prepared, (split,) if split else UNSEALED, show_ids=show_ids)
    if per == "group" and view.rows["group"].n_unique() == view.rows.height:
        raise SettingsError("Every image is a group of its own.", fix="Leave out --per group.")
    with open_files(Path(fingerprint["source"])) as files:

        def read(path: str, sha256: str) -> NDArray[np.uint8]:
            return _read(files, path, sha256, card.alpha_background)

        plates = list(draw_plates(view, read, has_groups=per == "group", watch=watch))
    folder = Path(out) if out is not None else Path("looks") / card.name
    for plate in plates:
        write_bytes(folder / f"{plate.name}.png", plate.png)
    about = {"title": card.title, "licence": card.licence, "citation": card.citation}
    page = render_look(view, plates, name=card.name, about=about, notes=_notes(fingerprint))
    return write_text(folder / "index.html", page)


def _view(prepared: Prepared, splits: tuple[str, ...], *, show_ids: bool) -> View:
    card, manifest = prepared.card, prepared.manifest
    if not manifest.filter(pl.col("split").is_in(splits)).height:
        raise SettingsError(
            f"{card.name} has no images of {' or '.join(splits)}.",
            fix="Look at another one: pass --split train, val or test.",
        )
    names = true_names(manifest) if show_ids else pseudonyms(manifest, card.group_kind)
    return View(manifest, splits, card.task.classes, card.group_kind, names)


def _read(files: FileTree, path: str, sha256: str, background: str) -> NDArray[np.uint8]:
    return decode_image(read_unchanged(files, path, sha256), alpha_background=background)


def _notes(fingerprint: dict[str, Any]) -> list[str]:
    split = fingerprint.get("split", {})
    notes = [*split.get("warnings", []), *fingerprint.get("notes", [])]
    if fingerprint.get("complete", True):
        return notes
    here, expected = fingerprint["n_images"], fingerprint["expected_images"]
    return [f"Only a part of the data set is here: {here:,} of {expected:,} images.", *notes]
