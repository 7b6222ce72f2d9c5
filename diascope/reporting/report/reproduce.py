"""Reproduce: the commands that repeat the run, every setting, and the provenance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diascope.models.spec import PRETRAINED, RANDOM
from diascope.reporting.report.facts import Facts
from diascope.training.recipe import Recipe

CHOSEN = "set by the user"  # the reason in a plan
MAX_REJECTED = 0.01  # the default of `diascope prepare`


def section(facts: Facts) -> dict[str, Any]:
    """Return the commands and the tables of settings."""
    checksums = {
        "data content (SHA-256)": facts.fingerprint.get("content_sha256"),
        "data source": facts.fingerprint.get("source") if facts.names.are_true else "withheld",
    }
    return {
        "commands": commands(facts),
        "settings": setting_rows(facts),
        "recipe": {
            name: _plain(value)
            for name, value in facts.recipe.items()
            if name != "search" or value is not None
        },
        "provenance": {
            name: _plain(value) for name, value in {**facts.provenance, **checksums}.items()
        },
    }


def setting_rows(facts: Facts) -> list[dict[str, Any]]:
    """Return every setting of the plan with its value and its reason."""
    reasons = facts.settings["reasons"]
    return [
        {
            "name": name,
            "value": _plain(value),
            "reason": reasons[name],
            "is_chosen": reasons[name] == CHOSEN,
        }
        for name, value in facts.settings.items()
        if name != "reasons"
    ]


def commands(facts: Facts) -> str:
    """Return the command lines that repeat the run, beside the old one."""
    recipe, run = Recipe(**facts.recipe), shlex.quote(f"runs/{facts.name}-again")
    if recipe.weights not in (None, RANDOM, PRETRAINED):
        recipe = replace(recipe, weights="WEIGHTS")  # a path is the reader's own
    if recipe.minutes is not None:
        length = {name: facts.settings[name] for name in ("max_epochs", "max_steps")}
        recipe = replace(recipe, minutes=None, settings=recipe.settings | length)
    train = ["diascope", "train", *recipe.words()]
    return "\n".join(
        [
            _prepare_command(facts),
            *_label_commands(facts),
            f"{shlex.join(train)} --out {run}",
            f"diascope evaluate {run}"
            + (" --split val" if facts.split == "val" else "")
            + _class_groups(facts),
            *(f"diascope evaluate {run} --on {name}" for name in facts.external),
            f"diascope report {run}",
        ]
    )


def _class_groups(facts: Facts) -> str:
    """Return the options of the groups of classes that were evaluated, by the keys of classes."""
    rows = facts.run.metrics(facts.split).get("class_groups") or []
    words = [f"--group-classes={row['name']}={','.join(row['classes'])}" for row in rows]
    targets = {
        f"{row['point']['target']['metric']}={row['point']['target']['value']:g}"
        for row in rows
        if row["point"]
    }
    words += [f"--target={target}" for target in sorted(targets)]
    return "".join(f" {word}" for word in map(shlex.quote, words))


def _prepare_command(facts: Facts) -> str:
    """Return how the data were prepared; FOLDER is the reader's own, as paths may hold names."""
    given = facts.fingerprint
    split = given.get("split") or {}
    mode = split.get("mode", "grouped")
    words = ["diascope", "prepare", _data(facts)]
    words += ["--source", "FOLDER"] if given.get("source_given") else []
    words += given.get("options") or []
    words += ["--split", mode] if mode != "grouped" else []
    words += ["--i-know-this-leaks"] if mode == "random" else []
    words += ["--size", str(given["size_px"])] if given.get("size_px") else []
    words += ["--seed", str(split.get("seed", 0))]
    max_rejected = given.get("max_rejected", MAX_REJECTED)
    words += ["--max-rejected", str(max_rejected)] if max_rejected != MAX_REJECTED else []
    words += ["--accept-large-groups"] if given.get("accept_large_groups") else []
    words += [] if given.get("near_duplicates", True) else ["--no-near-duplicates"]
    return shlex.join(words)


def _label_commands(facts: Facts) -> list[str]:
    """Return how labels were corrected; TABLE is the reader's own, named by its digest."""
    tables = (facts.fingerprint.get("labels") or {}).get("tables", ())
    return [
        shlex.join(["diascope", "labels", _data(facts), f"TABLE-{one['sha256'][:12]}"])
        + " --correct-test" * one["correct_test"]
        for one in tables
    ]


def _data(facts: Facts) -> str:
    return "DATA" if facts.fingerprint.get("data_path") else facts.recipe["data"]


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_plain(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(one) for one in value) or "none"
    return str(value)
