"""What is said of an explained image, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diascope.bundle.card import Card

if TYPE_CHECKING:  # a report without heat maps does not load what makes them
    from diascope.bundle.prediction import Prediction
    from diascope.explanations.explained import MethodMap

METHOD_NAMES = {
    "grad-cam": "Grad-CAM",
    "hires-cam": "HiResCAM",
    "score-cam": "Score-CAM",
    "integrated-gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "attention-rollout": "Attention rollout",
}
OF_NO_CLASS = ("attention-rollout",)  # whose maps are the same for every class
HOW = {
    "grad-cam": "The maps of a layer, each weighted by its mean gradient.",
    "hires-cam": "The maps of a layer, each place weighted by its gradient.",
    "score-cam": "The maps of a layer, each weighted by the score of the image seen through it.",
    "integrated-gradients": "How much each pixel adds to the score, from a blurred image on "
    "the way to this one.",
    "occlusion": "What the score loses when a window of the image is blurred.",
    "attention-rollout": "How much of each place arrives at the output through the layers of "
    "attention. It is the same for every class.",
}
LEVEL_WORDS = {
    "pass": "tested: passes",
    "weak": "tested: weak",
    "fail": "tested: fails",
    "not tested": "not tested",
}
SIGNS = {"pass": "✓", "weak": "~", "not tested": "?", "fail": "✕"}
ORDER = {level: number for number, level in enumerate(("pass", "weak", "not tested", "fail"))}
NOT_TESTED = (
    "It was not tested whether maps by this method show what this network does. "
    "Draw no conclusion from it."
)
ALL_FAIL = (
    "Every heat map method failed its test on this network: none of these maps shows what the "
    "network does."
)


def percent(probability: float) -> str:
    """Return a probability in words; only 0 and 1 themselves are 0 % and 100 %.

    Examples
    --------
    >>> percent(0.914), percent(0.9996), percent(0.0004), percent(1.0)
    ('91 %', 'over 99 %', 'under 1 %', '100 %')
    """
    if 0 < probability <= 0.005:
        return "under 1 %"
    if 0.995 <= probability < 1:
        return "over 99 %"
    return f"{100 * probability:.0f} %"


def headline(prediction: Prediction, card: Card) -> str:
    """Return the predicted class and its probability, such as ``"IDC, 91 %"``."""
    if prediction.is_withheld:
        return "Prediction withheld"
    title = card.title_of(card.classes[prediction.predicted])
    return f"{title}, {percent(prediction.probabilities[prediction.predicted])}"


def decision_text(prediction: Prediction, card: Card) -> str:
    """Say what is called, by which rule, and what the probability is worth."""
    if prediction.is_withheld:
        return (
            f"The image is out of distribution (OOD score {_ood_number(prediction)}, limit 1): it "
            "is unlike the images that the network learned from. The prediction is withheld; a "
            "person has to look at the image."
        )
    title = card.title_of(card.classes[prediction.predicted])
    value = percent(prediction.probabilities[prediction.predicted])
    kind = (
        f"a calibrated probability of {value}"
        if card.n_calibrated
        else f"a probability of {value}, which is not calibrated"
    )
    return f"The network predicts {title}, with {kind}. {_rule(prediction, card)}"


def _rule(prediction: Prediction, card: Card) -> str:
    if card.positive is not None and card.threshold is not None:
        positive = float(prediction.probabilities[card.classes.index(card.positive)])
        threshold, shown = f"{card.threshold:.3g}", f"{positive:.3f}"
        if (float(shown) >= float(threshold)) != (positive >= card.threshold):
            threshold, shown = f"{card.threshold:.9g}", f"{positive:.9g}"
        return (
            f"{card.title_of(card.positive)} is predicted at a probability of {threshold} or more; "
            f"here it is {shown}."
        )
    if len(set(card.decision_weights)) > 1:
        return "The class with the largest weighted probability is predicted."
    return "The class with the largest probability is predicted."


def set_text(prediction: Prediction, card: Card) -> str:
    """Say which classes are in the prediction set, and what follows from it."""
    if prediction.is_withheld:
        return ""
    if prediction.in_set is None:
        return f"There are no prediction sets: {card.why_no_sets}."
    names = [card.title_of(name) for name in np.array(card.classes)[prediction.in_set].tolist()]
    reason = prediction.refer_reason
    return (
        f"Prediction set: {', '.join(names) or 'empty'}. "
        f"{f'Refer to a person: {reason}.' if reason else 'No reason to refer.'}"
    )


def ood_text(prediction: Prediction) -> str:
    """Say what the OOD score is; empty where the prediction is withheld for it."""
    if prediction.is_withheld:
        return ""
    if prediction.ood_score is None:
        return "This bundle cannot recognise images that are out of distribution."
    score = _ood_number(prediction)
    return f"OOD score {score}: not above the limit of 1, so not out of distribution."


def _ood_number(prediction: Prediction) -> str:
    """Return the OOD score with two decimals, and more where these would hide its side of 1."""
    shown = f"{prediction.ood_score:.2f}"
    return f"{prediction.ood_score:.6g}" if shown == "1.00" else shown


def places_text(one: MethodMap) -> str:
    r"""Say how fine a map is.

    Examples
    --------
    >>> from diascope.explanations.explained import MethodMap
    >>> places_text(MethodMap("grad-cam", "body.5", 8, None, (), np.zeros((64, 64), np.float32)))
    'This map tells 8\xa0x\xa08 places apart.'
    """
    return f"This map tells {one.side}\xa0x\xa0{one.side} places apart."


def unit_of(method: str) -> str:
    """Return the unit of a map."""
    return "part of 1" if method in OF_NO_CLASS else "logit"


def reason_text(one: MethodMap) -> str:
    """Return why a method has its verdict, in a sentence."""
    return one.verdict.reason if one.verdict else NOT_TESTED


def in_order(maps: tuple[MethodMap, ...]) -> list[MethodMap]:
    """Return the maps, those first whose methods pass; where all fail, in the given order."""
    return sorted(maps, key=lambda one: ORDER[one.level])


def all_fail(maps: tuple[MethodMap, ...]) -> bool:
    """Return whether every method failed its test."""
    return bool(maps) and all(one.level == "fail" for one in maps)
