"""A data set, declared: what it is, where it comes from, and how its files become rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diascope.errors import SettingsError
from diascope.task import Task

if TYPE_CHECKING:
    import polars as pl

    from diascope.data.files import FileTree


@dataclass(frozen=True)
class Source:
    """One file of the publisher.

    Parameters
    ----------
    url : str
        Where it is downloaded from.
    file_name : str
        What it is called here.
    sha256 : str, optional
        The checksum of the file, where the publisher's bytes are known.
    md5 : str, optional
        The same, where the publisher gives this one: it tells damage, not malice.
    """

    url: str
    file_name: str
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class DatasetSpec:
    """A data set, declared.

    Parameters
    ----------
    name, title, modality : str
        What it is called, in one word, in a line, and how the images are taken.
    task : Task
        The classes.
    group_kind : str
        What a group is: ``"patient"``, ``"lesion"``, ``"slide"``; ``"image"`` if none is known.
    licence, citation, homepage : str
        What the user owes to whom.
    index : callable
        ``index(files) -> DataFrame`` with the columns ``image_id, path, label, group``, any
        metadata, and ``split`` where one is published (null for rows that it leaves out); pure: it
        reads names and tables, never pixels, and never moves anything.
    fake : callable
        ``fake(root)`` draws a miniature of the folder layout, so that ``index`` is tested offline.
    sources : tuple of Source
        The publisher's files; empty for a data set that diascope draws.
    n_images, n_groups : int, optional
        How many the complete data set has; fewer are accepted and said loudly.
    content_sha256 : str, optional
        Digest of the complete content, see `diascope.data.manifest.content_digests`.
    n_bytes : int, optional
        About how much is downloaded.
    draw : callable, optional
        ``draw(folder, seed, progress)`` makes the files of a data set that diascope draws.
    drawing : int
        Version of ``draw``: raised whenever the same seed gives other images.
    alpha_background : str
        What shows through transparent pixels: ``"black"`` or ``"white"``.
    notes : tuple of str
        What whoever uses the data must know; printed, and among the warnings of a report.
    sizes : tuple of int
        The sizes in px that the publisher has the images in, the first by default; empty where
        there is only one.
    of_size : callable, optional
        ``of_size(size_px)`` returns the same data set with the files of another size.
    """

    name: str
    title: str
    modality: str
    task: Task
    group_kind: str
    licence: str
    citation: str
    homepage: str
    index: Callable[[FileTree], pl.DataFrame]
    fake: Callable[[Path], None]
    sources: tuple[Source, ...] = ()
    n_images: int | None = None
    n_groups: int | None = None
    content_sha256: str | None = None
    n_bytes: int | None = None
    draw: Callable[[Path, int, Callable[[int, int], None]], None] | None = None
    drawing: int = 1
    alpha_background: str = "black"
    notes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    of_size: Callable[[int], DatasetSpec] | None = None

    def at_size(self, size_px: int | None) -> DatasetSpec:
        """Return the data set with the publisher's images of another size; of None, itself.

        Raises
        ------
        SettingsError
            There are no such images.
        """
        if size_px is None:
            return self
        if self.of_size is None or size_px not in self.sizes:
            sizes = ", ".join(map(str, self.sizes))
            raise SettingsError(
                f"The images of {self.name} are not published at {size_px} px.",
                fix=f"Pass --size with one of {sizes}." if sizes else "Leave out --size.",
            )
        return self.of_size(size_px)
