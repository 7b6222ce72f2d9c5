"""Training: curves of loss, validation metrics and learning rate, and which weights were kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from diascope.reporting.figures.training import training_figure
from diascope.reporting.report.facts import Facts
from diascope.reporting.template import Chart, chart_of
from diascope.system.words import counted
from diascope.training.exam import chosen_on
from diascope.training.plan import Augmentation, Plan
from diascope.training.search_record import TOO_GOOD, SearchRecord
from diascope.training.validation import below_chance

CHARTS = (
    ("loss", {"train_loss": "training", "val_loss": "validation"}),
    ("validation metric", {"val_auroc": "AUROC", "val_accuracy": "accuracy"}),
    ("learning rate", {"learning_rate": "learning rate"}),
)
IMBALANCE = {
    "class_weights": "class weights",
    "balanced_sampling": "balanced sampling",
    "logit_adjustment": "logit adjustment",
}


def section(facts: Facts) -> dict[str, Any]:
    """Return the curves, and how long the training took."""
    return {
        "charts": training_charts(facts),
        "text": training_text(facts),
        "search": search_text(facts),
    }


def search_text(facts: Facts) -> str:
    """Say how a search chose the settings, and which figures it makes too good; or nothing."""
    if facts.recipe["search"] is None:
        return ""
    record = SearchRecord(**facts.recipe["search"])
    if record.data != facts.recipe["data"]:
        return f"{record.sentence} That was on another data set, {record.data}."
    return " ".join([record.sentence, TOO_GOOD, *chosen_on(facts.run, "test")])


def training_charts(facts: Facts) -> list[Chart]:
    """Draw loss, validation metrics and learning rate against the epoch; none without a log."""
    charts = []
    for title, wanted in CHARTS:
        series = {
            key: name
            for key, name in wanted.items()
            if any(event.get(key) is not None for event in facts.epochs)
        }
        if series:
            figure = training_figure(facts.epochs, series=series, y_label=title)
            has_both_losses = len(series) > 1 and title == "loss"
            more = _about_losses(facts.run.plan) if has_both_losses else ""
            alt = f"Line chart: {title} against the epoch. {_ends(facts, series)}"
            caption = f"{title[0].upper()}{title[1:]}, epoch by epoch.{more}"
            charts.append(chart_of(figure, alt=alt, caption=caption))
    return charts


def training_text(facts: Facts) -> str:
    """Say how long the training took, how fast it was, and which weights were kept."""
    if not facts.epochs:
        return ""
    seconds = sum(float(event.get("seconds") or 0) for event in facts.epochs)
    speeds = sorted(float(event.get("images_per_second") or 0) for event in facts.epochs)
    n_networks = len({(event["fold"], event.get("member", 0)) for event in facts.epochs})
    thin = "the members of the ensemble" if facts.run.plan.members else "folds"
    by_network = f" Thin lines are {thin}, thick ones their mean." if n_networks > 1 else ""
    kept = "The weights of the last epoch were kept: nothing was chosen on validation."
    if facts.run.plan.training.selection != "last":
        metric = facts.run.plan.training.selection.removeprefix("best_val_").replace("_", " ")
        kept = f"The weights with the best validation {metric.replace('auroc', 'AUROC')} were kept."
    networks = f"{n_networks} networks, {len(facts.epochs) // n_networks} epochs each"
    below = f" {note}" if (note := below_chance(facts.epochs)) else ""
    what = networks if n_networks > 1 else counted(len(facts.epochs), "epoch")
    return (
        f"{what}, in {seconds:,.0f} seconds, at a median of "
        f"{speeds[len(speeds) // 2]:,.0f} images per second. {kept}{by_network}{below}"
    )


def _about_losses(plan: Plan) -> str:
    """Say why the validation loss may lie well below the training loss."""
    harder = {
        "label smoothing": plan.training.label_smoothing > 0,
        "augmented images": plan.augmentation != Augmentation(),
        "dropout": plan.head is not None and plan.head.dropout > 0,
        IMBALANCE.get(plan.training.imbalance, ""): plan.training.imbalance in IMBALANCE,
    }
    names = [name for name, is_used in harder.items() if is_used]
    with_these = f", with {' and '.join(names)}" if names else ""
    without = ", without these" if names else ""
    return (
        f" The training loss is measured during the epoch{with_these}; the validation loss at its "
        f"end{without}. It may lie well below the training loss: the two are not comparable."
    )


def _ends(facts: Facts, series: dict[str, str]) -> str:
    n_epochs = max(event["epoch"] for event in facts.epochs)
    ends = []
    for key, name in series.items():
        last = [
            event[key]
            for event in facts.epochs
            if event["epoch"] == n_epochs and event.get(key) is not None
        ]
        if last:
            ends.append(f"{name} {np.mean(last):.4g}")
    return f"At epoch {n_epochs}: {', '.join(ends)}."
