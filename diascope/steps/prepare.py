"""Prepare a data set: get it, look at every image, group, join duplicates, split, measure."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from diascope.data.checksums import is_published
from diascope.data.duplicates import join_duplicates
from diascope.data.fetch import download
from diascope.data.files import open_files
from diascope.data.fingerprint import measure
from diascope.data.inspect import Rejected, check_rejected, inspect_images
from diascope.data.manifest import (
    SPLITS,
    check_disjoint,
    check_rows,
    content_digests,
    label_indices,
)
from diascope.data.spec import DatasetSpec
from diascope.data.split import split_groups
from diascope.errors import DataError, SettingsError, SourceError
from diascope.home import dataset_folder
from diascope.plugins import find
from diascope.prepared import Prepared
from diascope.progress import Progress, Watch, silent

FRACTIONS = (0.6, 0.2, 0.2)


def prepare(
    data: str,
    *,
    source: Path | str | None = None,
    size_px: int | None = None,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    max_rejected: float = 0.01,
    accept_large_groups: bool = False,
    watch: Watch = silent,
) -> Prepared:
    """Prepare a data set and return it.

    Parameters
    ----------
    data : str
        Name of the data set.
    source : path, optional
        Official files that are already here: an archive, a folder holding it, or the unpacked
        folder. They are only read. Without it they are downloaded, or drawn.
    size_px : int, optional
        Of a data set that its publisher has in several sizes, which one.
    seed : int
        Of the split, and of a data set that is drawn.
    fractions : three floats
        Shares of the images for train, val and test.
    max_rejected : float
        Largest share of unreadable images to go on with, 0-1.
    accept_large_groups : bool
        Go on even if shared pictures join many groups into one.
    watch : callable
        Told the progress.

    Raises
    ------
    DiascopeError
        The source cannot be had or used; labels, groups or images do not fit.
    """
    _check_options(fractions, seed, max_rejected)
    spec = find("datasets", data).at_size(size_px)
    path = Path(source) if source is not None else _obtain(spec, seed, watch)
    with open_files(path) as files:
        rows = check_rows(spec.index(files), spec.task)
        table, rejected = inspect_images(
            files, rows, alpha_background=spec.alpha_background, watch=watch
        )
        rejected += [Rejected(name, reason) for name, reason in files.left_out]
        n_found = rows.height + len(files.left_out)
    check_rejected(rows, table, rejected, max_share=max_rejected)
    table, duplicates = join_duplicates(table, accept_large=accept_large_groups)
    table = _split(table, spec, fractions, seed)
    check_disjoint(table)

    digests = content_digests(table)
    is_complete = table.height + len(rejected) == (spec.n_images or n_found)
    is_verified = is_published(spec, path, digests)
    if source is None and spec.sources and (is_verified is False or not is_complete):
        raise _not_the_published(spec, table.height, digests[0])
    facts: dict[str, Any] = {
        "card": spec.as_dict(),
        **measure(table, spec.task.classes),
        "group_kind": spec.group_kind,
        "notes": list(spec.notes),
        "source": str(path.resolve()),
        "source_given": source is not None,
        "size_px": size_px,
        "max_rejected": max_rejected,
        "accept_large_groups": accept_large_groups,
        "data_path": str(Path(data).resolve()) if data.endswith(".py") else None,
        "found": n_found,
        "rejected": [asdict(image) for image in rejected],
        "expected_images": spec.n_images,
        "expected_groups": spec.n_groups,
        "complete": is_complete,
        "content_sha256": digests[0],
        "content_verified": is_verified,
        "duplicates": asdict(duplicates),
        "split": {"unit": spec.group_kind, "fractions": list(fractions), "seed": seed},
    }
    prepared = Prepared(spec.card, table, facts)
    prepared.save()
    return prepared


def _check_options(fractions: Sequence[float], seed: int, max_rejected: float) -> None:
    if len(fractions) != len(SPLITS) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise SettingsError(
            f"The shares {', '.join(map(str, fractions))} do not divide the images in three.",
            fix="Give three positive shares for train, val and test that sum to 1.",
        )
    if not 0 <= max_rejected <= 1:
        raise SettingsError(f"--max-rejected is a share from 0 to 1, and {max_rejected} is not.")
    if seed < 0:
        raise SettingsError(f"A seed is a whole number from 0 on, and {seed} is not.")


def _obtain(spec: DatasetSpec, seed: int, watch: Watch) -> Path:
    """Download or draw the files into ``DIASCOPE_HOME`` and return their folder."""
    if spec.draw is not None:
        return _draw(spec, seed, watch)
    folder = dataset_folder(spec.name) / "downloads"
    manual = (
        f"Download by hand from {spec.homepage} or: "
        + ", ".join(source.url for source in spec.sources)
        + f"; then run `diascope prepare {spec.name} --source FOLDER`."
    )
    for source in spec.sources:

        def show(done: int, total: int | None, name: str = source.file_name) -> None:
            watch(Progress(f"downloading {name}", done, total, "bytes"))

        download(source, folder, manual=manual, progress=show)
    return folder


def _draw(spec: DatasetSpec, seed: int, watch: Watch) -> Path:
    assert spec.draw is not None  # noqa: S101 - for the type checker
    folder = dataset_folder(spec.name) / f"drawn-{spec.drawing}-{seed}"
    if not folder.is_dir():
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            spec.draw(unfinished, seed, lambda n, total: watch(Progress("drawing cells", n, total)))
        except OSError as error:
            raise SourceError(f"The images could not be drawn: {error}.", where=folder) from error
        unfinished.rename(folder)
    return folder


def _split(
    table: pl.DataFrame, spec: DatasetSpec, fractions: Sequence[float], seed: int
) -> pl.DataFrame:
    labels = label_indices(table, spec.task.classes).to_numpy()
    if len(np.unique(labels)) < spec.task.n_classes:
        found = ", ".join(sorted(set(table["label"])))
        missing = ", ".join(sorted(set(spec.task.classes) - set(table["label"])))
        raise DataError(
            f"There are images of {found} only; of {missing} there are none.",
            fix="Pass the whole data set.",
        )
    groups = table["group"].to_numpy().astype(str)
    part = split_groups(labels, groups, fractions=fractions, seed=seed)
    return table.with_columns(split=pl.Series(np.array(SPLITS)[part]))


def _not_the_published(spec: DatasetSpec, n_images: int, digest: str) -> SourceError:
    return SourceError(
        f"The downloaded content is not the published one: {n_images} images with digest "
        f"{digest}, and {spec.n_images} with {spec.content_sha256 or 'any'} were expected.",
        where=dataset_folder(spec.name) / "downloads",
        fix="Delete this folder and try again; to use the files all the same, pass them "
        "as --source.",
    )
