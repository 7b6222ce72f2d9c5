"""What was found when heat maps of a network were tested: kept beside its weights.

``explanations.json`` is sealed and names the weights that it is true of. It is not named by the
card, since it is written later and changes no prediction: without the file, or with that of other
weights, the heat maps count as not tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from diascope.errors import RunError
from diascope.system.sealed import read_sealed, write_sealed

FEWEST_IMAGES = 50  # that a verdict may rest on
MOST_IMAGES = 60  # whose maps are made for it: the more, the narrower the intervals
FILE = "explanations.json"
FIX = "Remove the file, and run `diascope explain` on the run again."

Level = Literal["pass", "weak", "fail"]


class Finding(BaseModel):
    """One test of the heat maps by a method."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str  # such as ``"randomisation"``
    level: Level
    text: str  # what was found, a sentence with its figures
    value: float
    low: float | None = None  # of the 95 % interval, where there is one
    high: float | None = None
    limit: float | None = None  # what the value is held against


class MapVerdict(BaseModel):
    """Whether heat maps by a method show what this network does."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    layer: str  # empty for a method of pixels
    side: int  # places in a row that the maps tell apart
    level: Level
    reason: str  # of the level, in a sentence
    score: float  # higher for better maps; orders methods and networks of one level too
    n_images: int
    findings: tuple[Finding, ...]

    def finding(self, name: str) -> Finding | None:
        """Return the finding of a name; None where that was not tested."""
        return next((one for one in self.findings if one.name == name), None)


class MapVerdicts(BaseModel):
    """The verdicts on the heat maps of one network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str
    images: str  # on which images, such as ``"60 validation images"``
    verdicts: tuple[MapVerdict, ...]

    def of(self, method: str, layer: str) -> MapVerdict | None:
        """Return the verdict on a method with the maps of a layer; None if it was not tested."""
        found = (v for v in self.verdicts if (v.method, v.layer) == (method, layer))
        return next(found, None)

    def added(self, verdict: MapVerdict) -> MapVerdicts:
        """Return these verdicts and another, in the place of the one before it."""
        others = [
            v for v in self.verdicts if (v.method, v.layer) != (verdict.method, verdict.layer)
        ]
        return self.model_copy(update={"verdicts": (*others, verdict)})

    def save(self, folder: Path) -> None:
        """Write the file beside the weights of a bundle."""
        write_sealed(folder / FILE, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path, weights_sha256: str) -> MapVerdicts | None:
        """Read the verdicts on these weights; None where there are none.

        Raises
        ------
        RunError
            The file is damaged or was changed.
        """
        if not (folder / FILE).is_file():
            return None
        try:
            found = cls.model_validate(read_sealed(folder / FILE, fix=FIX))
        except ValidationError as error:
            raise RunError(f"{FILE} is damaged.", where=folder, fix=FIX) from error
        return found if found.weights_sha256 == weights_sha256 else None
