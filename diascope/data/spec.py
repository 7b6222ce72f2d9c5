"""A data set, declared: what it is, where it comes from, and how its files become rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diascope.errors import DataError
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
    """

    url: str
    file_name: str
    sha256: str | None = None


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
        return {**values, "classes": list(task.classes), "positive": task.positive}

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
            settings = {name: tuple(why) for name, why in rest.pop("settings", {}).items()}
            card = DatasetCard(**rest, task=task, settings=settings)
        except (KeyError, TypeError) as error:
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
        ``index(files) -> DataFrame`` with the columns ``image_id, path, label, group`` and any
        metadata; pure: it reads names and tables, never pixels, and never moves anything.
    fake : callable
        ``fake(root)`` draws a miniature of the folder layout, so that ``index`` is tested offline.
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
    """

    index: Callable[[FileTree], pl.DataFrame]
    fake: Callable[[Path], None]
    sources: tuple[Source, ...] = ()
    content_sha256: str | None = None
    n_bytes: int | None = None
    draw: Callable[[Path, int, Callable[[int, int], None]], None] | None = None
    drawing: int = 1

    @property
    def card(self) -> DatasetCard:
        """The card alone."""
        return DatasetCard.from_dict(self.as_dict())
