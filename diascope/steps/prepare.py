"""Prepare a data set: get it, look at every image, group, join duplicates, split, measure."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from diascope.data.assign import assign_splits, choose_mode, rows_to_split
from diascope.data.checksums import is_published
from diascope.data.duplicate_pairs import list_pairs, near_pairs
from diascope.data.duplicates import join_duplicates
from diascope.data.fetch import download
from diascope.data.files import open_files
from diascope.data.fingerprint import measure
from diascope.data.inspect import Rejected, check_rejected, find_unlisted, inspect_images
from diascope.data.manifest import (
    SPLITS,
    check_disjoint,
    check_rows,
    content_digests,
)
from diascope.data.spec import DatasetSpec
from diascope.datasets.own import own_dataset
from diascope.errors import SettingsError, SourceError
from diascope.home import dataset_folder
from diascope.plugins import find, find_installed
from diascope.prepared import Prepared, check_own_name, is_path
from diascope.progress import Progress, Watch, silent

FRACTIONS = (0.6, 0.2, 0.2)
UNLISTED_SHOWN = 5


def prepare(  # noqa: PLR0913 - each is one wish of the user
    data: str | DatasetSpec,
    *,
    source: Path | str | None = None,
    size_px: int | None = None,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    split: str | None = None,
    i_know_this_leaks: bool = False,
    max_rejected: float = 0.01,
    accept_large_groups: bool = False,
    near_duplicates: bool = True,
    watch: Watch = silent,
) -> Prepared:
    """Prepare a data set and return it.

    Parameters
    ----------
    data : str or DatasetSpec
        Name of the data set; a folder or a table of the user's own, with what
        `diascope.datasets.own.own_dataset` takes where nothing is said; or what that returned.
    source : path, optional
        Official files that are already here: an archive, a folder holding it, or the unpacked
        folder. They are only read. Without it they are downloaded, or drawn.
    size_px : int, optional
        Of a data set that its publisher has in several sizes, which one.
    seed : int
        Of the split, and of a data set that is drawn.
    fractions : three floats
        Shares of the images for train, val and test.
    split : str, optional
        ``"official"`` (the default where a split comes with the data), ``"grouped"`` or
        ``"random"``, see `diascope.data.assign`.
    i_know_this_leaks : bool
        Without it there is no random split.
    max_rejected : float
        Largest share of unreadable images to go on with, 0-1.
    accept_large_groups : bool
        Go on even if shared pictures join many groups into one.
    near_duplicates : bool
        Look for pictures that are nearly the same, too.
    watch : callable
        Told the progress.

    Raises
    ------
    DiascopeError
        The source cannot be had or used; labels, groups or images do not fit.
    """
    _check_options(fractions, seed, max_rejected)
    spec = _find(data).at_size(size_px)
    path = Path(source) if source is not None else _obtain(spec, seed, watch)
    with open_files(path) as files:
        rows = check_rows(spec.index(files), spec.task)
        mode = choose_mode(rows, split, is_acknowledged=i_know_this_leaks)
        table, rejected = inspect_images(
            files, rows, alpha_background=spec.alpha_background, watch=watch
        )
        rejected += [Rejected(name, reason) for name, reason in files.left_out]
        n_found = rows.height + len(files.left_out)
        unlisted = find_unlisted(files, rows)
        check_rejected(rows, table, rejected, max_share=max_rejected)
        digests, n_usable = content_digests(table), table.height
        table = rows_to_split(table, mode)
        near = None
        if near_duplicates and spec.draw is None:  # no two drawings are of the same thing
            near = near_pairs(files, table, alpha_background=spec.alpha_background, watch=watch)
    pairs = list_pairs(table, near)
    table, duplicates = join_duplicates(
        table,
        near,
        accept_large=accept_large_groups,
        within="split" if mode == "official" else None,
    )
    table, how = assign_splits(
        table,
        spec.task.classes,
        mode=mode,
        group_kind=spec.group_kind,
        fractions=fractions,
        seed=seed,
        near=near,
    )
    check_disjoint(table, mode=mode)

    is_complete = n_found == (spec.n_images or n_found)
    is_verified = is_published(spec, path, digests)
    if source is None and spec.sources and (is_verified is False or not is_complete):
        raise _not_the_published(spec, table.height, digests[0])
    facts: dict[str, Any] = {
        "card": spec.as_dict(),
        **measure(table, spec.task.classes),
        "group_kind": spec.group_kind,
        "source": str(path.resolve()),
        "source_given": source is not None,
        "size_px": size_px,
        "max_rejected": max_rejected,
        "accept_large_groups": accept_large_groups,
        "near_duplicates": near_duplicates,
        "data_path": str(spec.path) if spec.path else None,
        "options": list(spec.options),
        "notes": list(spec.notes),
        "remarks": list(spec.remarks),
        "found": n_found,
        "unlisted": {"n_files": len(unlisted), "first": unlisted[:UNLISTED_SHOWN]},
        "rejected": [asdict(image) for image in rejected],
        "expected_images": spec.n_images,
        "expected_groups": spec.n_groups,
        "complete": is_complete,
        "content_sha256": digests[0],
        "content_verified": is_verified,
        "duplicates": asdict(duplicates),
        "left_out": n_usable - table.height,
        "split": how.as_dict(),
    }
    prepared = Prepared(spec.card, table, facts, pairs)
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


def _find(data: str | DatasetSpec) -> DatasetSpec:
    """Return an installed data set, one in a file of the user's own, or a folder or table."""
    if isinstance(data, DatasetSpec):
        spec = data
    elif data.endswith(".py"):
        spec = replace(find("datasets", data), path=Path(data).resolve())
    elif is_path(data):
        spec = own_dataset(data)
    else:
        return find_installed("datasets", data)
    check_own_name(spec.name, spec.path)
    return spec


def _obtain(spec: DatasetSpec, seed: int, watch: Watch) -> Path:
    """Return the folder of the files: the user's own, or one that they are downloaded to."""
    if spec.path is not None and spec.path.suffix != ".py":
        return spec.path if spec.path.is_dir() else spec.path.parent
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


def _not_the_published(spec: DatasetSpec, n_images: int, digest: str) -> SourceError:
    return SourceError(
        f"The downloaded content is not the published one: {n_images} images with digest "
        f"{digest}, and {spec.n_images} with {spec.content_sha256 or 'any'} were expected.",
        where=dataset_folder(spec.name) / "downloads",
        fix="Delete this folder and try again; to use the files all the same, pass them "
        "as --source.",
    )
