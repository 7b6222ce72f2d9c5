"""The folder that explanations are written to: begun once, gone on with, and listed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import MapVerdicts
from diascope.errors import RunError, SettingsError
from diascope.explanations.explained import (
    ImageExplainer,
    choose_explainers,
    class_index,
)
from diascope.explanations.heat_maps import Explainer
from diascope.reporting.explain.files import write_image
from diascope.reporting.explain.page import overview_file, render_overview
from diascope.reporting.explain.row import Listed, Row
from diascope.reporting.explain.verdicts import with_verdicts
from diascope.reporting.explain.words import METHOD_NAMES
from diascope.system.files import atomic_path, write_text
from diascope.system.progress import ShowProgress, silent
from diascope.system.sealed import read_sealed, write_sealed
from diascope.system.spreadsheets import defused
from diascope.training.run import Run

FILE, TABLE = "explanation.json", "explanations.csv"
IMAGES = "images"  # the folder with a folder for each image
NAME_DIGITS = 16  # of the SHA-256 of a file: the name of the folder of its image
AT_ONCE = 16  # images explained together: what is kept in memory does not grow with their number


@dataclass(frozen=True)
class ExplanationFolder:
    """A folder of explanations by one bundle with one set of options."""

    folder: Path
    explainer: ImageExplainer
    written: set[str] = field(default_factory=set)  # SHA-256 of the images of this session
    found: set[str] = field(default_factory=set)  # and of those that were explained before

    def explain(
        self,
        paths: Sequence[str],
        digests: Sequence[str | None],
        images: Sequence[NDArray[np.uint8] | str],
    ) -> list[Listed]:
        """Write the folders of some images, and return how they are listed.

        Parameters
        ----------
        paths : sequence of str
            For lists.
        digests : sequence of str, optional
            SHA-256 of each file; None where it could not be read.
        images : sequence
            The pixels that the network sees, uint8 (S, S, 3), or why there are none.
        """
        rows: dict[int, Row] = {}
        new: dict[str, list[int]] = {}  # by SHA-256: the same image is explained once
        for number, (digest, image) in enumerate(zip(digests, images, strict=True)):
            if isinstance(image, str) or digest is None:
                rows[number] = Row(error=str(image))
            elif row := self._row_of(digest):
                rows[number] = row
            else:
                new.setdefault(digest, []).append(number)
        for start in range(0, len(new), AT_ONCE):
            part = list(new.items())[start : start + AT_ONCE]
            pixels = np.stack([np.asarray(images[numbers[0]]) for _, numbers in part])
            for (digest, numbers), row in zip(part, self._write(part, pixels), strict=True):
                self.written.add(digest)
                rows |= dict.fromkeys(numbers, row)
        return [Listed(path, rows[number]) for number, path in enumerate(paths)]

    def _row_of(self, digest: str) -> Row | None:
        row = Row.load(self.folder / _folder_of(digest), digest)
        if row and digest not in self.written:
            self.found.add(digest)
        return row

    def _write(self, part: list[tuple[str, list[int]]], pixels: NDArray[np.uint8]) -> list[Row]:
        return [
            Row(image_sha256=digest, error=explained)
            if isinstance(explained, str)
            else write_image(
                explained,
                self.explainer.bundle.card,
                sha256=digest,
                root=self.folder,
                folder=_folder_of(digest),
            )
            for (digest, _), explained in zip(part, self.explainer.explained(pixels), strict=True)
        ]

    def finish(self, listed: Sequence[Listed], *, show_ids: bool = False) -> Path:
        """Write the table and the overview of all images; return the overview.

        The table has the paths, for the owner of the images; the pages have none, unless
        ``show_ids``.
        """
        table = pl.DataFrame(
            {
                "path": [one.path for one in listed],
                "page": [f"{f}/index.html" if (f := one.row.folder) else None for one in listed],
                "predicted": [one.row.predicted for one in listed],
                "probability": [one.row.probability for one in listed],
                "refer_reason": [one.row.flag or None for one in listed],
                "map_verdict": [one.row.level or None for one in listed],
                "error": [one.row.error for one in listed],
            },
            schema_overrides={"probability": pl.Float64, "error": pl.String},
        )
        table = table.with_columns(pl.col("probability").round(6))
        with atomic_path(self.folder / TABLE) as temporary:
            defused(table).write_csv(temporary)
        pages = render_overview(listed, self.explainer, has_names=show_ids)
        for number, page in enumerate(pages):
            write_text(self.folder / overview_file(number), page)
        number = len(pages)
        while (self.folder / overview_file(number)).exists():  # of more images than these
            (self.folder / overview_file(number)).unlink()
            number += 1
        return self.folder / overview_file(0)

    def picture_of(self, one: Listed) -> tuple[str | None, str | None]:
        """Return the path of the picture of an image, and the verdict on its heat map."""
        if not one.row.picture:
            return None, None
        return (self.folder / one.row.folder / one.row.picture).as_posix(), one.row.level


def _folder_of(digest: str) -> str:
    return f"{IMAGES}/{digest[:NAME_DIGITS]}"


def open_explanations(
    model: Run | Path | str,
    bundle: Bundle,
    folder: Path,
    *,
    methods: Sequence[str] | None = None,
    layer: str | None = None,
    target: str | int | None = None,
    given: Callable[[], NDArray[np.uint8]],
    progress: ShowProgress = silent,
    say: Callable[[str], None],
) -> ExplanationFolder:
    """Begin a folder of explanations, or go on with one of the same bundle and options.

    Methods that the bundle has no verdict on are tested, see `with_verdicts`.

    Parameters
    ----------
    model : Run or path
        What the bundle was loaded from.
    given : callable
        Returns images that are to be explained, see `with_verdicts`.
    say : function
        Called with lines: methods that are left out, layers that were found, what is not tested.

    Raises
    ------
    SettingsError
        No such method, layer or class; or the folder holds something else.
    """
    index = None if target is None else class_index(bundle.card, target)
    explainers, left_out = choose_explainers(bundle, methods, layer)
    options = _options(bundle, explainers, index)
    before = _begun(folder, options)
    for line in left_out:
        say(line)
    for line in _layers(explainers, is_named=layer is not None):
        say(line)
    if before is None:
        explainers = with_verdicts(model, explainers, given=given, progress=progress, say=say)
        verdicts = explainers[0].bundle.map_verdicts
        write_sealed(
            folder / FILE,
            {"options": options, "verdicts": verdicts and verdicts.model_dump(mode="json")},
        )
    else:
        explainers = _as_begun(explainers, before["verdicts"], folder)
    return ExplanationFolder(folder, ImageExplainer(explainers[0].bundle, explainers, target=index))


def _options(bundle: Bundle, explainers: Sequence[Explainer], target: int | None) -> dict[str, Any]:
    card = bundle.card.model_dump_json()
    return {
        "diascope": version("diascope"),
        "card_sha256": hashlib.sha256(card.encode()).hexdigest(),
        "methods": [[one.method, one.layer_name] for one in explainers],
        "target": None if target is None else bundle.card.classes[target],
    }


def _begun(folder: Path, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a folder says that explanations were begun in; None for a new or empty one."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / FILE).is_file():
        raise SettingsError(
            f"{folder} exists and holds something else than explanations.",
            where="--out",
            fix="Choose another folder.",
        )
    before = read_sealed(folder / FILE, fix="Choose another folder with --out.")
    differing = [key for key, value in options.items() if before["options"].get(key) != value]
    if differing:
        names = {
            "card_sha256": "another model or operating point",
            "diascope": "another version of diascope",
            "target": "another class",
        }
        what = ", ".join(names.get(key, f"other {key}") for key in differing)
        raise SettingsError(
            f"{folder} holds explanations of {what}.",
            where="--out",
            fix="Choose another folder, or the same model and options to go on there.",
        )
    return before


def _as_begun(
    explainers: tuple[Explainer, ...], verdicts: dict[str, Any] | None, folder: Path
) -> tuple[Explainer, ...]:
    """Return the explainers with the verdicts that the pages of a folder show."""
    try:
        then = MapVerdicts.model_validate(verdicts) if verdicts else None
    except ValidationError as error:
        raise RunError(
            f"{FILE} is damaged.", where=folder, fix="Choose another folder with --out."
        ) from error
    for one in explainers:
        now = one.verdict
        if now and now != (then.of(one.method, one.layer_name) if then else None):
            raise SettingsError(
                f"The pages in {folder} were begun with other verdicts on the heat maps.",
                where="--out",
                fix="Choose another folder.",
            )
    bundle = replace(explainers[0].bundle, map_verdicts=then) if explainers else None
    return tuple(replace(one, bundle=bundle) for one in explainers) if bundle else explainers


def _layers(explainers: Sequence[Explainer], *, is_named: bool) -> list[str]:
    """Return a line on each layer whose maps are explained."""
    by_layer: dict[tuple[str, int], list[str]] = {}
    for one in explainers:
        if one.layer is not None:
            by_layer.setdefault((one.layer.name, one.side), []).append(METHOD_NAMES[one.method])
    how = "" if is_named else ", found automatically"
    return [
        f"layer of {', '.join(names)}: {layer}, {side} x {side} places{how}"
        for (layer, side), names in by_layer.items()
    ]
