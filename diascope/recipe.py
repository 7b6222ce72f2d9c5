"""The recipe: what was asked for. A few wishes; the plan turns them into every number.

A named recipe is a file in ``diascope/recipes/``, or one of the user's own, that holds a model and
settings: a published system, for example.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diascope.atomic import write_text
from diascope.errors import RunError, SettingsError, UnknownNameError
from diascope.metrics.operating_point import parse_target


class NamedRecipe(BaseModel):
    """A file of a recipe.

    Parameters
    ----------
    title, source : str
        What it is, in a line, and where it was published.
    data : str
        The data set that it was made for.
    model : str
    finetune : str, optional
    weights : str, optional
    settings : dict
        Plan settings by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    source: str = ""
    data: str = ""
    model: str
    finetune: Literal["head", "all"] | None = None
    weights: str | None = None
    settings: dict[str, Any] = {}


class Recipe(BaseModel):
    """What was asked for.

    Parameters
    ----------
    data, model : str
        Names of a prepared data set and of a model.
    recipe : str
        The named recipe that it began with, if there was one.
    finetune : str, optional
        Which layers of a pretrained network learn: ``"head"`` or ``"all"``.
    weights : str, optional
        What the training begins with: ``"pretrained"``, ``"random"``, or the path of a file, a
        bundle or a run.
    folds : int
        0: one split into train, val and test. K of two or more: cross-validation by group.
    members : int
        0: one network. M of two or more: an ensemble inside train and val.
    minutes : float, optional
        What the training may take, all folds together.
    target : str
        What the threshold is to promise, such as ``sensitivity=0.95``; empty promises nothing.
    seed : int
        Of the weights, the order of the images and their augmentation; never of the split.
    base, settings : dict
        Plan settings of the named recipe, and those that the user decided.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str = "compact"
    recipe: str = ""
    finetune: Literal["head", "all"] | None = None
    weights: str | None = None
    folds: int = Field(default=0, ge=0, le=100)
    members: int = Field(default=0, ge=0, le=100)
    minutes: float | None = Field(default=None, gt=0, le=100_000, allow_inf_nan=False)
    target: str = ""
    seed: int = Field(default=0, ge=0, lt=2**32)
    base: dict[str, Any] = {}
    settings: dict[str, Any] = {}

    @property
    def has_other_model(self) -> bool:
        """Whether a named recipe was begun with and another model asked for."""
        return self.recipe in named_recipes() and named_recipes()[self.recipe].model != self.model

    def save(self, path: Path) -> None:
        """Write the recipe as YAML."""
        write_text(path, yaml.safe_dump(self.model_dump(), sort_keys=False))

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe.

        Raises
        ------
        RunError
            The file is missing or damaged.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RunError("The recipe cannot be read.", where=path) from error


def named_recipes() -> dict[str, NamedRecipe]:
    """Return the recipes that diascope ships, by name."""
    folder = resources.files("diascope") / "recipes"
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {
        name.removesuffix(".yaml"): _read(
            Path(str(folder / name)), (folder / name).read_text("utf-8")
        )
        for name in files
    }


def find_recipe(name: str) -> NamedRecipe:
    """Return a recipe by its name, or from a ``.yaml`` file.

    Raises
    ------
    UnknownNameError
        There is no such recipe; the nearest is suggested.
    SettingsError
        The file is missing or no recipe.
    """
    if not name.endswith((".yaml", ".yml")):
        known = named_recipes()
        if name not in known:
            raise UnknownNameError("recipe", name, known, fix="Or pass a .yaml file.")
        return known[name]
    try:
        return _read(Path(name), Path(name).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("The recipe cannot be read.", where=name, fix="Check it.") from error


def _read(path: Path, text: str) -> NamedRecipe:
    try:
        return NamedRecipe.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise SettingsError(_problems(error), where=path, fix="Mend the recipe.") from error
    except yaml.YAMLError as error:
        raise SettingsError("The file is no YAML.", where=path) from error


def make_recipe(  # noqa: PLR0913 - each is one wish of the user
    data: str,
    *,
    model: str | None = None,
    recipe: str | None = None,
    finetune: str | None = None,
    weights: str | None = None,
    folds: int = 0,
    members: int = 0,
    minutes: float | None = None,
    target: str | None = None,
    seed: int = 0,
    settings: list[str] | None = None,
) -> Recipe:
    """Make a recipe from the words of a command.

    Parameters
    ----------
    data, model : str
    recipe : str
        A named recipe; what else is asked for comes before what it says.
    finetune, weights : str
    folds, members : int
    minutes : float
    target : str
        See `diascope.metrics.operating_point.parse_target`.
    seed : int
    settings : list of str
        Each ``name=value``, the value in YAML: ``max_epochs=4``, ``flips=none``.

    Raises
    ------
    SettingsError
        A value out of range, a setting without ``=``, or a target that is none.
    UnknownNameError
        There is no such recipe.
    """
    if folds == 1:
        raise SettingsError(
            "One fold leaves nothing to test on.", fix="Pass --folds 5, or leave --folds out."
        )
    if members == 1:
        raise SettingsError(
            "One member is no ensemble.", fix="Pass --members 3, or leave --members out."
        )
    wishes: dict[str, Any] = {"model": model, "finetune": finetune, "weights": _absolute(weights)}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    if recipe is not None:
        named = find_recipe(recipe)
        said = {"model": named.model, "finetune": named.finetune, "weights": named.weights}
        wishes = {**said, **wishes, "recipe": Path(recipe).stem, "base": named.settings}
    decided = _parse(settings or [])
    lengths = sorted({"max_epochs", "max_steps"} & set(decided))
    if minutes is not None and lengths:
        raise SettingsError(
            f"Both --minutes and {' and '.join(lengths)} say how long to train.",
            fix="Leave one of them out.",
        )
    try:
        return Recipe(
            data=data,
            folds=folds,
            members=members,
            minutes=minutes,
            target="" if target is None else str(parse_target(target)),
            seed=seed,
            settings=decided,
            **wishes,
        )
    except ValidationError as error:
        raise SettingsError(_problems(error)) from error


def _absolute(weights: str | None) -> str | None:
    """Make a path one that holds from any folder; words such as ``pretrained`` stay."""
    if weights is None or not Path(weights).exists():
        return weights
    return str(Path(weights).resolve())


def _parse(settings: list[str]) -> dict[str, Any]:
    decided = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise SettingsError(
                f"{setting!r} is no setting.", fix="Write --set name=value, such as max_epochs=4."
            )
        try:
            decided[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingsError(f"The value of {setting!r} cannot be read.") from error
    return decided


LIMITS = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "below {lt:g}",
    "less_than_equal": "{le:g} at most",
}


def _problems(error: ValidationError) -> str:
    found = []
    for issue in error.errors():
        name, limit = ".".join(map(str, issue["loc"])), LIMITS.get(issue["type"])
        said = f"{name}: {issue['msg']}"
        if limit:
            bound = limit.format(**issue.get("ctx", {}))
            said = f"{name} is to be {bound}, and {issue['input']} is not"
        found.append(said)
    return "; ".join(found) + "."
