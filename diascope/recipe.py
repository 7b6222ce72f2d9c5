"""The recipe: what was asked for. A few wishes; the plan turns them into every number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diascope.atomic import write_text
from diascope.errors import RunError, SettingsError


class Recipe(BaseModel):
    """What was asked for.

    Parameters
    ----------
    data, model : str
        Names of a prepared data set and of a model.
    folds : int
        0: one split into train, val and test. K of two or more: cross-validation by group.
    seed : int
        Of the weights, the order of the images and their augmentation; never of the split.
    settings : dict
        Plan settings that the user decided.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str = "compact"
    folds: int = Field(default=0, ge=0, le=100)
    seed: int = Field(default=0, ge=0, lt=2**32)
    settings: dict[str, Any] = {}

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


def make_recipe(data: str, model: str, *, folds: int, seed: int, settings: list[str]) -> Recipe:
    """Make a recipe from the words of a command.

    Parameters
    ----------
    data, model : str
    folds, seed : int
    settings : list of str
        Each ``name=value``, the value in YAML: ``max_epochs=4``, ``flips=none``.

    Raises
    ------
    SettingsError
        A value out of range, or a setting without ``=``.
    """
    if folds == 1:
        raise SettingsError(
            "One fold leaves nothing to test on.", fix="Pass --folds 5, or leave --folds out."
        )
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
    try:
        return Recipe(data=data, model=model, folds=folds, seed=seed, settings=decided)
    except ValidationError as error:
        problems = [f"{issue['loc'][0]}: {issue['msg']}" for issue in error.errors()]
        raise SettingsError("; ".join(problems) + ".") from error
