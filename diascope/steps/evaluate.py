"""Evaluate: open the test set, count the opening, score it, and say how sure the figures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diascope.bundle.card import Card
from diascope.bundle.cost import save_cost
from diascope.bundle.operating_points import free_name, has_points
from diascope.data.sources.folder import open_files
from diascope.data.splits.folds import fold_column
from diascope.errors import ImageError, SettingsError, SourceError
from diascope.evaluation.controls.judging import TrainingImages
from diascope.evaluation.judging import ClassGroups, judge, operating_points
from diascope.evaluation.operating_points import judge_points
from diascope.evaluation.robustness import MOST_IMAGES, affordable_images
from diascope.evaluation.robustness.judging import Sample, read_sample
from diascope.metrics.class_groups import choose_points, has_target, parse_class_groups
from diascope.metrics.operating_point import Target, parse_target
from diascope.reporting.cards.model_card import save_model_card
from diascope.reporting.dossier.questions import ANSWERS, read_answers
from diascope.system.progress import ShowProgress, silent
from diascope.training.exam import RunExam, exam_of, read_images
from diascope.training.one_writer import evaluating_alone
from diascope.training.operating_points import (
    load_with_target,
    points_to_judge,
    save_points,
    val_that_calibrates,
)
from diascope.training.run import Run
from diascope.training.tracking import send
from diascope.training.validation import check_calibrates


def evaluate(
    run: Run | Path | str,
    *,
    split: str = "test",
    on: str | None = None,
    target: str | None = None,
    threshold: float | None = None,
    class_groups: Sequence[str] = (),
    robustness: bool | None = None,
    most_images: int | None = None,
    progress: ShowProgress = silent,
) -> dict[str, Any]:
    """Judge a run on its test images, its validation images, or a data set ``on`` from elsewhere.

    All but ``"val"`` is counted as an opening. A ``target`` such as ``"sensitivity=0.95"`` adds an
    operating point, chosen on validation images, to the bundle, whose default stays; a
    ``threshold`` is judged as well, and guarantees nothing. With ``class_groups``, such as
    ``["malignant=mel,bcc,akiec"]``, groups of classes are judged against all others; the target
    then is theirs where no class is positive.

    Up to ``most_images`` (60 by default) are corrupted to see how robust it is: always with
    ``robustness=True``, even if that opens the images once more; never with False; and by default
    where they are looked at anyway, and the network is not too large for that to take long. What
    was evaluated before is read from the run. What the network costs is measured once.

    Returns the content of ``metrics/<name>.json``, see docs/formats.md; raises `DiascopeError`,
    also where external images are among those that the network learned from (`LeakageError`).
    """
    wanted = parse_target(target) if target else None
    exam = exam_of(Run.open(run), split=split, on=on)
    groups = _class_groups(exam, class_groups, wanted)
    wanted = None if groups.target else wanted
    n_corrupted = (1 if most_images is None else most_images) if robustness else 0
    most_images = MOST_IMAGES if most_images is None else most_images
    if _is_up_to_date(exam, wanted, threshold, groups, n_corrupted=n_corrupted):
        send(exam.run, progress, tries_again=True)
        return exam.run.metrics(exam.name)
    exam.check()
    with evaluating_alone(exam.run.folder):
        return _evaluate(exam, wanted, threshold, groups, robustness, most_images, progress)


def _evaluate(
    exam: RunExam,
    wanted: Target | None,
    threshold: float | None,
    groups: ClassGroups,
    robustness: bool | None,
    most_images: int,
    progress: ShowProgress,
) -> dict[str, Any]:
    """Judge what was not judged before, see `evaluate`, and write it into the run."""
    answers = read_answers(exam.run.folder / ANSWERS)
    networks = load_with_target(exam.run, wanted)
    points = points_to_judge(exam, networks, threshold)
    val = val_that_calibrates(exam.run, networks)
    if groups.target:
        chosen = choose_points(val, groups.members, groups.target)
        groups = replace(groups, points=chosen)
    cost = save_cost(exam.run.folder, networks[0], exam.run.network_folders[0])
    if robustness is None:
        sample = _affordable_sample(exam, most_images, cost["multiply_adds"])
    else:
        sample = _sample_of(exam, most_images) if robustness else "it was left out on request"
    predictions, opening = exam.score(networks, progress)
    save_points(exam.run, networks)
    training = _training_images(exam, progress)
    judged = judge(
        exam,
        predictions,
        networks,
        training=training,
        val=val if exam.name != "val" else None,
        classes=groups,
        sample=sample,
        progress=progress,
    )
    judged |= judge_points(exam, predictions, points, val)
    metrics = exam.save_metrics({**judged, **opening})
    save_model_card(exam.run, answers)
    send(exam.run, progress, tries_again=True)
    return metrics


def _class_groups(exam: RunExam, texts: Sequence[str], target: Target | None) -> ClassGroups:
    """Return the groups of classes that were asked for, now or when this was judged before."""
    members: dict[str, Sequence[str]] = {}
    if exam.run.metrics_path(exam.name).is_file():
        stored = exam.run.metrics(exam.name).get("class_groups", [])
        members = {row["name"]: row["classes"] for row in stored}
        before = [row["point"]["target"] for row in stored if row["point"]]
        target = target or (Target(**before[0]) if before else None)
    members |= parse_class_groups(texts, exam.task.classes)
    if target is None or exam.task.positive is not None or not members:
        return ClassGroups(members)
    check_calibrates(exam.run.plan, target)
    return ClassGroups(members, target)


def _training_images(exam: RunExam, progress: ShowProgress) -> TrainingImages | str:
    """Return what controls learn from, or why there are none."""
    if exam.external:
        return "controls are judged on the data set of the training alone"
    if exam.by_members:
        return "each image was scored by a single member, and controls have none"
    plan = exam.run.plan
    try:
        images = read_images(exam.source, exam.manifest, plan.pixels, progress)
    except SourceError as error:
        return f"the images cannot be read: {error.problem}"
    splits = ["train", "val"] if plan.members else ["train"]
    columns = [fold_column(fold) for fold in range(plan.folds)] or ["split"]
    rows = [np.flatnonzero(exam.manifest[one].is_in(splits).to_numpy()) for one in columns]
    return TrainingImages(images, rows, plan.decision)


def _sample_of(exam: RunExam, most_images: int) -> Sample:
    """Read the images to corrupt, before anything is opened: what may fail fails here."""
    if exam.by_members:
        raise SettingsError(
            "An ensemble learned from its validation images: its robustness is judged on test.",
            where=exam.run.folder,
            fix="Leave out --split val, or pass --on.",
        )
    with open_files(exam.source) as files:
        return read_sample(
            files,
            exam.rows,
            task=exam.task,
            decoding=exam.run.plan.pixels.decoding,
            most_images=most_images,
            seed=exam.seed,
        )


def _affordable_sample(exam: RunExam, most_images: int, multiply_adds: int) -> Sample | str:
    """Read images to corrupt without being asked, or return why there are none."""
    if exam.by_members:
        return "an ensemble learned from its validation images"
    number = affordable_images(multiply_adds, most_images)
    if not number:
        return (
            f"the network takes {multiply_adds / 1e9:,.1f} billion multiply-adds an image, so that "
            "this check would take long"
        )
    try:
        return _sample_of(exam, number)
    except (SourceError, ImageError) as error:
        return f"the images cannot be read: {error.problem}"


def _is_up_to_date(
    exam: RunExam,
    wanted: Target | None,
    threshold: float | None,
    groups: ClassGroups,
    *,
    n_corrupted: int,
) -> bool:
    """Return whether stored metrics are of the bundle as it is, and of what is wanted.

    ``n_corrupted`` images must have been corrupted; it is 0 where nobody asked for that, so that
    images are not opened once more for it.
    """
    run = exam.run
    if not run.metrics_path(exam.name).is_file():
        return False
    metrics = run.metrics(exam.name)
    found = metrics["robustness"]
    n_done = 0 if "why_not" in found else found["n_images"]
    if n_done < min(n_corrupted, metrics["n_images"]):
        return False
    stored = {row["name"]: row for row in metrics.get("class_groups", [])}
    if {name: list(of_name) for name, of_name in groups.members.items()} != {
        name: row["classes"] for name, row in stored.items()
    }:
        return False
    if groups.target and any(not has_target(row, groups.target) for row in stored.values()):
        return False
    cards = [Card.load(folder) for folder in run.network_folders]
    for folder, card in zip(run.network_folders, cards, strict=True):
        card.check_weights(folder)
    names = [row["name"] for row in metrics["points"]]
    has_threshold = threshold is None or free_name(threshold) in names
    is_chosen = has_points(metrics["points"], cards, wanted)
    return has_threshold and is_chosen and metrics["operating_points"] == operating_points(cards)
