"""Which runs are seeds of one model, and how the training of several models differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from diascope.errors import SettingsError
from diascope.system.words import counted
from diascope.training.plan import Plan
from diascope.training.run import Run

NOT_OF_A_RECIPE = {"seed", "precision", "threads"}  # chance, the machine


def models_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each model, by its name: one, or one a seed.

    Where all runs are seeds of one recipe, each is a model of its own.
    """
    recipes: list[tuple[object, list[int]]] = []
    for number, run in enumerate(runs):
        recipe = _recipe(run.plan)
        known = next((at for other, at in recipes if other == recipe), None)
        if known is None:
            recipes.append((recipe, [number]))
        else:
            known.append(number)
    parts = [at for _, at in recipes]
    if len(parts) == 1:
        parts = [[number] for number in parts[0]]
    names = _names([run.folder for run in runs])
    return {
        names[at[0]] + (f" and {counted(len(at) - 1, 'more seed')}" if len(at) > 1 else ""): [
            runs[number] for number in at
        ]
        for at in parts
    }


def check_are_repeats(run: Run, others: Sequence[Run]) -> None:
    """Check that other runs are trainings of the same recipe with other seeds.

    Raises
    ------
    SettingsError
        One is the run itself, of another recipe, or has the same seed.
    """
    seeds = [run.plan.seed]
    for other in others:
        if _recipe(other.plan) != _recipe(run.plan):
            raise SettingsError(
                "This is no repetition: it was trained by other settings.",
                where=other.folder,
                fix="Name runs that differ in --seed alone, or compare them: diascope compare.",
            )
        if other.plan.seed in seeds:
            raise SettingsError(
                f"Two runs have the seed {other.plan.seed}: that is one training, not two.",
                where=other.folder,
                fix="Train again with another --seed.",
            )
        seeds.append(other.plan.seed)


def training_differences(models: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Return what differs in how models were trained: a difference may be due to that.

    Returns
    -------
    dict
        ``settings``, a dict each: ``name`` and the ``values`` of the models, in their order, such
        as ``epochs trained``; ``sentences``, what a reader must know.
    """
    first = {name: runs[0] for name, runs in models.items()}
    recipes = [_recipe(run.plan) for run in first.values()]
    epochs = [_epochs(runs) for runs in models.values()]
    images = [_training_images(run) for run in first.values()]
    rows = [
        {"name": "epochs trained", "values": epochs},
        {"name": "training images", "values": [f"{len(of_model):,}" for of_model in images]},
        *(
            {"name": key, "values": [_text(recipe.get(key)) for recipe in recipes]}
            for key in dict.fromkeys(key for recipe in recipes for key in recipe)
        ),
    ]
    sentences = []
    if len(set(epochs)) > 1:
        told = ", ".join(f"{name} {n}" for name, n in zip(first, epochs, strict=True))
        sentences.append(
            f"The models were trained for different numbers of epochs ({told}): a difference "
            "between them may be due to that alone."
        )
    if any(of_model != images[0] for of_model in images):
        sentences.append(
            "The models were trained on different images: a difference between them may be due to "
            "that alone."
        )
    return {
        "settings": [row for row in rows if len(set(row["values"])) > 1],
        "sentences": sentences,
    }


def _recipe(plan: Plan) -> dict[str, Any]:
    return {k: value for k, value in plan.settings.items() if k not in NOT_OF_A_RECIPE}


def _epochs(runs: Sequence[Run]) -> str:
    """Return how many epochs the networks of a model were trained for, such as 14 or 12 to 14."""
    last: dict[tuple[int, object, object], int] = {}
    for number, run in enumerate(runs):
        for event in run.log:
            last[number, event.get("fold"), event.get("member")] = int(event["epoch"])
    if not last:
        return "unknown"
    least, most = min(last.values()), max(last.values())
    return str(most) if least == most else f"{least} to {most}"


def _training_images(run: Run) -> set[tuple[str, str, str]]:
    """Return content, label and the split column of every image that is trained on."""
    columns = [name for name in run.manifest.columns if name.startswith("split")]
    return {
        (*row, column)
        for column in columns
        for row in run.manifest.filter(pl.col(column) == "train")
        .select("sha256", "label")
        .iter_rows()
    }


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the names of folders, and the paths of those whose name another one has too."""
    short = [folder.resolve().name for folder in folders]
    often = Counter(short)
    return [
        name if often[name] == 1 else str(path) for name, path in zip(short, folders, strict=True)
    ]
