"""What a search may change: network, size, learning rate, augmentation, handling of imbalance.

A setting that the user fixes by ``--set`` is the same in every trial, and no dimension any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import polars as pl

from diascope.data.prepared import Prepared
from diascope.errors import SettingsError
from diascope.models.find import find_model
from diascope.models.pretrained import models_with_weights
from diascope.models.spec import TIMM
from diascope.system.extras import is_installed
from diascope.system.words import first_of
from diascope.training.decide import plan_of
from diascope.training.plan import Augmentation, Plan
from diascope.training.recipe import Recipe, make_recipe
from diascope.training.search_record import METRICS
from diascope.training.settings import UNEQUAL

NETWORK, SIZE, RATE = "network", "size_px", "learning_rate_factor"
AUGMENTATION, IMBALANCE = "augmentation", "imbalance"
SIZES = (48, 64, 96, 128)
SLOWEST, FASTEST = 0.2, 5.0  # times the default learning rate of the network
HEAD = " (head)"  # after the name of a network of which only the head is trained
SMALL_BACKBONE = f"{TIMM}tf_efficientnet_lite0"
AUGMENTATIONS: Mapping[str, Mapping[str, Any]] = {
    "default": {},  # as the plan has it for these images
    "none": {name: getattr(Augmentation(), name) for name in Augmentation.__dataclass_fields__},
    "strong": {"rotation_degrees": 20.0, "zoom": 0.1, "shift": 0.05, "colour_jitter": 0.15},
}
METHODS = ("none", "class_weights", "balanced_sampling", "logit_adjustment")


class Suggest(Protocol):
    """Whatever chooses values: a trial of Optuna."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number between the bounds."""
        ...


