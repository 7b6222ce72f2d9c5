"""The model card: what lies beside the weights, in the format of the Hugging Face hub.

After Mitchell et al. 2019 (Model Cards for Model Reporting). It says what the run holds and what
people answered, and nothing else; it is no part of what a bundle is checked by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from diascope.atomic import write_text
from diascope.card import Card
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.metrics.estimate import counted, plural
from diascope.plan import PRETRAINED, RANDOM
from diascope.reporting.markdown import (
    NOT_STATED,
    basis,
    bullets,
    figure,
    one_line,
    paragraphs,
    sections,
    table,
    words,
)
from diascope.reporting.summary import limits
from diascope.reporting.tables import measure
from diascope.run import Run

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "mpl-2.0", "gpl-3.0", "agpl-3.0"),
    *("lgpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("cc-by-nc-nd-4.0", "openrail", "unlicense"),
)
HUB_METRICS = {"auroc": "roc_auc", "sensitivity": "recall", "ppv": "precision", "mcc": "mcc"}
STALE = (
    "The figures on {part} were found at another threshold than the one above, and are left out: "
    "run `diascope evaluate` again."
)


def model_card(run: Run, answers: Mapping[str, str]) -> str:
    """Return the card of a run's network: front matter in YAML, then Markdown.

    The same run and answers give the same card.

    Parameters
    ----------
    run : Run
        Trained, with one bundle; what it was evaluated on, if on anything.
    answers : mapping of str to str
        What people said, see `diascope.reporting.answers.read_answers`.
    """
    card, data = Card.load(run.network_folders[0]), run.card
    judged, stale = _judged(run, card)
    name = one_line(f"{card.model}-{data.name}")
    front = yaml.safe_dump(
        _front(card, data, judged, name=name, licence=answers.get("model_licence", "")),
        sort_keys=False,
        allow_unicode=True,
        width=10_000,
    )
    body = sections(
        [
            ("Intended use", _intended_use(card, answers)),
            ("How to use it", usage(card)),
            ("Data", _data(data, run.fingerprint, card)),
            ("Training", _training(run, card)),
            ("Evaluation", _evaluation(judged, stale)),
            ("Thresholds", thresholds(card)),
            ("Limits", _limits(run, answers)),
            ("Licence", _licence(data, answers)),
        ]
    )
    title = words(f"{card.model} on {data.title}")
    return f"---\n{front}---\n\n# {title}\n\n{body}\n"


def save_model_card(run: Run, answers: Mapping[str, str]) -> None:
    """Lay the card beside the weights; a cross-validation has no bundle, and gets none."""
    if not run.is_cross_validation:
        write_text(run.network_folders[0] / "README.md", model_card(run, answers))


def _judged(run: Run, card: Card) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the metrics by what they are of, and of what they are of another threshold."""
    parts = ["test"] if run.metrics_path("test").is_file() else []
    found = {part: run.metrics(part) for part in parts} | run.external_metrics()
    promise = None if card.operating_point is None else card.operating_point.threshold
    stale = [part for part, metrics in found.items() if _promised(metrics) != promise]
    return {part: one for part, one in found.items() if part not in stale}, stale


def _promised(metrics: Mapping[str, Any]) -> float | None:
    point = (metrics.get("operating_points") or [None])[0]
    return point and point["threshold"]


def _front(
    card: Card, data: DatasetCard, judged: Mapping[str, Any], *, name: str, licence: str
) -> dict[str, Any]:
    """Return the front matter, see https://huggingface.co/docs/hub/model-cards."""
    said = one_line(licence).lower()
    terms: dict[str, str] = {"license": said}
    if said not in LICENCES:
        terms = {"license": "other", "license_name": slug(said) or "not-stated"}
    results = [_result(part, metrics, data) for part, metrics in judged.items()]
    types = dict.fromkeys(metric["type"] for result in results for metric in result["metrics"])
    front: dict[str, Any] = {
        **terms,
        "library_name": "diascope",
        "pipeline_tag": "image-classification",
        "tags": [slug(tag) for tag in ("medical-imaging", data.modality, card.model)],
        "datasets": [one_line(data.name)],
    }
    if results:
        front |= {"metrics": list(types), "model-index": [{"name": name, "results": results}]}
    return front


