"""The plan: every number that a training needs, each with its reason.

`diascope.training.settings` makes it once, and the run holds it. The same plan on the same machine
gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from diascope.data.pixels import Pixels
from diascope.errors import RunError
from diascope.models.spec import Head
from diascope.system.sealed import read_sealed, write_sealed

MAX_EPOCHS = 10_000
FILES = "files"  # in plan.json: the SHA-256 of the files that the training started from
FIX = "Restore the run from a copy, or train again with another --out."

Count = Annotated[int, Field(ge=0)]
Part = Annotated[float, Field(ge=0, lt=1)]  # less than the whole


@dataclass(frozen=True)
class Training:
    """The settings of the training loop.

    ``selection`` names the validation metric that chooses the epoch, and that stops the training
    after ``patience_epochs`` epochs without a better one; 0 never stops. ``max_steps`` cuts the
    last epoch short, and the schedule ends there; 0 cuts nothing.
    """

    max_epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    max_steps: Count
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    optimizer: Literal["adam", "adamw", "muon"]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    schedule: Literal["constant", "one_cycle", "hold_then_decay"]
    label_smoothing: Part
    imbalance: Literal["none", "class_weights", "balanced_sampling", "logit_adjustment"]
    selection: Literal["last", "best_val_accuracy", "best_val_balanced_accuracy", "best_val_auroc"]
    patience_epochs: Count
    precision: Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Augmentation:
    """How far training images may be changed.

    ``"horizontal"`` mirrors each image with probability 0.5; ``"both"`` also turns it upside down
    with probability 0.5; ``"dihedral"`` gives the whole batch one of the eight turns and mirrors of
    a square, which costs nothing. Images are rotated and sheared by up to an angle, their sides
    scaled by 1 - zoom to 1 + zoom, and moved by up to a fraction of a side, all uniformly.
    ``colour_jitter`` is the standard deviation of the log of a gain on the light of each image;
    each colour channel varies half as much besides, and black stays black.
    """

    flips: Literal["none", "horizontal", "both", "dihedral"] = "none"
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 0.0
    zoom: Part = 0.0
    shift: Part = 0.0
    colour_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0


class Plan(BaseModel):
    """Every number that a training needs; docs/reference.md lists them.

    On the command line and in plan.json the settings of the parts have no prefix: ``size_px`` is
    ``plan.pixels.size_px``. ``reasons`` has one for each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str
    folds: Count
    members: Count
    seed: Count
    pixels: Pixels
    normalise: Literal["measured", "unit", "pretrained"]
    finetune: Literal["head", "all"]
    weights: str
    weights_sha256: str
    head: Head | None
    training: Training
    decision: Literal["most_probable", "balanced"]
    augmentation: Augmentation
    calibration: Literal["none", "val", "half_of_val"]
    views: Literal[1, 2, 4, 8]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    threads: Annotated[int, Field(ge=1)]
    reasons: dict[str, str]

    @classmethod
    def of(cls, settings: Mapping[str, tuple[Any, str]]) -> Plan:
        """Return the plan with these settings; pydantic's ValidationError names impossible ones."""
        values: dict[str, Any] = {part: {} for part in PARTS}
        for name, (value, _) in settings.items():
            target = values[PART_OF[name]] if name in PART_OF else values
            target[name] = value
        if set(values["head"].values()) == {None}:
            values["head"] = None
        return cls(**values, reasons={name: reason for name, (_, reason) in settings.items()})

    @property
    def settings(self) -> dict[str, Any]:
        """The value of every setting by its name; those of a missing head are None."""
        values: dict[str, Any] = {}
        for name in Plan.model_fields:
            if name in PARTS:
                part = getattr(self, name)
                values |= {f.name: getattr(part, f.name, None) for f in fields(PARTS[name])}
            elif name != "reasons":
                values[name] = getattr(self, name)
        return values

    def changed(self, reason: str, **values: Any) -> Plan:
        """Return the plan with some other values, all for one reason."""
        settings = {name: (value, self.reasons[name]) for name, value in self.settings.items()}
        return Plan.of(settings | {name: (value, reason) for name, value in values.items()})

    @property
    def learns_from_features(self) -> bool:
        """Whether the backbone's features are the same in every epoch, and computed once."""
        return self.finetune == "head" and self.augmentation == Augmentation()

    def save(self, path: Path, *, files: Mapping[str, str]) -> None:
        """Write every setting with its value and reason as JSON, and the digests of files."""
        entries = {
            name: {"value": value, "reason": self.reasons[name]}
            for name, value in self.settings.items()
        }
        write_sealed(path, {**entries, FILES: files})

    @classmethod
    def load(cls, path: Path) -> tuple[Plan, dict[str, str]]:
        """Read a plan, and the digests of the files that the training started from.

        Raises
        ------
        RunError
            The file is missing or damaged, or the run was made by another version of diascope.
        """
        entries = read_sealed(path, fix=FIX)
        try:
            files = dict(entries.pop(FILES))
            return cls.of({name: (e["value"], e["reason"]) for name, e in entries.items()}), files
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError("The plan cannot be read.", where=path, fix=FIX) from error


PARTS = {"pixels": Pixels, "head": Head, "training": Training, "augmentation": Augmentation}
PART_OF = {field.name: part for part, kind in PARTS.items() for field in fields(kind)}
RECIPE_OPTIONS = ("data", "model", "folds", "members", "seed")
DECIDED = {*PART_OF, *Plan.model_fields} - {*PARTS, *RECIPE_OPTIONS, "reasons"}
