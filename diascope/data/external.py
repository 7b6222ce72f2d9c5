"""Whether other data can judge a network: the same classes, and no image that it has seen."""

from __future__ import annotations

import polars as pl

from diascope.data.prepared import Prepared
from diascope.errors import DataError, LeakageError
from diascope.task import Task

SHOWN = 5


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
