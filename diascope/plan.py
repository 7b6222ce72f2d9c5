"""The plan: every number that a training needs, each with its reason.

It is made once, from the recipe, the fingerprint of the data, the model and the machine, and saved
in the run. The same plan on the same machine gives the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diascope.atomic import write_json
from diascope.data.augment import Augmentation
from diascope.data.pack import Pixels
from diascope.errors import RunError, SettingsError, UnknownNameError
from diascope.learning import Training
from diascope.machine import Machine
from diascope.models.spec import ModelSpec
from diascope.recipe import Recipe

IMAGES_SEEN = 45_000  # about a minute of training the compact network on two cores

DEFAULTS: dict[str, tuple[Any, str]] = {
    "size_px": (64, "cells keep their detail at 64 px, and four times as many train in a second"),
    "fit": ("pad", "the aspect ratio is kept: shape is part of the finding"),
    "normalise": ("measured", "mean and deviation of the training images"),
    "batch_size": (128, "large enough for the processor, small enough for the memory"),
    "optimizer": ("adamw", "trains small networks in few epochs (Loshchilov & Hutter 2019)"),
    "learning_rate": (2e-3, "peak of the cycle, for batches of 128"),
    "weight_decay": (0.02, "mild; biases and normalisation weights are left out"),
    "schedule": ("one_cycle", "few epochs suffice (Smith & Topin 2018)"),
    "label_smoothing": (0.1, "some labels are wrong; no image should be learned by heart"),
    "flips": ("dihedral", "a cell looks the same under every turn and mirror"),
    "rotation_degrees": (0.0, "turns and mirrors are enough"),
    "shear_degrees": (0.0, "would change shapes"),
    "zoom": (0.0, "the size is normalised already"),
    "colour_jitter": (0.08, "stain and light differ between patients"),
    "selection": ("last", "the cycle ends at its best; nothing is chosen on validation"),
    "patience_epochs": (0, "the schedule has a fixed length"),
    "views": (4, "quarter turns of each image, averaged"),
    "val_fraction": (0.125, "share of the groups outside the test fold that is watched"),
}


class Plan(BaseModel):
    """Every number that a training needs. The fields are listed in docs/reference.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str
    folds: int = Field(ge=0)
    seed: int = Field(ge=0)
    size_px: int = Field(ge=8, le=2048)
    fit: Literal["pad", "stretch"]
    alpha_background: Literal["black", "white"]
    normalise: Literal["measured", "unit"]
    max_epochs: int = Field(ge=1, le=10_000)
    batch_size: int = Field(ge=2, le=65_536)
    optimizer: Literal["adam", "adamw"]
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(ge=0, le=10)
    schedule: Literal["constant", "one_cycle"]
    label_smoothing: float = Field(ge=0, lt=1)
    flips: Literal["none", "horizontal", "dihedral"]
    rotation_degrees: float = Field(ge=0, le=180)
    shear_degrees: float = Field(ge=0, le=60)
    zoom: float = Field(ge=0, lt=1)
    colour_jitter: float = Field(ge=0, le=1)
    selection: Literal["last", "best_val_accuracy"]
    patience_epochs: int = Field(ge=0)
    views: Literal[1, 2, 4, 8]
    val_fraction: float = Field(gt=0, lt=1)
    precision: Literal["fp32", "bf16"]
    threads: int = Field(ge=1)
    reasons: dict[str, str]

    @property
    def pixels(self) -> Pixels:
        """How an image becomes the square that the network sees."""
        return Pixels(self.size_px, self.fit, self.alpha_background)

    def training(self, mean: tuple[float, ...], std: tuple[float, ...], *, seed: int) -> Training:
        """Return what the training loop needs, for given channel statistics (C,)."""
        changes = Augmentation(
            self.flips, self.rotation_degrees, self.shear_degrees, self.zoom, self.colour_jitter
        )
        shared = {name: getattr(self, name) for name in Training.__annotations__ if name in DECIDED}
        return Training(**shared, mean=mean, std=std, augmentation=changes, seed=seed)

    def save(self, path: Path) -> None:
        """Write every setting with its value and reason as JSON."""
        values = self.model_dump(exclude={"reasons"})
        write_json(
            path,
            {name: {"value": v, "reason": self.reasons[name]} for name, v in values.items()},
        )

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan.

        Raises
        ------
        RunError
            The file is missing or damaged.
        """
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            values = {name: entry["value"] for name, entry in entries.items()}
            reasons = {name: entry["reason"] for name, entry in entries.items()}
            return cls(**values, reasons=reasons)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError("The plan cannot be read.", where=path) from error


DECIDED = set(Plan.model_fields) - {"data", "model", "folds", "seed", "reasons"}


def derive_plan(
    recipe: Recipe, model: ModelSpec, machine: Machine, *, n_train: int, alpha_background: str
) -> Plan:
    """Decide every number.

    Parameters
    ----------
    recipe : Recipe
        What was asked for; its settings win.
    model : ModelSpec
        Its settings win over the general ones.
    machine : Machine
    n_train : int
        Training images, of one fold in a cross-validation.
    alpha_background : str
        The data set's rule for transparent pixels.

    Raises
    ------
    SettingsError
        A setting that does not exist or has an impossible value; all of them at once.
    """
    epochs = max(2, min(40, round(IMAGES_SEEN / n_train)))
    decided = {
        **DEFAULTS,
        "alpha_background": (alpha_background, "the data set's rule"),
        "max_epochs": (epochs, f"{IMAGES_SEEN} images seen, of {n_train} to learn from"),
        "precision": machine.precision,
        "threads": machine.threads,
        **model.settings,
    }
    for name, value in recipe.settings.items():
        if name not in DECIDED:
            raise UnknownNameError("setting", name, DECIDED)
        decided[name] = (value, "set by the user")
    asked = recipe.model_dump(exclude={"settings"})
    try:
        plan = Plan(
            **asked,
            **{name: value for name, (value, _) in decided.items()},
            reasons={
                **dict.fromkeys(asked, "asked for"),
                **{name: reason for name, (_, reason) in decided.items()},
            },
        )
    except ValidationError as error:
        problems = [f"{issue['loc'][0]}: {issue['msg']}" for issue in error.errors()]
        raise SettingsError("; ".join(problems) + ".", fix="Mend the --set options.") from error
    if plan.size_px < model.min_size_px:
        raise SettingsError(
            f"The model {model.name} needs images of at least {model.min_size_px} px, "
            f"and size_px is {plan.size_px}."
        )
    return plan
