"""The model card beside the weights, in the format of the Hugging Face hub.

After Mitchell et al. 2019 (Model Cards for Model Reporting). It has what the run holds and what
people answered, and nothing else; it is not among the files that a bundle is verified by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from diascope.bundle.card import Card
from diascope.bundle.cases import FILE, Cases
from diascope.bundle.preparation import preprocessing_lines
from diascope.data.prepared import told_by_now
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.metrics.operating_point import OperatingPoint
from diascope.metrics.prediction_sets import RULE
from diascope.metrics.thresholds import RATES
from diascope.models.spec import PRETRAINED, RANDOM
from diascope.reporting.cards.markdown import (
    NOT_STATED,
    bullets,
    one_line,
    paragraphs,
    sections,
    table,
    words,
)
from diascope.reporting.cost_table import NOTE as COST_NOTE
from diascope.reporting.cost_table import cost_rows
from diascope.reporting.measures import basis, estimate_text, measure, status
from diascope.reporting.report.limits import limits
from diascope.system.files import write_text
from diascope.system.words import counted, plural
from diascope.training.run import Run

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "mpl-2.0", "gpl-3.0", "agpl-3.0"),
    *("lgpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("cc-by-nc-nd-4.0", "openrail", "unlicense"),
)
HUB_METRICS = {"auroc": "roc_auc", "sensitivity": "recall", "ppv": "precision", "mcc": "mcc"}
STALE = (
    "The figures on {part} were computed at another threshold than the one above, and are left "
    "out: run `diascope evaluate` again."
)


def model_card(run: Run, answers: Mapping[str, str]) -> str:
    """Return the card of a trained run's only network, with what it was evaluated on so far.

    The same run and answers (of `diascope.reporting.dossier.questions.read_answers`) give the same
    card.
    """
    card, data = Card.load(run.network_folders[0]), told_by_now(run.dataset, run.manifest)
    cases = Cases.load(run.network_folders[0], card) if card.cases_sha256 else None
    evaluated, stale = _evaluated(run, card)
    front = front_matter(
        card,
        modality=data.modality,
        datasets=[data.name],
        licence=answers.get("model_licence", ""),
        results=[one for part, m in evaluated.items() for one in _results(part, m, data)],
    )
    return page(
        front,
        f"{card.model} on {data.title}",
        [
            ("Intended use", _intended_use(card, answers)),
            ("How to use it", usage(card)),
            ("Preprocessing", bullets(preprocessing_lines(card))),
            ("Data", _data(data, run.fingerprint, card, cases)),
            ("Training", _training(run, card)),
            ("Model and cost", _cost(run)),
            ("Evaluation", _evaluation(evaluated, stale)),
            ("Thresholds", thresholds(card)),
            ("Limits", _limits(run, answers)),
            ("Licence", _licence(data, answers)),
        ],
    )


def page(front: str, title: str, parts: Iterable[tuple[str, str]]) -> str:
    """Return front matter in YAML, then a title and headings with their texts in Markdown."""
    return f"---\n{front}\n---\n\n# {words(title)}\n\n{sections(parts)}\n"


def save_model_card(run: Run, answers: Mapping[str, str]) -> None:
    """Write the card beside the weights; a cross-validation has no bundle, and gets none."""
    if not run.is_cross_validation:
        write_text(run.network_folders[0] / "README.md", model_card(run, answers))


def _evaluated(run: Run, card: Card) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the metrics by data, and the data whose metrics are at another threshold."""
    parts = ["test"] if run.metrics_path("test").is_file() else []
    found = {part: run.metrics(part) for part in parts} | run.external_metrics()
    threshold = None if card.operating_point is None else card.operating_point.threshold
    stale = [part for part, metrics in found.items() if _target_threshold(metrics) != threshold]
    return {part: one for part, one in found.items() if part not in stale}, stale


def _target_threshold(metrics: Mapping[str, Any]) -> float | None:
    point = (metrics.get("operating_points") or [None])[0]
    return point and point["threshold"]


def front_matter(
    card: Card,
    *,
    modality: str,
    datasets: Iterable[str],
    licence: str,
    results: Sequence[EvalResult] = (),
) -> str:
    """Return the front matter as YAML, see https://huggingface.co/docs/hub/model-cards."""
    given = one_line(licence).lower()
    is_known = given in LICENCES
    names = [one_line(name) for name in dict.fromkeys(datasets)]
    return ModelCardData(
        license=given if is_known else "other",
        license_name=None if is_known else slug(given) or "not-stated",
        library_name="diascope",
        pipeline_tag="image-classification",
        tags=[slug(tag) for tag in ("medical-imaging", modality, card.model)],
        datasets=names,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=one_line(f"{card.model}-{names[0]}"),
        eval_results=list(results) or None,
    ).to_yaml()


