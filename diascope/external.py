"""Whether other data can judge a network: the same classes, and no image that it knows."""

from __future__ import annotations

import polars as pl

from diascope.errors import DataError, LeakageError
from diascope.prepared import Prepared
from diascope.run import Run
from diascope.task import Task

SHOWN = 5


def check_external(run: Run, external: Prepared) -> None:
    """Check that a data set from elsewhere can be an external test of a run.

    Parameters
    ----------
    run : Run
        With one network.
    external : Prepared

    Raises
    ------
    DataError
        It has classes that the network does not know.
    LeakageError
        It has files or pictures that the network learned from or was chosen by.
    """
    check_classes(external.card.task, run.card.task.classes, where=external.card.name)
    seen = run.manifest.filter(pl.col("split") != "test")
    for column in ("sha256", "pixel_digest"):
        shared = external.manifest.drop_nulls(column).join(seen, on=column, how="semi")
        if shared.height:
            raise LeakageError(
                f"{shared.height} of the {external.manifest.height} images were used to train "
                f"this network, such as {shared['image_id'][0]}.",
                where=external.card.name,
                fix="Judge it on images that it has not seen; for its own test images leave --on "
                "out.",
            )


def check_classes(task: Task, known: tuple[str, ...], *, where: str) -> None:
    """Check that a network knows the classes of other data.

    Raises
    ------
    DataError
        It does not.
    """
    unknown = [name for name in task.classes if name not in known]
    if unknown:
        raise DataError(
            f"The network does not know the classes {', '.join(unknown[:SHOWN])}.",
            where=where,
            fix=f"It tells apart: {', '.join(known[:20])}. Name the classes of the data alike.",
        )
