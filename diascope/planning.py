"""Decide every number of a plan: from what was asked, the data, the model and the machine.

Whoever knows more wins: the general settings, then those of the data set, of the model, of a named
recipe, and last what the user has set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from diascope.errors import SettingsError, UnknownNameError
from diascope.machine import Machine
from diascope.models.find import find_model
from diascope.models.spec import Head, ModelSpec
from diascope.plan import ASKED, DECIDED, PRETRAINED, RANDOM, Plan, allowed
from diascope.recipe import Recipe

Settings = Mapping[str, tuple[Any, str]]  # by name: value and reason

IMAGES_SEEN = 45_000  # about a minute of training the compact network on two cores
FEW_EPOCHS = 4  # fewer only where these would show more than twice as many images

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
    "finetune": ("all", "every layer learns"),
    "weights": (RANDOM, "trained from scratch"),
    "weights_sha256": ("", "there are no weights to begin with"),
    "flips": ("dihedral", "a cell looks the same under every turn and mirror"),
    "rotation_degrees": (0.0, "turns and mirrors are enough"),
    "shear_degrees": (0.0, "would change shapes"),
    "zoom": (0.0, "the size is normalised already"),
    "shift": (0.0, "objects are centred already"),
    "colour_jitter": (0.08, "stain and light differ between patients"),
    "max_steps": (0, "no epoch is cut short"),
    "selection": ("last", "the cycle ends at its best; nothing is chosen on validation"),
    "patience_epochs": (0, "the schedule has a fixed length"),
    "views": (4, "quarter turns of each image, averaged"),
    "pool": (None, "only a pretrained network has one to choose"),
    "dense_units": (None, "only a pretrained network has one to choose"),
    "dropout": (None, "only a pretrained network has one to choose"),
    "val_fraction": (
        0.125,
        "with folds only: share of the groups outside the test fold that is watched",
    ),
}
HEAD_ALONE: Settings = {
    "flips": ("none", "so what the frozen network sees is computed once, in its views"),
    "colour_jitter": (0.0, "so what the frozen network sees is computed once"),
    "max_epochs": (30, "an epoch of a head takes a moment"),
    "batch_size": (64, "small enough for many steps"),
    "weight_decay": (0.05, "the features are many and the images few"),
}
IMBALANCE = "logit_adjustment"
BEST_ON_VALIDATION = "the best AUROC of four on validation images of HAM10000"
UNEQUAL = 1.5  # times as many images in the largest class as in the smallest


@dataclass(frozen=True)
class DataFacts:
    """What a plan takes from the data.

    Parameters
    ----------
    class_counts : tuple of int (K,)
        Training images of each class, of the first fold in a cross-validation.
    alpha_background : str
        The data set's rule for transparent pixels.
    settings : mapping
        Plan settings that suit these images: ``{name: (value, reason)}``.
    """

    class_counts: tuple[int, ...]
    alpha_background: str = "black"
    settings: Settings = field(default_factory=dict)


def derive_plan(
    recipe: Recipe, data: DataFacts, machine: Machine, *, weights_sha256: str = ""
) -> Plan:
    """Decide every number.

    Parameters
    ----------
    recipe : Recipe
        What was asked for; its settings win.
    data : DataFacts
    machine : Machine
    weights_sha256 : str
        Checksum of the file of weights that the training begins with, if there is one.

    Raises
    ------
    SettingsError
        A setting that does not exist or has an impossible value; all of them at once. Or settings
        that contradict each other.
    """
    model = find_model(recipe.model)
    decided = {
        **DEFAULTS,
        **_from_data(data),
        **_from_machine(machine),
        **data.settings,
        **_from_model(model),
    }
    wishes = _from_recipe(recipe)
    if wishes.get("finetune", ("all", ""))[0] == "head":
        decided |= HEAD_ALONE
    decided |= wishes
    decided.setdefault("calibration", _calibration(decided["selection"][0], recipe.members))
    if weights_sha256:
        decided["weights_sha256"] = (weights_sha256, "checksum of the file of weights")
    check_names(decided)
    asked = {name: getattr(recipe, name) for name in ASKED}
    unsaid = {name for name in asked if name not in recipe.model_fields_set or asked[name] == 0}
    try:
        plan = Plan(
            **asked,
            **{name: value for name, (value, _) in decided.items()},
            reasons={
                **{name: "the default" if name in unsaid else "asked for" for name in asked},
                **{name: reason for name, (_, reason) in decided.items()},
            },
        )
    except ValidationError as error:
        problems = [
            f"{name} is to be {allowed(name)}, and {issue['input']!r} is not"
            for issue in error.errors()
            for name in [str(issue["loc"][0])]
        ]
        problems = list(dict.fromkeys(problems))  # of `int | None` each part has its complaint
        raise SettingsError("; ".join(problems) + ".", fix="Mend the --set options.") from error
    _check(plan, model)
    return plan


def check_names(settings: Iterable[str]) -> None:
    """Check that there are such settings.

    Raises
    ------
    UnknownNameError
        The nearest is suggested.
    """
    for name in settings:
        if name not in DECIDED:
            raise UnknownNameError("setting", name, DECIDED)


def _from_data(data: DataFacts) -> Settings:
    counts = data.class_counts
    n_train = sum(counts)
    epochs = number_of_epochs(n_train)
    unequal = max(counts) > UNEQUAL * min(counts)
    ratio = f"the largest class has {max(counts) / max(1, min(counts)):.3g} times the images"
    ratio += " of the smallest"
    return {
        "alpha_background": (data.alpha_background, "the data set's rule"),
        "max_epochs": (epochs, f"{epochs * n_train:,} images seen, of {n_train:,} to learn from"),
        "imbalance": (IMBALANCE, f"{ratio}; {BEST_ON_VALIDATION}") if unequal else ("none", ratio),
        "decision": ("balanced" if unequal else "most_probable", ratio),
    }


def number_of_epochs(n_train: int) -> int:
    """Return how often all training images are seen, where nobody says otherwise.

    Examples
    --------
    >>> [number_of_epochs(n) for n in (500, 5_000, 22_000, 30_000, 150_000)]
    [40, 9, 4, 3, 2]
    """
    in_a_minute = round(IMAGES_SEEN / n_train)
    in_two = round(2 * IMAGES_SEEN / n_train)
    return max(2, min(40, in_a_minute), min(FEW_EPOCHS, in_two))


def _calibration(selection: str, members: int) -> tuple[str, str]:
    """Return which images temperature and prediction sets are chosen on: by nothing else chosen."""
    if members:
        return "none", "every image outside test was learned from by a member"
    if selection == "last":
        return "val", "the validation images made no other choice"
    return "half_of_val", "the other half of the validation groups chooses the epoch"


def _from_machine(machine: Machine) -> Settings:
    return {"precision": machine.precision, "threads": machine.threads}


def _from_model(model: ModelSpec) -> Settings:
    head = {} if model.head is None else asdict(Head())
    by_default = {name: (value, "the head by default") for name, value in head.items()}
    return {**by_default, **model.settings}


def _from_recipe(recipe: Recipe) -> Settings:
    settings = {name: (v, f"the recipe {recipe.recipe}") for name, v in recipe.base.items()}
    if recipe.finetune is not None:
        settings["finetune"] = (recipe.finetune, "asked for")
    if recipe.weights is not None:
        settings["weights"] = (recipe.weights, "asked for")
    return settings | {name: (v, "set by the user") for name, v in recipe.settings.items()}


def _check(plan: Plan, model: ModelSpec) -> None:
    """Check what a field alone does not show."""
    largest = model.max_size_px or plan.size_px
    if not model.min_size_px <= plan.size_px <= largest:
        bound = f"of {largest}" if largest == model.min_size_px else f"from {model.min_size_px} up"
        raise SettingsError(
            f"The model {model.name} takes images {bound} px, and size_px is {plan.size_px}.",
            fix=f"Pass --set size_px={model.min_size_px}.",
        )
    if model.head is None:
        wishes = {
            "pool, dense_units and dropout": (plan.pool, plan.dense_units, plan.dropout)
            != (None, None, None),
            "finetune=head": plan.finetune == "head",
            "normalise=pretrained": plan.normalise == "pretrained",
            "weights=pretrained": plan.weights == PRETRAINED,
        }
        wrong = [name for name, is_wished in wishes.items() if is_wished]
        if wrong:
            raise SettingsError(
                f"The model {model.name} is of one piece, without a pretrained backbone: "
                f"{'; '.join(wrong)} cannot be had.",
                fix="Leave them out, or choose a --model timm:NAME.",
            )
