"""What is known of an explained image in lists: the overview, tables, and where work goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from diascope.bundle.card import Card
from diascope.errors import RunError
from diascope.explanations.explained import ExplainedImage
from diascope.reporting.explain.words import in_order
from diascope.system.sealed import read_sealed, write_sealed

FILE = "about.json"


class Row(BaseModel):
    """An image in a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    image_sha256: str = ""  # of its file
    folder: str = ""  # of its page, in that of all; empty where there is none
    predicted: str | None = None  # the class; None where the prediction is withheld
    probability: float | None = None  # of that class
    flag: str = ""  # why it is to be referred; empty where there is no reason
    levels: dict[str, str] = {}  # by method, the first is shown first
    picture: str = ""  # of the method that is shown first, in the folder of the image
    error: str | None = None  # why it could not be explained

    @property
    def level(self) -> str:
        """The level of the method that is shown first."""
        return next(iter(self.levels.values()), "")

    def save(self, folder: Path) -> None:
        """Write the file that says that the folder of an image is complete."""
        write_sealed(folder / FILE, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path, sha256: str) -> Row | None:
        """Read that file; None where the folder is not complete, or is of another image."""
        try:
            row = cls.model_validate(read_sealed(folder / FILE, fix=""))
        except (RunError, ValidationError):
            return None
        return row if row.image_sha256 == sha256 else None


@dataclass(frozen=True)
class Listed:
    """An image with the path that it was given by."""

    path: str
    row: Row


def row_of(explained: ExplainedImage, card: Card, *, sha256: str, folder: str) -> Row:
    """Return what lists say of an explained image."""
    maps, prediction = in_order(explained.maps), explained.prediction
    is_out = prediction.is_withheld
    return Row(
        image_sha256=sha256,
        folder=folder,
        predicted=None if is_out else card.classes[prediction.predicted],
        probability=None if is_out else float(prediction.probabilities[prediction.predicted]),
        flag=prediction.refer_reason,
        levels={one.method: one.level for one in maps},
        picture=f"{maps[0].method}.png" if maps else "",
    )


def with_explanations(
    table: pl.DataFrame, found: Iterable[tuple[str | None, str | None]]
) -> pl.DataFrame:
    """Return the table of ``predict`` with ``explanation`` and ``map_verdict`` before the error.

    Parameters
    ----------
    found : iterable
        Of each row the path of a picture and the verdict on its heat map; None where there is none.
    """
    pictures, verdicts = zip(*found, strict=True)
    table = table.with_columns(
        explanation=pl.Series(pictures, dtype=pl.String),
        map_verdict=pl.Series(verdicts, dtype=pl.String),
    )
    return table.select(pl.exclude("error"), "error")
