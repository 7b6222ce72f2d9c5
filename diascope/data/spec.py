"""A data set, declared: what it is, where it comes from, and how its files become rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import polars as pl

from diascope.data.image import Decoding
from diascope.data.sources.tree import FileTree
from diascope.data.story import Statement
from diascope.data.value_range import ValueRange, check_range
from diascope.errors import DataError, SettingsError
from diascope.task import Task

UNGROUPED = "image"


@dataclass(frozen=True)
class Source:
    """One file of the publisher."""

    url: str  # where it is downloaded from
    file_name: str  # what it is called here
    sha256: str | None = None  # the checksum of the file, where the publisher's bytes are known
    # The same, where the publisher gives this one: it tells damage, not malice.
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """What a data set is, in plain values: it travels with what was prepared and trained.

    Whoever holds a prepared data set or a run needs no code to know what the images are.
    """

    # name, title, modality: what it is called, in one word, in a line, and how the images are taken
    name: str
    title: str
    modality: str
    task: Task  # the classes
    # What a group is: ``"patient"``, ``"lesion"``, ``"slide"``; `UNGROUPED` where every image was
    # taken as independent of all others.
    group_kind: str
    # licence, citation, homepage: what the user owes to whom
    licence: str
    citation: str
    homepage: str
    # Whether the licence lets the images be passed on, so that a bundle may hold some of them.
    redistributable: bool = False
    # n_images, n_groups: how many the complete data set has; fewer are accepted with a warning
    n_images: int | None = None
    n_groups: int | None = None
    # What shows through transparent pixels: ``"black"`` or ``"white"``.
    alpha_background: str = "black"
    # The 16-bit values that are black and white, as measured; None where no image has 16 bits.
    value_range: ValueRange | None = None
    # Plan settings that suit these images: ``{name: (value, reason)}``.
    settings: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    # What pages and pictures call the classes whose names are codes: ``{"mel": "melanoma"}``.
    class_titles: Mapping[str, str] = field(default_factory=dict)
    # How the data came about: by question (see `diascope.data.story`), what is known.
    story: Mapping[str, Statement] = field(default_factory=dict)

    def title_of(self, name: str) -> str:
        """Return what a class is called where people read it."""
        return self.class_titles.get(name, name)

    @property
    def decoding(self) -> Decoding:
        """How its files become pixels."""
        return Decoding(self.alpha_background, self.value_range)

    def as_dict(self) -> dict[str, Any]:
        """Return the values for JSON, with ``classes`` and ``positive`` instead of ``task``."""
        values = {one.name: getattr(self, one.name) for one in fields(DatasetCard)}
        task = values.pop("task")
        values["settings"] = {name: list(setting) for name, setting in self.settings.items()}
        values["class_titles"] = dict(self.class_titles)
        values["story"] = {key: asdict(statement) for key, statement in self.story.items()}
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
            settings = {
                name: (value, str(reason))
                for name, (value, reason) in dict(rest.pop("settings", {})).items()
            }
            if rest.get("value_range") is not None:
                rest["value_range"] = check_range(ValueRange(*map(int, rest["value_range"])))
            story = {
                key: Statement(**statement)
                for key, statement in dict(rest.pop("story", {})).items()
            }
            titles = dict(rest.pop("class_titles", {}))
            card = DatasetCard(
                **rest, task=task, settings=settings, class_titles=titles, story=story
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"The card of the data set is damaged: {error}.") from error
        texts = [card.name, card.title, card.modality, card.group_kind, *task.classes]
        texts += [
            *titles.values(),
            *(text for one in story.values() for text in vars(one).values()),
        ]
        if not all(isinstance(text, str) for text in texts):
            raise DataError("The card of the data set is damaged: a text is missing.")
        if not isinstance(card.redistributable, bool):
            raise DataError("The card of the data set is damaged: redistributable is not a truth.")
        return card


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(DatasetCard):
    """A data set, declared: its card, and how it is had and read."""

    # ``index(files) -> DataFrame`` with the columns ``image_id, path, label, group``, any metadata,
    # and ``split`` where one is published (null for rows that it leaves out); pure: it reads names
    # and tables, never pixels, and never moves anything.
    index: Callable[[FileTree], pl.DataFrame]
    # Pairs of images that are known to show one thing though their groups are two, ``image_id,
    # other_id``: their groups are always joined.
    known_pairs: Callable[[], pl.DataFrame] | None = None
    # ``fake(root)`` draws a miniature of the folder layout, so that ``index`` is tested offline;
    # only a user's own data set has none.
    fake: Callable[[Path], None] | None = None
    # The publisher's files; empty for a data set that diascope draws.
    sources: tuple[Source, ...] = ()
    # Digest of the complete content, see `diascope.data.obtain.content_digests`.
    content_sha256: str | None = None
    n_bytes: int | None = None  # about how much is downloaded
    # ``draw(folder, seed, progress)`` makes the files of a data set that diascope draws.
    draw: Callable[[Path, int, Callable[[int, int], None]], None] | None = None
    drawing: int = 1  # version of ``draw``: raised whenever the same seed gives other images
    path: Path | None = None  # the folder, table or ``.py`` file of a user's own data set
    # The options of ``prepare`` that a user's own data set was declared with.
    options: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()  # how a user's own data set was read
    # Images of a user's own folder that are seen and not taken, by kind.
    passed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # What whoever uses the data must know; printed, and among the warnings of a report.
    notes: tuple[str, ...] = ()
    # The sizes in px that the publisher has the images in, the first by default; empty where there
    # is only one.
    sizes: tuple[int, ...] = ()
    # ``of_size(size_px)`` returns the same data set with the files of another size.
    of_size: Callable[[int], DatasetSpec] | None = None

    @property
    def is_folder(self) -> bool:
        """Whether these are the images of a user's own folder."""
        return self.path is not None and self.path.is_dir()

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
