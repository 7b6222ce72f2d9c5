"""Prepare a data set: get it, look at every image, group, join duplicates, split, measure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from diascope.data.about import with_about, write_about
from diascope.data.duplicates.equal import join_duplicates
from diascope.data.duplicates.known import all_pairs, known_pairs
from diascope.data.duplicates.pairs import NUMBER, list_pairs, near_pairs
from diascope.data.fingerprint import measure
from diascope.data.inspect import check_rejected, inspect_images
from diascope.data.inspect_on_cluster import inspecting_on
from diascope.data.manifest import check_disjoint, check_rows
from diascope.data.obtain import check_download, content_facts, obtain
from diascope.data.prepared import Prepared
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import find_unused
from diascope.data.spec import DatasetSpec
from diascope.data.splits.assign import assign_splits, check_fractions, choose_mode, rows_to_split
from diascope.datasets.own.find import find_dataset
from diascope.errors import SettingsError
from diascope.system.places import fixed_place, place_of
from diascope.system.progress import ShowProgress, silent
from diascope.system.spill import spill_folder

FRACTIONS = (0.6, 0.2, 0.2)


def prepare(  # noqa: PLR0913 - each is one option of the user
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
    ray: str | None = None,
    progress: ShowProgress = silent,
) -> Prepared:
    """Prepare a data set and return it.

    Of data that do not come with diascope it asks, in ``about.yaml`` beside what was prepared, what
    only people know; that file is read from then on, and never written again.

    Parameters
    ----------
    data : str or DatasetSpec
        Name of a data set; a folder or a table of one's own images, with the defaults of
        `diascope.datasets.own.dataset.own_dataset`; or what that returned.
    source : path, optional
        Official files that are already here, packed or unpacked, or the address of their folder,
        such as ``s3://bucket/cells``; else they are downloaded or drawn.
    size_px : int, optional
        Of the images, where the publisher has several sizes.
    seed : int
        Of the split, and of a data set that is drawn.
    fractions : three floats
        Of the images in train, val and test.
    split : str, optional
        ``"official"`` (the default where a split comes with the data), ``"grouped"`` or
        ``"random"``, see `diascope.data.splits.assign`; random also needs `i_know_this_leaks`.
    max_rejected : float
        Largest fraction of unreadable images to go on with, 0-1.
    accept_large_groups : bool
        Go on even if shared pictures join many groups into one.
    near_duplicates : bool
        Also look for pictures that are nearly the same. Pairs that a list of the data set names are
        joined in any case.
    ray : str, optional
        Have the images inspected by the processes of a Ray cluster: ``"local"`` starts one on this
        machine, and `diascope.system.cluster.connected` takes other addresses.

    Raises
    ------
    DiascopeError
        The source cannot be downloaded or read; labels, groups or images do not fit together.
    """
    check_fractions(fractions, seed)
    if not 0 <= max_rejected <= 1:
        raise SettingsError(f"--max-rejected is a fraction from 0 to 1, and {max_rejected} is not.")
    spec = find_dataset(data).at_size(size_px)
    with_about(spec.card)  # or it says what is wrong with the file before the work
    path = place_of(source) if source is not None else obtain(spec, seed=seed, progress=progress)
    with_near = near_duplicates and spec.draw is None  # no two drawings are of the same thing
    with ExitStack() as stack:
        spill = stack.enter_context(spill_folder("prepare")) if with_near else None
        files = stack.enter_context(open_files(path))
        rows = check_rows(spec.index(files), spec.task)
        mode = choose_mode(rows, split, is_acknowledged=i_know_this_leaks)
        with inspecting_on(ray, progress) as map_parts:
            inspected = inspect_images(
                files,
                rows,
                alpha_background=spec.alpha_background,
                window=spec.window,
                is_listed=spec.is_table,
                spill=spill,
                map_parts=map_parts,
                progress=progress,
            )
        table, rejected = inspected.table, inspected.rejected
        check_rejected(rows, table, rejected, largest_fraction=max_rejected)
        unused = find_unused(
            files,
            rows["path"],
            passed=spec.passed,
            has_tables=spec.is_folder,
            is_listed=spec.is_table,
        )
        n_usable = table.height
        content = content_facts(spec, path, table, n_found=n_usable + len(rejected))
        if source is None and spec.sources:
            check_download(spec, content, n_usable)
        if inspected.features is not None:
            table = table.with_columns(pl.Series(NUMBER, inspected.features.numbers))
        table, near = rows_to_split(table, mode), None
        if inspected.features is not None:
            near = near_pairs(
                files,
                table,
                inspected.decoding,
                described=inspected.features.paths,
                spill=spill,
                progress=progress,
            )
            table = table.drop(NUMBER)
    known = known_pairs(table, spec.known_pairs() if spec.known_pairs else None)
    pairs = list_pairs(table, near, known.pairs)
    table, duplicates = join_duplicates(
        table,
        near,
        known=known,
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
        near=all_pairs(near, known.pairs),
    )
    check_disjoint(table, mode=mode)
    card = replace(spec.card, value_range=inspected.decoding.value_range)
    facts: dict[str, Any] = {
        "card": card.as_dict(),
        **content,
        **measure(table, spec.task.classes),
        "group_kind": spec.group_kind,
        "source": fixed_place(path),
        "source_given": source is not None,
        "size_px": size_px,
        "max_rejected": max_rejected,
        "accept_large_groups": accept_large_groups,
        "near_duplicates": near_duplicates,
        "data_path": str(spec.path) if spec.path else None,
        "options": list(spec.options),
        "notes": list(spec.notes),
        **inspected.facts,
        "remarks": list(spec.remarks),
        **unused,
        "rejected": [asdict(image) for image in rejected],
        "duplicates": asdict(duplicates),
        "left_out": n_usable - table.height,
        "split": how.as_dict(),
    }
    prepared = Prepared(card, table, facts, pairs)
    prepared.save()
    if spec.path is not None:
        write_about(spec.card)
    told = with_about(card)
    return replace(prepared, dataset=told, fingerprint={**facts, "card": told.as_dict()})
