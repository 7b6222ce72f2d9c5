"""The recipe: the few options of a training, from which the plan decides every number.

A named recipe is a file in ``recipes/``, or one of the user's own, that holds a model and settings:
a published system, for example.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from typing_extensions import Doc

from diascope.errors import RunError, SettingsError, UnknownNameError
from diascope.system.reading import read_ordinary
from diascope.training.search_record import SearchRecord

if TYPE_CHECKING:  # the command line reads the options here, and its --help is not to wait
    from pydantic import ValidationError

HEAD_OR_ALL = Literal["head", "all"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The options of a training: of `diascope.train` and of ``diascope train``."""

    data: Annotated[str, Doc("Name or path of a prepared data set.")]
    recipe: Annotated[str, Doc("Name of a recipe, or a .yaml file; see `recipes`.")] = ""
    model: Annotated[str, Doc("Name of a model (see `models`), or timm:NAME.")] = "compact"
    finetune: Annotated[
        HEAD_OR_ALL | None, Doc("Which layers of a pretrained network are trained: head or all.")
    ] = None
    weights: Annotated[
        str | None,
        Doc("Initial weights: pretrained, random, or the path of a file, bundle or run."),
    ] = None
    folds: Annotated[int, Ge(0), Le(100), Doc("Number of folds for cross-validation by group.")] = 0
    members: Annotated[
        int, Ge(0), Le(100), Doc("Number of networks in an ensemble trained on train and val.")
    ] = 0
    minutes: Annotated[
        float | None,
        Gt(0),
        Le(100_000),
        Doc("Training time in minutes, for all networks together."),
    ] = None
    target: Annotated[
        str,
        Doc(
            "Target that the threshold guarantees for new groups with 95 % confidence, such as "
            "sensitivity=0.95."
        ),
    ] = ""
    seed: Annotated[
        int,
        Ge(0),
        Lt(2**32),
        Doc("Random seed of weights, order and augmentation; does not change the split."),
    ] = 0
    settings: Annotated[
        dict[str, Any], Doc("Change a plan setting, such as max_epochs=4; may be repeated.")
    ] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)  # the settings of the named recipe
    search: SearchRecord | None = None  # how the named recipe was chosen, if it was by a search

    @property
    def has_other_model(self) -> bool:
        """Whether the recipe is one of diascope's, with another model."""
        named = named_recipes().get(self.recipe)
        return named is not None and named.model != self.model

    @property
    def name(self) -> str:
        """The default name of the run."""
        model = self.model.replace(":", "-")
        parts = [self.data, model]
        if self.recipe:
            parts = [] if self.recipe.startswith(f"{self.data}-") else [self.data]
            parts += [self.recipe, *([model] if self.has_other_model else [])]
        parts += [self.finetune] if self.finetune else []
        parts += [f"{self.folds}-folds"] if self.folds else []
        parts += [f"{self.members}-members"] if self.members else []
        parts += [f"{self.minutes:g}-minutes"] if self.minutes is not None else []
        parts += [f"seed-{self.seed}"] if self.seed else []
        return "-".join(parts)

    def words(self) -> list[str]:
        """Return the arguments of ``diascope train`` that make this recipe."""
        words = [self.data]
        for name, option in OPTIONS.items():
            value = getattr(self, name)
            if name == "settings":
                for setting, chosen in value.items():
                    words += [option, f"{setting}={json.dumps(chosen)}"]
            elif name == "recipe" and value and value not in named_recipes():
                words += [option, f"{value}.yaml"]  # the user's own; where it lies is not kept
            elif value not in (None, "") and (value or name == "seed"):
                words += [option, str(value)]
        return words

    def save(self, path: Path) -> None:
        """Write the recipe as YAML."""
        import yaml

        from diascope.system.files import write_text

        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False))

    @classmethod
    def parse(cls, content: bytes, *, where: Path, fix: str) -> Recipe:
        """Read the content of a recipe that was saved; ``RunError`` where it is damaged."""
        import yaml
        from pydantic import TypeAdapter

        from diascope.system.yaml_text import parse_yaml

        try:
            return TypeAdapter(Recipe).validate_python(parse_yaml(content.decode()))
        except (ValueError, yaml.YAMLError) as error:
            raise RunError("The recipe cannot be read.", where=where, fix=fix) from error


NO_OPTIONS = ("data", "base", "search")
OPTIONS = {f.name: f"--{f.name}" for f in fields(Recipe) if f.name not in NO_OPTIONS}
OPTIONS["settings"] = "--set"


