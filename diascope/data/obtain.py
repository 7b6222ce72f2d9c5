"""Get the files of a data set: the user's own, drawn ones, or downloads that are checked."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from diascope.data.fetch import download, is_published
from diascope.data.spec import DatasetSpec
from diascope.errors import SourceError
from diascope.system.environment import dataset_folder
from diascope.system.files import writing_folder
from diascope.system.locks import Lock
from diascope.system.places import Place
from diascope.system.progress import Progress, ShowProgress

SLICE = 4096  # lines digested at a time


def obtain(spec: DatasetSpec, *, seed: int, progress: ShowProgress) -> Path:
    """Return the folder of the files; what is missing is drawn or downloaded first.

    The seed is that of a data set that is drawn; ``SourceError`` if the files cannot be downloaded
    or written.
    """
    if spec.path is not None and (spec.is_folder or spec.is_table):
        return spec.path if spec.is_folder else spec.path.parent
    return _drawn(spec, seed, progress) if spec.draw is not None else _downloaded(spec, progress)


def _downloaded(spec: DatasetSpec, progress: ShowProgress) -> Path:
    folder = _downloads(spec)
    manual = (
        f"Download by hand from {spec.homepage} or: "
        + ", ".join(source.url for source in spec.sources)
        + f"; then run `diascope prepare {spec.name} --source FOLDER`."
    )
    for source in spec.sources:

        def show(done: int, total: int | None, name: str = source.file_name) -> None:
            progress(Progress(f"downloading {name}", done, total, "bytes"))

        download(source, folder, manual=manual, progress=show)
    return folder


def _downloads(spec: DatasetSpec) -> Path:
    return dataset_folder(spec.name) / "downloads"


def _drawn(spec: DatasetSpec, seed: int, progress: ShowProgress) -> Path:
    folder = dataset_folder(spec.name) / f"drawn-{spec.drawing}-{seed}"
    if folder.is_dir():
        return folder
    with ExitStack() as held:
        with writing_folder(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(Lock(folder.with_name("drawing.lock")))
        if not folder.is_dir():  # another process may have drawn the same meanwhile
            _draw(spec, folder, seed, progress)
    return folder


def _draw(spec: DatasetSpec, folder: Path, seed: int, progress: ShowProgress) -> None:
    assert spec.draw is not None  # noqa: S101 - for the type checker
    unfinished = folder.with_name(folder.name + ".unfinished")

    def show(done: int, total: int) -> None:
        progress(Progress("drawing cells", done, total))

    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        spec.draw(unfinished, seed, show)
        unfinished.rename(folder)
    except OSError as error:
        raise SourceError(f"The images could not be drawn: {error}.", where=folder) from error


def content_facts(
    spec: DatasetSpec, path: Place, table: pl.DataFrame, *, n_found: int
) -> dict[str, Any]:
    """Compare what was found with what is published, for the fingerprint.

    ``path`` is the source, ``table`` lists the images that can be used (``path, sha256``), and
    ``n_found`` counts images, readable or not.
    """
    digests = content_digests(table)
    return {
        "found": n_found,
        "expected_images": spec.n_images,
        "expected_groups": spec.n_groups,
        "complete": n_found == (spec.n_images or n_found),
        "content_sha256": digests[0],
        "content_verified": is_published(spec, path, digests),
    }


def content_digests(table: pl.DataFrame) -> tuple[str, str]:
    r"""Digest the content of a data set, whatever archive it came in.

    Returns
    -------
    tuple of str
        SHA-256 over the lines ``<sha256>  <folder>/<name>\n``, where folder and name are the last
        two parts of the path; sorted by folder and name, and sorted by name alone.
    """
    last_two = pl.col("path").str.extract_groups(r"(?:^|(?<folder>[^/]*)/)(?<name>[^/]*)$")
    files = table.select("sha256", last_two.alias("parts")).unnest("parts")
    files = files.with_columns(pl.col("folder").replace("", None).fill_null("/"))
    files = files.sort("folder", "name", "sha256")

    def digest(lines: pl.DataFrame) -> str:
        found = hashlib.sha256()
        for part in lines.iter_slices(SLICE):
            text = pl.format("{}  {}/{}\n", "sha256", "folder", "name")
            found.update("".join(part.select(text).to_series()).encode())
        return found.hexdigest()

    return digest(files), digest(files.sort("name", "folder", maintain_order=True))


def check_download(spec: DatasetSpec, content: Mapping[str, Any], n_images: int) -> None:
    """Check that downloaded content is the published one; ``SourceError`` if it is not.

    ``content`` is that of `content_facts`; ``n_images`` can be used.
    """
    if content["complete"] and content["content_verified"] is not False:
        return
    raise SourceError(
        f"The downloaded content is not the published one: {n_images} images with digest "
        f"{content['content_sha256']}, and {spec.n_images} with {spec.content_sha256 or 'any'} "
        "were expected.",
        where=_downloads(spec),
        fix="Delete this folder and try again; to use the files all the same, pass them "
        "as --source.",
    )
