"""The plan: every number that a training needs, each with its reason.

It is made once (see `diascope.planning`) and saved in the run. The same plan on the same machine
gives the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from diascope.atomic import write_json
from diascope.data.pack import Pixels
from diascope.errors import RunError
from diascope.models.spec import Head

if TYPE_CHECKING:  # both bring torch, and a plan is read where none is needed
    from diascope.data.augment import Augmentation
    from diascope.learning import Training

MAX_EPOCHS = 10_000
RANDOM, PRETRAINED = "random", "pretrained"  # what a training may begin with, besides a file


class Plan(BaseModel):
    """Every number that a training needs. The fields are listed in docs/reference.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str
    folds: int = Field(ge=0)
    members: int = Field(default=0, ge=0)
    seed: int = Field(ge=0)
    size_px: int = Field(ge=8, le=2048)
    fit: Literal["pad", "stretch"]
    alpha_background: Literal["black", "white"]
    normalise: Literal["measured", "unit", "pretrained"]
    finetune: Literal["head", "all"]
    weights: str
    weights_sha256: str
    pool: Literal["avg", "max"] | None
    dense_units: int | None = Field(ge=0, le=65_536)
    dropout: float | None = Field(ge=0, lt=1)
    max_epochs: int = Field(ge=1, le=MAX_EPOCHS)
    max_steps: int = Field(default=0, ge=0)
    batch_size: int = Field(ge=2, le=65_536)
    optimizer: Literal["adam", "adamw", "muon"]
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(ge=0, le=10)
    schedule: Literal["constant", "one_cycle", "hold_then_decay"]
    label_smoothing: float = Field(ge=0, lt=1)
    imbalance: Literal["none", "class_weights", "balanced_sampling", "logit_adjustment"]
    decision: Literal["most_probable", "balanced"]
    flips: Literal["none", "horizontal", "both", "dihedral"]
    rotation_degrees: float = Field(ge=0, le=180)
    shear_degrees: float = Field(ge=0, le=60)
    zoom: float = Field(ge=0, lt=1)
    shift: float = Field(ge=0, lt=1)
    colour_jitter: float = Field(ge=0, le=1)
    selection: Literal["last", "best_val_accuracy", "best_val_balanced_accuracy", "best_val_auroc"]
    patience_epochs: int = Field(ge=0)
    calibration: Literal["none", "val", "half_of_val"] = "none"
    views: Literal[1, 2, 4, 8]
    val_fraction: float = Field(gt=0, lt=1)
    precision: Literal["fp32", "bf16"]
    threads: int = Field(ge=1)
    reasons: dict[str, str]

    @property
    def pixels(self) -> Pixels:
        """How an image becomes the square that the network sees."""
        return Pixels(self.size_px, self.fit, self.alpha_background)

    @property
    def head(self) -> Head | None:
        """What is put on a backbone; None for a network of one piece."""
        if self.pool is None or self.dense_units is None or self.dropout is None:
            return None
        return Head(self.pool, self.dense_units, self.dropout)

    @property
    def augmentation(self) -> Augmentation:
        """How far training images may be changed."""
        from diascope.data.augment import Augmentation

        return Augmentation(**{name: getattr(self, name) for name in CHANGES})

    @property
    def learns_from_features(self) -> bool:
        """Whether what a frozen backbone sees is the same in every epoch, and computed once."""
        return self.finetune == "head" and self.is_unchanging

    @property
    def is_unchanging(self) -> bool:
        """Whether training images are learned as they are, without augmentation."""
        return all(getattr(self, name) in (0, "none") for name in CHANGES)

    def training(self, *, seed: int) -> Training:
        """Return what the training loop needs."""
        from diascope.learning import Training

        shared = {name: getattr(self, name) for name in Training.__annotations__ if name in DECIDED}
        return Training(**shared, seed=seed)

    def save(self, path: Path) -> None:
        """Write every setting with its value and reason as JSON."""
        values = self.model_dump(exclude={"reasons"})
        write_json(
            path,
            {name: {"value": v, "reason": self.reasons[name]} for name, v in values.items()},
        )

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan; settings that are newer than it have their defaults.

        Raises
        ------
        RunError
            The file is missing or damaged.
        """
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            values = {name: entry["value"] for name, entry in entries.items()}
            reasons = {name: entry["reason"] for name, entry in entries.items()}
            newer = dict.fromkeys({*ASKED, *DECIDED} - set(reasons), "newer than this run")
            return cls(**values, reasons=newer | reasons)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError("The plan cannot be read.", where=path) from error


BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}
KINDS = {int: "a whole number", float: "a number", str: "text"}


def allowed(name: str) -> str:
    """Return in words what a setting may be: its values, or its range.

    Examples
    --------
    >>> allowed("learning_rate"), allowed("pool")
    ('a number above 0 up to 10', 'avg, max or null')
    """
    field = Plan.model_fields[name]
    parts = get_args(field.annotation)
    if get_origin(field.annotation) is not Literal and parts:  # such as int | None
        kind, may_be_none = parts[0], True
    else:
        kind, may_be_none = field.annotation, False
    if get_origin(kind) is Literal:
        words = [*map(str, get_args(kind)), *(["null"] if may_be_none else [])]
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    bounds = [
        f" {word} {getattr(bound, key)}"
        for bound in field.metadata
        for key, word in BOUNDS.items()
        if hasattr(bound, key)
    ]
    return KINDS.get(kind, "text") + "".join(bounds) + (" or null" if may_be_none else "")


ASKED = ("data", "model", "folds", "members", "seed")
DECIDED = set(Plan.model_fields) - {*ASKED, "reasons"}
CHANGES = ("flips", "rotation_degrees", "shear_degrees", "zoom", "shift", "colour_jitter")