def make_recipe(data: str, **options: Any) -> Recipe:
    """Make a recipe from fields of `Recipe`; those that are None have their default.

    ``settings`` may be a mapping, or strings ``name=value`` with the value in YAML, such as
    ``max_epochs=4``.

    Raises
    ------
    SettingsError
        A value is out of range or not readable, or options contradict each other.
    UnknownNameError
        There is no such option, setting or recipe.
    """
    from pydantic import TypeAdapter, ValidationError

    from diascope.metrics.operating_point import parse_target

    _check_names("option", options, OPTIONS)
    given = {name: value for name, value in options.items() if value is not None}
    given["settings"] = _parse(given.get("settings", {}))
    if "weights" in given:
        given["weights"] = _absolute(given["weights"])
    if given.get("target"):
        given["target"] = str(parse_target(given["target"]))
    if given.get("recipe"):
        named = find_recipe(given["recipe"])
        own = {"model": named.model, "finetune": named.finetune, "weights": named.weights}
        own |= {"base": named.settings, "search": named.search}
        given = {**own, **given, "recipe": Path(given["recipe"]).stem}
    try:
        recipe = TypeAdapter(Recipe).validate_python({"data": data, **given})
    except ValidationError as error:
        raise SettingsError(_problems(error), fix="Correct the options.") from error
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    """Check the options against each other."""
    if recipe.folds == 1:
        raise SettingsError(
            "One fold leaves nothing to test on.", fix="Pass --folds 5, or leave --folds out."
        )
    if recipe.members == 1:
        raise SettingsError(
            "One member is not an ensemble.", fix="Pass --members 3, or leave --members out."
        )
    lengths = sorted({"max_epochs", "max_steps"} & set(recipe.settings))
    if recipe.minutes is not None and lengths:
        raise SettingsError(
            f"Both --minutes and {' and '.join(lengths)} set the length of the training.",
            fix="Leave one of them out.",
        )


def _check_names(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known)


def _absolute(weights: str) -> str:
    """Return an absolute path; ``pretrained`` and ``random`` stay."""
    from diascope.models.spec import PRETRAINED, RANDOM

    if weights in (PRETRAINED, RANDOM) or not Path(weights).exists():
        return weights
    return str(Path(weights).resolve())


def _parse(settings: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    import yaml

    from diascope.system.yaml_text import parse_yaml
    from diascope.training.plan import DECIDED

    values = dict(settings) if isinstance(settings, Mapping) else {}
    for setting in settings if not isinstance(settings, Mapping) else ():
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise SettingsError(
                f"{setting!r} is not a setting.",
                fix="Write --set name=value, such as max_epochs=4.",
            )
        try:
            values[name.strip()] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise SettingsError(f"The value of {setting!r} cannot be read.") from error
    _check_names("setting", values, DECIDED)
    return values


@dataclass(frozen=True, kw_only=True)
class NamedRecipe:
    """The content of a recipe file."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - not a field

    title: str  # one line
    source: str = ""  # where it was published
    data: str = ""  # the data set that it is for
    model: str
    finetune: HEAD_OR_ALL | None = None
    weights: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    search: SearchRecord | None = None  # how `diascope tune` chose it

    def save(self, path: Path) -> None:
        """Write the recipe as YAML, without what it leaves open."""
        import yaml

        from diascope.system.files import write_text

        given = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        write_text(path, yaml.safe_dump(given, sort_keys=False, allow_unicode=True))


def named_recipes() -> dict[str, NamedRecipe]:
    """Return the recipes that diascope ships, by name."""
    files = sorted((Path(__file__).parent / "recipes").glob("*.yaml"))
    return {path.stem: _read(path) for path in files}


def find_recipe(name: str) -> NamedRecipe:
    """Return a recipe by its name, or from a ``.yaml`` file.

    Raises
    ------
    UnknownNameError
        There is no such recipe; the nearest is suggested.
    SettingsError
        The file is missing or not a recipe.
    """
    if not name.endswith((".yaml", ".yml")):
        known = named_recipes()
        if name not in known:
            raise UnknownNameError("recipe", name, known, fix="Or pass a .yaml file.")
        return known[name]
    try:
        return _read(Path(name))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(
            f"The recipe cannot be read: {reason}.", where=name, fix="Pass a .yaml file."
        ) from error


def _read(path: Path) -> NamedRecipe:
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from diascope.system.yaml_text import parse_yaml

    text = read_ordinary(path, most_bytes=MOST_BYTES).decode("utf-8")
    try:
        return TypeAdapter(NamedRecipe).validate_python(parse_yaml(text))
    except ValidationError as error:
        raise SettingsError(_problems(error), where=path, fix="Correct the recipe.") from error
    except yaml.YAMLError as error:
        raise SettingsError("The file is not valid YAML.", where=path) from error


MOST_BYTES = 1 << 20  # of a recipe
LIMITS = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "below {lt:g}",
    "less_than_equal": "{le:g} at most",
}


def _problems(error: ValidationError) -> str:
    problems = []
    for issue in error.errors():
        name, limit = ".".join(map(str, issue["loc"])), LIMITS.get(issue["type"])
        problem = f"{name}: {issue['msg']}"
        if limit:
            bound = limit.format(**issue.get("ctx", {}))
            problem = f"{name} must be {bound}, and {issue['input']} is not"
        problems.append(problem)
    return "; ".join(problems) + "."