def slug(text: str) -> str:
    """Return text as a tag of the hub: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _results(part: str, metrics: Mapping[str, Any], data: DatasetCard) -> list[EvalResult]:
    """Return the estimates on some images; each name carries its interval."""
    is_test = part == "test"
    has_positive = metrics["positive"] is not None
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=one_line(data.name if is_test else part),
            dataset_name=one_line(data.title if is_test else part),
            dataset_split="test",
            metric_type=HUB_METRICS.get(key, str(key)),
            metric_value=round(one["value"], 6),
            metric_name=one_line(
                f"{measure(key, has_positive=has_positive)[0]}, {estimate_text(one)} "
                f"({_level(metrics)} interval, {_basis(one, metrics)})"
            ),
        )
        for key, one in metrics["estimates"].items()
        if one["value"] is not None
    ]


def _basis(estimate: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    return basis(estimate["n_images"], estimate["n_groups"], metrics["group_kind"], joint=", ")


def _level(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['level']:.0%}".replace("%", " %")


def proportions(card: Card) -> str:
    """Return the class proportions that the probabilities of a bundle refer to."""
    return ", ".join(
        f"{card.title_of(name)} {share:.1%}"
        for name, share in zip(card.classes, card.prior, strict=True)
    )


def _intended_use(card: Card, answers: Mapping[str, str]) -> str:
    return "\n\n".join(
        [
            f"**{words(card.intended_use)}**",
            paragraphs(answers.get("intended_use", "")),
            f"Users: {paragraphs(answers.get('intended_users', ''))}",
        ]
    )


def usage(card: Card) -> str:
    """Say how a bundle is used, from Python and on the command line."""
    classes = ", ".join(words(_with_title(card, name)) for name in card.classes)
    return (
        "```python\nimport diascope\n\n"
        'bundle = diascope.load("FOLDER")  # the folder of this file\n'
        'probabilities = bundle.predict_proba(["image.png"])  # a row an image, a column a class\n'
        "called = bundle.decide(probabilities)\n```\n\n"
        "On the command line: `diascope predict FOLDER IMAGES`. "
        f"The classes, in the order of the columns: {classes}. Images of any size are prepared as "
        "for training (see Preprocessing). `model.safetensors` and `card.json` hold all that is "
        "needed, and no code."
    )


def _with_title(card: Card, name: str) -> str:
    title = card.title_of(name)
    return name if title == name else f"{name} ({title})"


def _data(
    data: DatasetCard, fingerprint: Mapping[str, Any], card: Card, cases: Cases | None
) -> str:
    groups = counted(fingerprint["n_groups"], data.group_kind)
    of_groups = "" if data.group_kind == UNGROUPED else f" of {groups}"
    split = fingerprint.get("split") or {}
    how = {
        "official": "The split came with the data.",
        "random": "The split is random, image by image: figures from it are too optimistic.",
    }.get(split.get("mode", "grouped"), f"Split by {data.group_kind}.")
    return bullets(
        [
            f"{data.title}; {data.modality}.",
            f"{counted(fingerprint['n_images'], 'image')}{of_groups}. {how}",
            "Class proportions in training, which the probabilities refer to: "
            f"{proportions(card)}.",
            f"Source: {data.homepage or 'not stated'}. Licence: {data.licence or 'not stated'}. "
            f"Please cite: {data.citation or 'not stated'}",
            f"SHA-256 of the training images: {card.data_sha256}.",
            *held_images(card, cases),
        ]
    )


def held_images(card: Card, cases: Cases | None) -> list[str]:
    """Say which images a bundle holds, and under which licence; nothing where it holds none."""
    if cases is None:
        return []
    training = counted(len(cases.training_labels), "training image")
    examples = counted(len(cases.example_labels), "validation image")
    learned = " (which only the last member did not learn from)" if card.members else ""
    return [
        f"The bundle holds {training} and {examples}{learned} to be shown beside predictions, "
        f"scaled to {card.size_px} px ({FILE}). Whoever passes the bundle on passes them on too. "
        f"Their licence: {card.licence}. Please cite: {card.citation}"
    ]


def _training(run: Run, card: Card) -> str:
    plan, made = run.plan, run.provenance
    begun = plan.weights if plan.weights in (RANDOM, PRETRAINED) else "from a file"
    rows = [
        ("network", f"{card.model}, {plan.members} members" if plan.members else card.model),
        ("initial weights", begun),
        ("image size", f"{card.size_px} px"),
        ("maximum epochs", plan.training.max_epochs),
        ("batch size", plan.training.batch_size),
        ("optimizer", f"{plan.training.optimizer}, learning rate {plan.training.learning_rate:g}"),
        ("class imbalance", plan.training.imbalance.replace("_", " ")),
        ("weights kept", plan.training.selection.replace("_", " ")),
        ("seed", plan.seed),
        ("diascope", f"{card.diascope}, commit {made.get('commit', 'unknown')}"),
    ]
    why = "The run's `plan.json` has every setting with its reason."
    return f"{table(('setting', 'value'), rows)}\n\n{why}"


def _cost(run: Run) -> str:
    rows = cost_rows(run)
    return f"{table(('figure', 'value'), rows)}\n\n{words(COST_NOTE)}" if rows else ""


def _evaluation(evaluated: Mapping[str, Any], stale: list[str]) -> str:
    parts = [words(STALE.format(part=part)) for part in stale]
    if "test" not in evaluated and not stale:
        parts.append("The network has not been evaluated on test images.")
    for part, metrics in evaluated.items():
        where = "On its own test split" if part == "test" else f"On {status(metrics)} data: {part}"
        has_positive = metrics["positive"] is not None
        rows = [
            (measure(key, has_positive=has_positive)[0], estimate_text(one), _basis(one, metrics))
            for key, one in metrics["estimates"].items()
        ]
        kinds = plural("group" if metrics["group_kind"] == UNGROUPED else metrics["group_kind"])
        opened = metrics.get("openings") or {}
        times = opened.get("same_images", 0) + opened.get("overlapping", 0)
        parts += [
            f"### {words(where)}",
            table(("metric", f"value [{_level(metrics)} interval]", "based on"), rows),
            words(f"Intervals by resampling whole {kinds}. Openings of these images: {times}."),
        ]
        parts += _of_points(metrics)
        parts += [bullets(metrics["warnings"])] if metrics["warnings"] else []
    return "\n\n".join(parts)


def _of_points(metrics: Mapping[str, Any]) -> list[str]:
    """Return the rates at each operating point on some images, where there are several."""
    points = metrics.get("points") or []
    if len(points) < 2:
        return []
    rows = [
        (
            point["name"],
            f"{point['threshold']:.4g}",
            *(estimate_text(point["estimates"][key]) for key in RATES),
        )
        for point in points
    ]
    names = [measure(key, has_positive=True)[0] for key in RATES]
    text = "All figures above are at the default operating point. At each of them:"
    return [words(text), table(("operating point", "threshold", *names), rows)]


def thresholds(card: Card) -> str:
    """Say at which probability a class is called, and on which images that was chosen."""
    found = []
    is_local = card.recalibration is not None
    image = "local image" if is_local else "validation image"
    not_trained_on = "" if is_local else " that were not trained on"
    if card.positive is not None and card.threshold is not None:
        found.append(
            f"An image is predicted as {card.title_of(card.positive)} at a probability of "
            f"{card.threshold:.4g} or more."
        )
    else:
        found.append("The class whose weighted probability is the largest is predicted.")
    if card.operating_point is not None:
        found.append(f"The threshold {_chosen_for(card.operating_point, card, image)}.")
    found += [
        f"The operating point {point} is not the default (predict --operating-point {point}): its "
        f"threshold of {point.threshold:.4g} {_chosen_for(point, card, image)}."
        for point in card.other_points
    ]
    if card.n_calibrated:
        found.append(
            f"The logits are divided by a temperature of {card.temperature:.3f}, fitted on "
            f"{counted(card.n_calibrated, image)}{not_trained_on}."
        )
    else:
        found.append("The probabilities are uncalibrated, as the network outputs them.")
    if card.prediction_sets is not None:
        found.append(
            f"Prediction sets: of a new {card.group_kind} with images of a class, the set of such "
            "an image holds the class with a probability of at least "
            f"{card.prediction_sets.coverage:.0%}, on average over draws of the calibration data. "
            f"An image is {RULE}."
        )
    else:
        found.append(
            "There are no prediction sets, and no rule for which images to refer to a human: "
            f"{card.why_no_sets}."
        )
    return bullets(found)


def _chosen_for(point: OperatingPoint, card: Card, image: str) -> str:
    kinds = plural(card.group_kind)
    return (
        f"was chosen on {image}s of {point.n_groups} {kinds} for a mean {point.metric} of at least "
        f"{point.value:g} over new {kinds} from the same population, with {point.confidence:.0%} "
        "confidence"
    )


def _limits(run: Run, answers: Mapping[str, str]) -> str:
    found = bullets(
        limits(
            run.dataset.group_kind,
            run.external_metrics(),
            is_cross_validation=False,
            has_groups=_has_group_level(run),
        )
    )
    answer = answers.get("limitations")
    return f"{found}\n\n{paragraphs(answer)}" if answer else found


def _has_group_level(run: Run) -> bool:
    """Return whether whole groups were evaluated on the test images, besides single ones."""
    if not run.metrics_path("test").is_file():
        return False
    return bool((run.metrics("test").get("group_level") or {}).get("rule"))


def _licence(data: DatasetCard, answers: Mapping[str, str]) -> str:
    answer = answers.get("model_licence")
    weights = words(answer) if answer else NOT_STATED
    images = words(data.licence or "not stated")
    return f"Of the weights: {weights}\n\nOf the training images: {images}"
