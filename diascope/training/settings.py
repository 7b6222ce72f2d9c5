"""Decide every number of a plan: from the recipe, the data, the model and the machine.

The more specific setting wins: the defaults, then those of the data set, of the model, of a named
recipe, and last what the user has set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from diascope.data.value_range import ValueRange
from diascope.data.window import FILE
from diascope.errors import SettingsError, UnknownNameError
from diascope.models.find import find_model
from diascope.models.spec import PRETRAINED, RANDOM, Head, ModelSpec
from diascope.system.machine import Machine
from diascope.training.plan import DECIDED, PART_OF, PARTS, RECIPE_OPTIONS, Plan
from diascope.training.recipe import Recipe

Settings = Mapping[str, tuple[Any, str]]  # by name: value and reason

IMAGES_SEEN = 45_000  # about a minute of training the compact network on two cores
FEW_EPOCHS = 4  # fewer only where these would show more than twice as many images

DEFAULTS: dict[str, tuple[Any, str]] = {
    "size_px": (64, "quick to train: a quarter of the pixels of 128 px; finer detail is lost"),
    "fit": ("pad", "the aspect ratio is kept: shape is part of the finding"),
    "normalise": ("measured", "mean and standard deviation of the training images"),
    "batch_size": (128, "large enough for speed, small enough for the memory"),
    "optimizer": ("adamw", "trains small networks in few epochs (Loshchilov & Hutter 2019)"),
    "learning_rate": (2e-3, "peak of the cycle, for a batch size of 128"),
    "weight_decay": (0.02, "mild; not applied to biases and normalisation weights"),
    "schedule": ("one_cycle", "needs few epochs (Smith & Topin 2018)"),
    "label_smoothing": (0.1, "labels can be wrong, and no image should be memorised"),
    "finetune": ("all", "all layers are trained"),
    "weights": (RANDOM, "trained from scratch"),
    "weights_sha256": ("", "no initial weights"),
    "flips": (
        "dihedral",
        "any orientation is taken as equally likely; `none` where up and down matter",
    ),
    "rotation_degrees": (0.0, "quarter turns and flips are enough"),
    "shear_degrees": (0.0, "shear would change shapes"),
    "zoom": (0.0, "size may be part of the finding"),
    "shift": (0.0, "no part of an image is moved out of it"),
    "colour_jitter": (0.08, "light and colours differ between devices and patients"),
    "max_steps": (0, "no epoch is cut short"),
    "selection": ("last", "the schedule ends at its best; nothing is chosen on validation"),
    "patience_epochs": (0, "the schedule has a fixed length"),
    "views": (4, "predictions are averaged over the quarter turns of each image"),
    "pool": (None, "only for pretrained networks"),
    "dense_units": (None, "only for pretrained networks"),
    "dropout": (None, "only for pretrained networks"),
    "val_fraction": (
        0.125,
        "only with folds: fraction of the groups outside the test fold used for validation",
    ),
}
HEAD_ALONE: Settings = {
    "flips": ("none", "so that the features of the frozen network are computed once per view"),
    "colour_jitter": (0.0, "so that the features of the frozen network are computed once"),
    "max_epochs": (30, "an epoch is fast when only the head is trained"),
    "batch_size": (64, "small, to give many steps"),
    "weight_decay": (0.05, "there are many features and few images"),
}
IMBALANCE = "logit_adjustment"
BEST_ON_VALIDATION = "the best validation AUROC of four methods on HAM10000"
UNEQUAL = 1.5  # times as many images in the largest class as in the smallest


@dataclass(frozen=True)
class DataFacts:
    """What a plan takes from the data."""

    class_counts: tuple[int, ...]  # training images of each class, of the first fold
    alpha_background: str = "black"
    value_range: ValueRange | None = None
    window: str = FILE
    settings: Settings = field(default_factory=dict)  # that suit these images


def derive_plan(
    recipe: Recipe, data: DataFacts, machine: Machine, *, weights_sha256: str = ""
) -> Plan:
    """Decide every number.

    ``weights_sha256`` is the checksum of the file of initial weights, if there is one.

    Raises
    ------
    UnknownNameError
        There is no such setting.
    SettingsError
        Impossible values, all of them at once, or settings that contradict each other.
    """
    model = find_model(recipe.model)
    decided = {
        **DEFAULTS,
        **_from_data(data),
        "precision": machine.precision,
        "threads": machine.threads,
        **data.settings,
        **_from_model(model),
    }
    chosen = _from_recipe(recipe)
    if chosen.get("finetune", ("all", ""))[0] == "head":
        decided |= HEAD_ALONE
    decided |= chosen
    decided.setdefault("calibration", _calibration(decided["selection"][0], recipe.members))
    if weights_sha256:
        decided["weights_sha256"] = (weights_sha256, "checksum of the file of weights")
    for name in decided:
        if name not in DECIDED:
            raise UnknownNameError("setting", name, DECIDED)
    if model.head is None:
        _check_one_piece(model, {name: value for name, (value, _) in decided.items()})
    try:
        plan = Plan.of(_from_options(recipe) | decided)
    except ValidationError as error:
        raise SettingsError(_problems(error), fix="Correct the --set options.") from error
    _check_size(model, plan.pixels.size_px)
    return plan


def _from_options(recipe: Recipe) -> dict[str, tuple[Any, str]]:
    """Return the settings that are options of the recipe."""
    options = [(f.name, getattr(recipe, f.name), f.default) for f in fields(Recipe)]
    return {
        name: (value, "the default" if value == default else "set by the user")
        for name, value, default in options
        if name in RECIPE_OPTIONS
    }


def _problems(error: ValidationError) -> str:
    """Explain what is wrong with the settings."""
    problems = []
    for issue in error.errors():
        name = next(
            str(part) for part in reversed(issue["loc"]) if part in DECIDED | set(RECIPE_OPTIONS)
        )
        problems.append(f"{name} must be {allowed(name)}, and {issue['input']!r} is not")
    return "; ".join(dict.fromkeys(problems)) + "."  # `int | None` has a problem for each


BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}
KINDS = {int: "a whole number", float: "a number", str: "text"}


def allowed(name: str) -> str:
    """Describe the values that a setting may have: a list, or a range.

    Examples
    --------
    >>> allowed("learning_rate"), allowed("pool")
    ('a number above 0 up to 10', 'avg or max')
    """
    part: type = PARTS.get(PART_OF.get(name, ""), Plan)
    kind, *notes = get_type_hints(part, include_extras=True)[name], None
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
    if name == "value_range":
        return "none, or two whole numbers such as [0, 4095]: the 16-bit values of black and white"
    if name == "window":
        return "file, full, or centre/width such as 40/400: the DICOM values of black and white"
    if get_origin(kind) is Literal:
        *words, last = map(str, get_args(kind))
        return f"{', '.join(words)} or {last}"
    bounds = [
        f" {word} {getattr(bound, key)}"
        for note in notes
        for bound in getattr(note, "metadata", ())
        for key, word in BOUNDS.items()
        if hasattr(bound, key)
    ]
    return KINDS[kind] + "".join(bounds)


def _from_data(data: DataFacts) -> Settings:
    counts = data.class_counts
    n_train = sum(counts)
    epochs = number_of_epochs(n_train)
    unequal = max(counts) > UNEQUAL * min(counts)
    ratio = f"the largest class has {max(counts) / max(1, min(counts)):.3g} times the images"
    ratio += " of the smallest"
    return {
        "alpha_background": (data.alpha_background, "set by the data set"),
        "value_range": (
            data.value_range,
            "measured over the data set" if data.value_range else "no image has 16 bits",
        ),
        "window": (data.window, "set when the data set was prepared"),
        "max_epochs": (
            epochs,
            f"{n_train:,} training images, {epochs * n_train:,} seen in total",
        ),
        "imbalance": (IMBALANCE, f"{ratio}; {BEST_ON_VALIDATION}") if unequal else ("none", ratio),
        "decision": ("balanced" if unequal else "most_probable", ratio),
    }


def number_of_epochs(n_train: int) -> int:
    """Return the default number of epochs for so many training images.

    Examples
    --------
    >>> [number_of_epochs(n) for n in (500, 5_000, 22_000, 30_000, 150_000)]
    [40, 9, 4, 3, 2]
    """
    in_a_minute = round(IMAGES_SEEN / n_train)
    in_two = round(2 * IMAGES_SEEN / n_train)
    return max(2, min(40, in_a_minute), min(FEW_EPOCHS, in_two))


def _calibration(selection: str, members: int) -> tuple[str, str]:
    """Return which images calibrate: only those on which nothing else is chosen."""
    if members:
        return "none", "every image outside test was used to train a member"
    if selection == "last":
        return "val", "the validation images are used for no other choice"
    return "half_of_val", "the other half of the validation groups chooses the epoch"


def _from_model(model: ModelSpec) -> Settings:
    head = {} if model.head is None else asdict(Head())
    by_default = {name: (value, "the default head") for name, value in head.items()}
    return {**by_default, **model.settings}


def _from_recipe(recipe: Recipe) -> Settings:
    settings = {name: (v, f"the recipe {recipe.recipe}") for name, v in recipe.base.items()}
    if recipe.finetune is not None:
        settings["finetune"] = (recipe.finetune, "set by the user")
    if recipe.weights is not None:
        settings["weights"] = (recipe.weights, "set by the user")
    return settings | {name: (v, "set by the user") for name, v in recipe.settings.items()}


def _check_size(model: ModelSpec, size_px: int) -> None:
    largest = model.max_size_px or size_px
    if not model.min_size_px <= size_px <= largest:
        bound = f"of {largest}" if largest == model.min_size_px else f"from {model.min_size_px} up"
        raise SettingsError(
            f"The model {model.name} takes images {bound} px, and size_px is {size_px}.",
            fix=f"Pass --set size_px={model.min_size_px}.",
        )


def _check_one_piece(model: ModelSpec, values: Mapping[str, Any]) -> None:
    """Check that nothing is set that only a pretrained backbone has."""
    backbone_only = {
        "pool, dense_units and dropout": any(values[f.name] is not None for f in fields(Head)),
        "finetune=head": values["finetune"] == "head",
        "normalise=pretrained": values["normalise"] == "pretrained",
        "weights=pretrained": values["weights"] == PRETRAINED,
    }
    wrong = [name for name, is_set in backbone_only.items() if is_set]
    if wrong:
        raise SettingsError(
            f"The model {model.name} has no pretrained backbone: it cannot "
            f"have {'; '.join(wrong)}.",
            fix="Leave them out, or choose a --model timm:NAME.",
        )
