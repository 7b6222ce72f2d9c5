"""A data set, declared: what it is, where it comes from, and how its files become rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diascope.errors import DataError, SettingsError
from diascope.task import Task

if TYPE_CHECKING:
    import polars as pl

    from diascope.data.files import FileTree

UNGROUPED = "image"


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


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """What a data set is, in plain values: it travels with what was prepared and trained.

    Whoever holds a prepared data set or a run needs no code to know what the images are.

    Parameters
    ----------
    name, title, modality : str
        What it is called, in one word, in a line, and how the images are taken.
    task : Task
        The classes.
    group_kind : str
        What a group is: ``"patient"``, ``"lesion"``, ``"slide"``; `UNGROUPED` where every image
        was taken as independent of all others.
    licence, citation, homepage : str
        What the user owes to whom.
    n_images, n_groups : int, optional
        How many the complete data set has; fewer are accepted and said loudly.
    alpha_background : str
        What shows through transparent pixels: ``"black"`` or ``"white"``.
    settings : mapping
        Plan settings that suit these images: ``{name: (value, reason)}``.
    """

    name: str
    title: str
    modality: str
    task: Task
    group_kind: str
    licence: str
    citation: str
    homepage: str
    n_images: int | None = None
    n_groups: int | None = None
    alpha_background: str = "black"
    settings: Mapping[str, tuple[Any, str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the values for JSON, with ``classes`` and ``positive`` instead of ``task``."""
        values = {one.name: getattr(self, one.name) for one in fields(DatasetCard)}
        task = values.pop("task")
        settings = {name: list(setting) for name, setting in self.settings.items()}
        task = {"classes": list(task.classes), "positive": task.positive}
        return {**values, "settings": settings, **task}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> DatasetCard:
        """Return the card of these values, see `as_dict`.

        Raises
        ------
        DataError
            A value is missing, unknown or of another kind.
        """
        rest = dict(values)
        try:
            task = Task(tuple(rest.pop("classes")), rest.pop("positive"))
            settings = {
                name: (value, str(reason))
                for name, (value, reason) in dict(rest.pop("settings", {})).items()
            }
            card = DatasetCard(**rest, task=task, settings=settings)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"The card of the data set is damaged: {error}.") from error
        texts = (card.name, card.title, card.modality, card.group_kind, *task.classes)
        if not all(isinstance(text, str) for text in texts):
            raise DataError("The card of the data set is damaged: a text is none.")
        return card


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(DatasetCard):
    """A data set, declared: its card, and how it is had and read.

    Parameters
    ----------
    index : callable
        ``index(files) -> DataFrame`` with the columns ``image_id, path, label, group``, any
        metadata, and ``split`` where one is published (null for rows that it leaves out); pure: it
        reads names and tables, never pixels, and never moves anything.
    fake : callable, optional
        ``fake(root)`` draws a miniature of the folder layout, so that ``index`` is tested offline;
        only a user's own data set has none.
    sources : tuple of Source
        The publisher's files; empty for a data set that diascope draws.
    content_sha256 : str, optional
        Digest of the complete content, see `diascope.data.manifest.content_digests`.
    n_bytes : int, optional
        About how much is downloaded.
    draw : callable, optional
        ``draw(folder, seed, progress)`` makes the files of a data set that diascope draws.
    drawing : int
        Version of ``draw``: raised whenever the same seed gives other images.
    path : Path, optional
        The folder, table or ``.py`` file of a user's own data set.
    options : tuple of str
        The options of ``prepare`` that a user's own data set was declared with.
    remarks : tuple of str
        How a user's own data set was read.
    notes : tuple of str
        What whoever uses the data must know; printed, and among the warnings of a report.
    sizes : tuple of int
        The sizes in px that the publisher has the images in, the first by default; empty where
        there is only one.
    of_size : callable, optional
        ``of_size(size_px)`` returns the same data set with the files of another size.
    """

    index: Callable[[FileTree], pl.DataFrame]
    fake: Callable[[Path], None] | None = None
    sources: tuple[Source, ...] = ()
    content_sha256: str | None = None
    n_bytes: int | None = None
    draw: Callable[[Path, int, Callable[[int, int], None]], None] | None = None
    drawing: int = 1
    path: Path | None = None
    options: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    of_size: Callable[[int], DatasetSpec] | None = None

    @property
    def card(self) -> DatasetCard:
        """The card alone."""
        return DatasetCard.from_dict(self.as_dict())

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
