"""Write run folders as training and evaluating would leave them, in a moment."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.predictions import Predictions
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.evaluation import evaluate_predictions
from diascope.metrics.scored import ScoredImages
from diascope.models import compact
from diascope.system.machine import Machine
from diascope.system.plugins import find
from diascope.task import Task
from diascope.training.recipe import Recipe
from diascope.training.run import Run
from diascope.training.settings import DataFacts, derive_plan

BINARY = ("uninfected", "parasitized")


def make_run(
    folder: Path,
    *,
    classes: tuple[str, ...] = BINARY,
    n_groups: int = 15,
    n_folds: int = 0,
    only_val: bool = False,
    data: str = "malaria",
    size_px: int = 24,
) -> Path:
    """Write a run folder as training and evaluating would leave it, with drawn images."""
    rng = np.random.default_rng(0)
    run, source = folder / "runs" / "try", folder / "source"
    manifest = draw_manifest(source, classes, n_groups, n_folds, size_px=size_px)
    positive = classes[1] if len(classes) == 2 else None
    recipe = Recipe(data=data, folds=n_folds, settings={"max_epochs": 3, "size_px": 32})
    machine = Machine(precision=("fp32", "a test"), threads=(1, "a test"))
    data_facts = DataFacts(class_counts=(100 // len(classes),) * len(classes))
    card = replace(find("datasets", data).card, task=Task(classes, positive))
    Run(run).begin(
        recipe,
        derive_plan(recipe, data_facts, machine),
        manifest=manifest,
        fingerprint={"card": card.as_dict(), **fingerprint(manifest, classes, source)},
        provenance={
            "diascope": "0.1.0",
            "started": "2026-01-02T03:04:05+00:00",
            "command": f"diascope train malaria --source {source}/{manifest['path'][0]}",
        },
    )
    folds = range(max(1, n_folds))
    Run(run).save_log([event for fold in folds for event in log_events(fold)])
    homes = [run / "folds" / str(fold) for fold in folds] if n_folds else [run / "bundle"]
    for home in homes:
        bundle(classes, positive).save(home)
    split = "val" if only_val else "test"
    judged = manifest if n_folds else manifest.filter(pl.col("split") == split)
    write_results(run, split, judged, classes=classes, positive=positive, rng=rng)
    return run


def draw_manifest(
    source: Path, classes: tuple[str, ...], n_groups: int, n_folds: int, *, size_px: int
) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for group in range(n_groups):
        for number in range(3 * len(classes)):
            label = classes[number % len(classes)]
            path = f"{number % len(classes)}/Zebulon{group:03d}_cell_{number}.png"
            pixels = rng.integers(60, 200, (size_px - 4, size_px, 3), dtype=np.uint8)
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(source / path)
            rows.append(
                {
                    "image_id": f"Zebulon{group:03d}_cell_{number}",
                    "path": path,
                    "label": label,
                    "group": f"Zebulon{group:03d}",
                    "sha256": hashlib.sha256((source / path).read_bytes()).hexdigest(),
                    "width": size_px,
                    "height": size_px - 4,
                    "pixel_digest": hashlib.sha256(pixels.tobytes()).hexdigest(),
                    "n_bytes": (source / path).stat().st_size,
                    **split_columns(group, n_folds),
                }
            )
    return pl.DataFrame(rows)


def split_columns(group: int, n_folds: int) -> dict[str, Any]:
    if not n_folds:
        return {"split": ("train", "train", "train", "val", "test")[group % 5]}
    parts = {(group - fold) % n_folds: f"split_fold_{fold}" for fold in range(n_folds)}
    names = {0: "test", 1: "val"}
    columns = {column: names.get(place, "train") for place, column in parts.items()}
    return {"fold": group % n_folds, **columns}


def fingerprint(manifest: pl.DataFrame, classes: tuple[str, ...], source: Path) -> dict[str, Any]:
    return {
        "n_images": manifest.height,
        "n_groups": manifest["group"].n_unique(),
        "group_kind": "patient",
        "group_kinds": {"every class": manifest["group"].n_unique()},
        "width_px": {"min": 24, "median": 24, "max": 24},
        "height_px": {"min": 20, "median": 20, "max": 20},
        "found": manifest.height + 2,
        "rejected": [
            {"path": "0/Zebulon999_cell_1.png", "reason": "truncated"},
            {"path": "0/Zebulon998_cell_1.png", "reason": "truncated"},
        ],
        "complete": False,
        "expected_images": 27558,
        "content_sha256": "0" * 64,
        "content_verified": False,
        "duplicates": {
            "n_pairs": 1,
            "n_images": 2,
            "groups_joined": 1,
            "largest_component_groups": 2,
            "across_labels": 0,
        },
        "source": str(source),
        "split": {
            "mode": "grouped",
            "unit": "patient",
            "fractions": [0.6, 0.2, 0.2],
            "seed": 4,
            "warnings": [],
        },
    }


def log_events(fold: int) -> list[dict[str, Any]]:
    events = []
    for epoch in range(1, 4):
        events.append(
            {
                "event": "epoch",
                "fold": fold,
                "epoch": epoch,
                "epochs": 3,
                "train_loss": 0.7 / epoch + 0.02 * fold,
                "val_loss": 0.75 / epoch,
                "val_accuracy": 1 - 0.3 / epoch,
                "val_auroc": 1 - 0.1 / epoch - 0.01 * fold,
                "learning_rate": 0.002 / epoch,
                "images_per_second": 700.0 + epoch,
                "seconds": 3.0,
            }
        )
    return events


def bundle(classes: tuple[str, ...], positive: str | None) -> Bundle:
    import torch

    torch.manual_seed(0)
    card = Card(
        diascope="0.1.0",
        model="compact",
        data="malaria",
        data_sha256="0" * 64,
        group_kind="patient",
        licence="CC0",
        classes=classes,
        positive=positive,
        threshold=None if positive is None else 0.5,
        prior=(1 / len(classes),) * len(classes),
        logit_offset=(0.0,) * len(classes),
        decision_weights=(1.0,) * len(classes),
        size_px=32,
        fit="pad",
        alpha_background="black",
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        views=1,
        first_layer="stem.0",
        seed=0,
    )
    return Bundle(card, compact.build(len(classes), 32))


def write_results(
    run: Path,
    split: str,
    judged: pl.DataFrame,
    *,
    classes: tuple[str, ...],
    positive: str | None,
    rng: np.random.Generator,
) -> None:
    labels = np.array([classes.index(label) for label in judged["label"]], dtype=np.int32)
    logits = rng.normal(0, 1, (judged.height, len(classes))).astype(np.float32)
    logits[np.arange(judged.height), labels] += 2
    folds = judged["fold"].to_numpy() if "fold" in judged.columns else np.zeros(judged.height)
    predictions = Predictions(
        judged["image_id"].to_list(),
        judged["group"].to_list(),
        labels,
        folds.astype(np.int32),
        logits,
        logits.argmax(axis=1).astype(np.int32),
        np.ones(judged.height, dtype=np.float32),
    )
    predictions.save(run / "predictions" / f"{split}.parquet")
    has_folds = "fold" in judged.columns
    images = ScoredImages.of(
        predictions, Task(classes, positive), group_kind="patient", has_folds=has_folds
    )
    metrics = evaluate_predictions(images, Resampling(200), part="" if has_folds else split)
    threshold = None if positive is None else 0.5
    openings = {"this_run": 1, "same_images": 3, "models": 2, "overlapping": 0}
    Run(run).save_metrics(
        split,
        {
            "split": split,
            **metrics,
            "threshold": threshold,
            **({"openings": openings} if split == "test" else {}),
        },
    )