@dataclass(frozen=True)
class Space:
    """The dimensions of a search; one with a single choice is fixed."""

    data: str
    seed: int
    networks: tuple[str, ...]
    sizes: tuple[int, ...]
    has_rate: bool
    augmentations: tuple[str, ...]
    methods: tuple[str, ...]  # of handling imbalance; none where the plan decides
    fixed: Mapping[str, Any]  # settings that every trial has

    @property
    def default(self) -> dict[str, Any]:
        """The values of the first trial: the settings of a training without a search."""
        values: dict[str, Any] = {NETWORK: self.networks[0]}
        if len(self.sizes) > 1:
            values[SIZE] = 64 if 64 in self.sizes else self.sizes[0]
        values |= {RATE: 1.0} if self.has_rate else {}
        is_whole = not self.networks[0].endswith(HEAD)
        values |= {AUGMENTATION: "default"} if self.augmentations and is_whole else {}
        return values | ({IMBALANCE: "logit_adjustment"} if self.methods else {})

    def as_dict(self) -> dict[str, Any]:
        """Return what two workers of one search must have in common."""
        return {
            **{"networks": list(self.networks), "sizes": list(self.sizes)},
            **{"learning_rate": self.has_rate, "augmentations": list(self.augmentations)},
            **{"imbalance": list(self.methods), "fixed": dict(self.fixed), "seed": self.seed},
        }

    def suggest(self, trial: Suggest) -> dict[str, Any]:
        """Choose a value of every dimension that the network has."""
        network = trial.suggest_categorical(NETWORK, list(self.networks))
        values: dict[str, Any] = {NETWORK: network}
        if len(self.sizes) > 1:
            values[SIZE] = trial.suggest_categorical(SIZE, list(self.sizes))
        if self.has_rate:
            values[RATE] = trial.suggest_float(RATE, SLOWEST, FASTEST, log=True)
        if self.augmentations and not network.endswith(HEAD):
            values[AUGMENTATION] = trial.suggest_categorical(AUGMENTATION, list(self.augmentations))
        if self.methods:
            values[IMBALANCE] = trial.suggest_categorical(IMBALANCE, list(self.methods))
        return values

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with these values, its learning rate still the default."""
        network = str(values[NETWORK])
        settings = dict(AUGMENTATIONS[values.get(AUGMENTATION, "default")])
        size_px = values.get(SIZE, self.sizes[0] if self.sizes else None)
        settings |= {"size_px": size_px} if size_px is not None else {}
        settings |= {"imbalance": values[IMBALANCE]} if IMBALANCE in values else {}
        is_head = network.endswith(HEAD)
        finetune = "head" if is_head else "all" if network.startswith(TIMM) else None
        return make_recipe(
            self.data,
            model=network.removesuffix(HEAD),
            finetune=finetune,
            seed=self.seed,
            settings={**settings, **self.fixed},
        )

    def decide(
        self, values: Mapping[str, Any], prepared: Prepared, train_rows: pl.DataFrame
    ) -> tuple[Recipe, Plan]:
        """Return the recipe of some values, and its plan before weights are looked up."""
        recipe = self.recipe(values)
        plan = plan_of(recipe, prepared, train_rows)
        if RATE not in values:
            return recipe, plan
        rate = float(f"{plan.training.learning_rate * values[RATE]:.3g}")
        recipe = replace(recipe, settings={**recipe.settings, "learning_rate": rate})
        return recipe, plan_of(recipe, prepared, train_rows)


def make_space(
    prepared: Prepared,
    train_rows: pl.DataFrame,
    *,
    models: Sequence[str],
    sizes: Sequence[int],
    metric: str,
    seed: int,
    settings: Mapping[str, Any],
) -> Space:
    """Return the dimensions that these data, models and fixed settings leave.

    Parameters
    ----------
    models : sequence of str
        Empty for the compact network and, where its weights are on this machine, a small
        pretrained one. A pretrained network is tried whole and with nothing but its head trained.
    sizes : sequence of int
        Sides of the images in pixels; empty for those of ``SIZES`` that every model takes.
    metric : str
        A key of ``METRICS``. Methods of handling imbalance are only searched by ``"auroc"``, which
        the prior that they bring does not change.

    Raises
    ------
    SettingsError, UnknownNameError
        There is no such model or metric, a size fits no model, or nothing is left to search.
    """
    if metric not in METRICS:
        raise SettingsError(
            f"A search is by {' or '.join(METRICS)}, not by {metric!r}.", fix="Correct --metric."
        )
    data = prepared.dataset.name
    fixed = dict(make_recipe(data, settings=settings).settings)
    names = list(dict.fromkeys(models)) or _usual_models()
    networks = [one for name in names for one in _ways_of_training(name, fixed)]
    counts = train_rows["label"].value_counts()["count"].to_list()
    is_unequal = max(counts) > UNEQUAL * min(counts)
    has_methods = is_unequal and metric == "auroc" and "imbalance" not in fixed
    has_augmentation = not set(fixed) & set(Augmentation.__dataclass_fields__)
    space = Space(
        data=data,
        seed=seed,
        networks=tuple(networks),
        sizes=() if "size_px" in fixed else _sizes(names, sizes),
        has_rate="learning_rate" not in fixed,
        augmentations=tuple(AUGMENTATIONS) if has_augmentation else (),
        methods=METHODS if has_methods else (),
        fixed=fixed,
    )
    if len(space.default) == 1 and len(networks) == 1:
        raise SettingsError(
            "Nothing is left to search: every dimension is fixed.",
            fix="Leave a --set out, or pass several --model or --size.",
        )
    for network in networks:  # what no trial can do is said before the first one
        space.decide({**space.default, NETWORK: network}, prepared, train_rows)
    return space


def _usual_models() -> list[str]:
    has_weights = is_installed("timm") and SMALL_BACKBONE in models_with_weights()
    return ["compact", *([SMALL_BACKBONE] if has_weights else [])]


def _ways_of_training(name: str, fixed: Mapping[str, Any]) -> list[str]:
    """Return a network, and a pretrained one also with nothing but its head trained."""
    if find_model(name).head is None or "finetune" in fixed or fixed.get("weights") == "random":
        return [name]
    return [name, f"{name}{HEAD}"]


def _sizes(names: Sequence[str], sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes that were asked for, or those that every model takes."""
    specs = [find_model(name) for name in names]
    low = max(spec.min_size_px for spec in specs)
    high = min((spec.max_size_px for spec in specs if spec.max_size_px), default=None)
    wrong = [s for s in sizes if s < low or (high is not None and s > high)]
    fitting = tuple(s for s in SIZES if s >= low and (high is None or s <= high))
    if wrong:
        bound = f"from {low} px" + (f" to {high} px" if high else " up")
        raise SettingsError(
            f"Not every model takes images of {first_of(list(map(str, wrong)))} px.",
            fix=f"Pass --size {bound}.",
        )
    chosen = tuple(dict.fromkeys(sizes)) or fitting
    if not chosen and high is not None and high < low:
        raise SettingsError(
            f"No size suits all of {', '.join(names)}.", fix="Search them one after the other."
        )
    return chosen or (low,)
