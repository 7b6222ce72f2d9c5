"""Whether other data can judge a network, and what they have in common with those of its training.

They must have the same classes, and no image that the network has seen.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from diascope.data.manifest import labelled_digest
from diascope.data.prepared import Prepared
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.errors import DataError, LeakageError
from diascope.system.words import counted, plural
from diascope.task import Task

SHOWN = 5
JOINED = "group"  # what images are of that show the same picture, where nothing else is known
REFERENCE = r"\b\d+:[a-z]?\d+\b|arXiv:\d+\.\d+|10\.\d{4,}/\S+\b"  # volume:page, arXiv, DOI


@dataclass(frozen=True)
class Overlap:
    """What an external data set has in common with the one that a network was trained on.

    It has no image that the network learned from, see `check_external`.
    """

    n_test_images: int  # also among the test images of the other one: the file, or the picture
    n_groups: int  # groups that bear the name of one that was learned from
    homepage: str  # where both are published; empty where that differs or is not known
    references: tuple[str, ...]  # publications that both ask to be cited

    @property
    def is_any(self) -> bool:
        """Whether they have anything in common: the data are partly external then."""
        return bool(self.n_test_images or self.n_groups or self.homepage or self.references)

    def texts(self, group_kind: str) -> list[str]:
        """Say it in sentences, the gravest first."""
        found = []
        if self.n_groups:
            them = plural(group_kind)
            found.append(
                f"Partly external: {counted(self.n_groups, group_kind)} of these data "
                f"{'bears' if self.n_groups == 1 else 'bear'} the name of one that the network "
                f"learned from. If they are the same {them}, these figures are too good."
            )
        if self.n_test_images:
            found.append(
                f"Partly external: {counted(self.n_test_images, 'image')} of these data "
                f"{'is' if self.n_test_images == 1 else 'are'} among the test images of the data "
                "set of the training."
            )
        if self.homepage or self.references:
            shared = self.homepage or f"the same publication ({', '.join(self.references)})"
            where = "on" if self.homepage else "with"
            found.append(
                f"Partly external: both data sets are published {where} {shared}. Some of the "
                "images may come from the same places, devices or people as those of the training."
            )
        return found


def overlap_of(external: Prepared, card: DatasetCard, manifest: pl.DataFrame) -> Overlap:
    """Return what external data have in common with the data of a training, its manifest and card.

    Compared are files, pictures pixel by pixel (also turned and mirrored), names of groups, and
    where the data are published. Nearly the same pictures are not looked for.
    """
    tested = manifest.filter(pl.col("split") == "test")
    shared = [
        external.manifest.drop_nulls(column).join(tested, on=column, how="semi")["image_id"]
        for column in ("sha256", "pixel_digest")
    ]
    learned = set(manifest.filter(pl.col("split") != "test")["group"])
    ours, theirs = external.dataset, card
    references = set(_references(ours.citation)) & set(_references(theirs.citation))
    return Overlap(
        n_test_images=len(set(shared[0]) | set(shared[1])),
        n_groups=len(set(external.manifest["group"]) & learned),
        homepage=ours.homepage if ours.homepage == theirs.homepage else "",
        references=tuple(sorted(references)),
    )


def _references(citation: str) -> list[str]:
    return re.findall(REFERENCE, citation or "")


def about_external(external: Prepared, overlap: Overlap) -> dict[str, Any]:
    """Return what metrics keep of an external data set, ready for JSON.

    ``name, title, modality, homepage, licence, is_synthetic``; ``n_images, n_groups``;
    ``labelled_sha256`` of its images, labels and groups; ``is_partly`` external, and the fields
    of `Overlap`.
    """
    card = external.dataset
    keys = ("name", "title", "modality", "homepage", "licence", "is_synthetic")
    told = {key: getattr(card, key) for key in keys}
    return {
        **told,
        "n_images": external.manifest.height,
        "n_groups": external.manifest["group"].n_unique(),
        "labelled_sha256": labelled_digest(external.manifest),
        "is_partly": overlap.is_any,
        "overlap": asdict(overlap),
    }


def with_joined_groups(card: DatasetCard, manifest: pl.DataFrame) -> DatasetCard:
    """Return a card that says of what kind the groups are, where only the same pictures are joined.

    Such images are not independent, although nobody told which images belong together.
    """
    is_joined = manifest["group"].n_unique() < manifest.height
    return replace(card, group_kind=JOINED) if card.group_kind == UNGROUPED and is_joined else card


def check_external(external: Prepared, *, classes: tuple[str, ...], manifest: pl.DataFrame) -> None:
    """Check that a data set from elsewhere can be an external test of a network.

    ``classes`` are those of the network, ``manifest`` is that of the data set that it was trained
    on, with its ``split``.

    Raises
    ------
    DataError
        It has classes that the network does not know.
    LeakageError
        It has files or images that the network was trained or selected on.
    """
    check_classes(external.dataset.task, classes, where=external.dataset.name)
    seen = manifest.filter(pl.col("split") != "test")
    for column in ("sha256", "pixel_digest"):
        shared = external.manifest.drop_nulls(column).join(seen, on=column, how="semi")
        if shared.height:
            raise LeakageError(
                f"{shared.height} of the {external.manifest.height} images were used to train "
                f"this network, such as {shared['image_id'][0]}.",
                where=external.dataset.name,
                fix="Evaluate it on images that it has not seen; for its own test images leave "
                "--on out.",
            )


def check_classes(task: Task, known: tuple[str, ...], *, where: str) -> None:
    """Check that a network knows the classes of other data; ``DataError`` if it does not."""
    unknown = [name for name in task.classes if name not in known]
    if unknown:
        raise DataError(
            f"The network does not know the classes {', '.join(unknown[:SHOWN])}.",
            where=where,
            fix=f"Its classes are: {', '.join(known[:20])}. Name the classes of the data alike.",
        )