def slug(text: str) -> str:
    """Return text as a tag of the hub: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _result(part: str, metrics: Mapping[str, Any], data: DatasetCard) -> dict[str, Any]:
    """Return what was reached on some images; each name carries its interval."""
    is_test, kind = part == "test", metrics["group_kind"]
    title = data.title if is_test else part
    level = f"{metrics['level']:.0%}".replace("%", " %")
    has_positive = metrics["positive"] is not None
    return {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {
            "type": one_line(data.name if is_test else part),
            "name": one_line(title),
            "split": "test",
        },
        "metrics": [
            {
                "type": HUB_METRICS.get(key, key),
                "value": round(one["value"], 6),
                "name": one_line(
                    f"{measure(key, has_positive=has_positive)[0]}, {figure(one)} "
                    f"({level} interval, {basis(one, kind)})"
                ),
            }
            for key, one in metrics["estimates"].items()
            if one["value"] is not None
        ],
    }


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
    classes = ", ".join(words(name) for name in card.classes)
    return (
        "```python\nimport diascope\n\n"
        'bundle = diascope.load("FOLDER")  # the folder of this file\n'
        'probabilities = bundle.predict_proba(["image.png"])  # a row an image, a column a class\n'
        "called = bundle.decide(probabilities)\n```\n\n"
        "On the command line: `diascope predict FOLDER IMAGES`. "
        f"The classes, in the order of the columns: {classes}. Images of any size are brought to "
        f"{card.size_px} px as they were for training; `model.safetensors` and `card.json` hold "
        "all that is needed, and no code."
    )


def _data(data: DatasetCard, fingerprint: Mapping[str, Any], card: Card) -> str:
    groups = counted(fingerprint["n_groups"], data.group_kind)
    of_groups = "" if data.group_kind == UNGROUPED else f" of {groups}"
    split = fingerprint.get("split") or {}
    how = {
        "official": "The split came with the data.",
        "random": "The split is random, image by image: figures from it are too good.",
    }.get(split.get("mode", "grouped"), f"Split by {data.group_kind}.")
    share = ", ".join(f"{n} {p:.1%}" for n, p in zip(card.classes, card.prior, strict=True))
    return bullets(
        [
            f"{data.title}; {data.modality}.",
            f"{counted(fingerprint['n_images'], 'image')}{of_groups}. {how}",
            f"Shares among the training images, which the probabilities refer to: {share}.",
            f"From: {data.homepage or 'not stated'}. Licence: {data.licence or 'not stated'}. "
            f"Please cite: {data.citation or 'not stated'}",
            f"SHA-256 of the training images: {card.data_sha256}.",
        ]
    )


def _training(run: Run, card: Card) -> str:
    plan, made = run.plan, run.provenance
    begun = plan.weights if plan.weights in (RANDOM, PRETRAINED) else "from a file"
    rows = [
        ("network", f"{card.model}, {plan.members} members" if plan.members else card.model),
        ("first weights", begun),
        ("image size", f"{card.size_px} px"),
        ("epochs, at most", plan.max_epochs),
        ("batch size", plan.batch_size),
        ("optimizer", f"{plan.optimizer}, learning rate {plan.learning_rate:g}"),
        ("unequal classes", plan.imbalance.replace("_", " ")),
        ("weights kept", plan.selection.replace("_", " ")),
        ("seed", plan.seed),
        ("diascope", f"{card.diascope}, commit {made.get('commit', 'unknown')}"),
    ]
    why = "The run's `plan.json` has every setting, with its reason."
    return f"{table(('setting', 'value'), rows)}\n\n{why}"


def _evaluation(judged: Mapping[str, Any], stale: list[str]) -> str:
    parts = [words(STALE.format(part=part)) for part in stale]
    if "test" not in judged and not stale:
        parts.append("The network has not been judged on test images.")
    for part, metrics in judged.items():
        where = "On its own test split" if part == "test" else f"On data from elsewhere: {part}"
        has_positive = metrics["positive"] is not None
        rows = [
            (
                measure(key, has_positive=has_positive)[0],
                figure(one),
                basis(one, metrics["group_kind"]),
            )
            for key, one in metrics["estimates"].items()
        ]
        kinds = plural("group" if metrics["group_kind"] == UNGROUPED else metrics["group_kind"])
        level = f"{metrics['level']:.0%}".replace("%", " %")
        opened = metrics.get("openings") or {}
        times = opened.get("same_images", 0) + opened.get("overlapping", 0)
        parts += [
            f"### {words(where)}",
            table(("measure", f"value [{level} interval]", "rests on"), rows),
            words(f"Intervals by resampling whole {kinds}. Openings of these images: {times}."),
        ]
        parts += [bullets(metrics["warnings"])] if metrics["warnings"] else []
    return "\n\n".join(parts)


def thresholds(card: Card) -> str:
    """Say from when on a class is called, and on which images that was chosen."""
    found = []
    is_local = card.recalibration is not None
    image = "local image" if is_local else "validation image"
    not_learned = "" if is_local else " that were not learned from"
    if card.positive is not None and card.threshold is not None:
        found.append(
            f"An image is called {card.positive} from a probability of {card.threshold:.4g} on."
        )
    else:
        found.append("The class is called whose weighted probability is the largest.")
    point = card.operating_point
    if point is not None:
        found.append(
            f"The threshold was chosen on {image}s of {point.n_groups} "
            f"{plural(card.group_kind)} to promise a {point.metric} of at least {point.value:g} on "
            f"average over new {plural(card.group_kind)} drawn as those were, with "
            f"{point.confidence:.0%} confidence."
        )
    if card.n_calibrated:
        found.append(
            f"The logits are divided by a temperature of {card.temperature:.3f}, fitted on "
            f"{counted(card.n_calibrated, image)}{not_learned}."
        )
    else:
        found.append("The probabilities are as the network gives them: nothing was calibrated.")
    if card.prediction_sets is not None:
        found.append(
            f"Sets of classes aim to hold the right class of {card.prediction_sets.coverage:.0%} "
            "of the images of each class; an image with more or fewer than one class in its set "
            "is one to refer to a human."
        )
    return bullets(found)


def _limits(run: Run, answers: Mapping[str, str]) -> str:
    found = bullets(limits(run.card.group_kind, is_cross_validation=False))
    said = answers.get("limitations")
    return f"{found}\n\n{paragraphs(said)}" if said else found


def _licence(data: DatasetCard, answers: Mapping[str, str]) -> str:
    said = answers.get("model_licence")
    weights = words(said) if said else NOT_STATED
    return (
        f"Of the weights: {weights}\n\nOf the images that they were learned from: "
        f"{words(data.licence or 'not stated')}"
    )
