"""Verdict: whether the heat maps of a method show what this network does, by several tests.

No test needs to know where the truth lies. Each passes, is weak, or fails; a method passes only if
all do, and fails if one does. The limits were set before the benchmark that judges the verdict
(benchmarks/honesty/heat_maps.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from diascope.bundle.map_verdicts import (
    FEWEST_IMAGES,
    MOST_IMAGES,
    Finding,
    Level,
    MapVerdict,
)
from diascope.bundle.predictions import softmax
from diascope.data.sample import evenly
from diascope.errors import SettingsError
from diascope.explanations.focus import background_of, border_of, energy_in
from diascope.explanations.heat_maps import OF_PIXELS, Explainer, predicted
from diascope.explanations.randomisation import forget
from diascope.explanations.removal import Removal, remove
from diascope.explanations.stability import across_members, under_shifts
from diascope.metrics.bootstrap import Resampling, resample_blocks
from diascope.metrics.estimate import Estimate
from diascope.metrics.replicates import rank_replicates, rankings_of
from diascope.metrics.scored import ScoredImages
from diascope.system.progress import Progress, ShowProgress, silent
from diascope.system.words import counted
from diascope.task import Task

FORGOTTEN_IMAGES = 12  # whose maps are made anew for each network that forgot
MOST_ALIKE = 0.5  # rank correlation with the map of a network that forgot everything
FEWEST_OF_CLASS = 10  # images, to say where the evidence for a class lies
STABLE, HARDLY_STABLE = 0.6, 0.4  # rank correlation under shifts
AGREED, HARDLY_AGREED = 0.6, 0.3  # rank correlation of members
REFERENCE, REFERENCE_IMAGES = "integrated-gradients", 24
EFFICIENT, HARDLY_EFFICIENT = 0.6, 0.3  # of the fall of the score that the reference reaches
MOST_ON_BORDER, FAR_ON_BORDER = 0.55, 0.65  # of the energy; the border has 44 % of the area
MOST_ON_BLACK, FAR_ON_BLACK = 0.25, 0.5  # of the energy, on black background
LEVELS: tuple[Level, ...] = ("fail", "weak", "pass")


@dataclass(frozen=True)
class Labels:
    """What is known of N images besides their pixels."""

    labels: NDArray[np.integer]  # (N,): class indices
    groups: Sequence[str]


def judge_maps(
    explainer: Explainer,
    images: NDArray[np.uint8],
    *,
    labels: NDArray[np.integer] | None = None,
    groups: Sequence[str] | None = None,
    progress: ShowProgress = silent,
) -> MapVerdict:
    """Test the heat maps of a method on images that the network did not learn from.

    A method of pixels is tested in one view of the image: each further one takes as long again.

    Parameters
    ----------
    images : uint8 (N, S, S, 3), 0-255
        `FEWEST_IMAGES` or more. The maps of at most `MOST_IMAGES` are made, spread evenly.
    labels : int (N,), optional
        Class indices. With them it is tested whether the network knows anything to be explained.
    groups : sequence of str, optional
        The groups of the images, for the intervals; by default each image is its own.

    Raises
    ------
    SettingsError
        There are fewer than `FEWEST_IMAGES` images.
    """
    if len(images) < FEWEST_IMAGES:
        raise SettingsError(
            f"Heat maps cannot be tested on {counted(len(images), 'image')}.",
            fix=f"Pass {FEWEST_IMAGES} or more, that the network did not learn from.",
        )
    whose = np.array([str(n) for n in range(len(images))] if groups is None else groups)
    findings: list[Finding] = []

    def found(finding: Finding | None) -> None:
        findings.extend([finding] if finding else [])
        progress(Progress(f"testing {explainer.method}", len(findings), 8))

    if labels is not None:
        found(_knowledge(explainer, images, labels, whose))
    rows = evenly(len(images), MOST_IMAGES)
    images, whose = np.ascontiguousarray(images[rows]), whose[rows]
    tested = _in_one_view(explainer) if explainer.method in OF_PIXELS else explainer
    targets = predicted(explainer.bundle, images)
    evidence = tested.evidence(images, targets)
    maps = np.maximum(evidence, 0)
    few = evenly(len(images), FORGOTTEN_IMAGES)
    found(_randomisation(tested, images[few], targets[few], whose[few]))
    gain = remove(tested.bundle, images, targets, maps)
    found(_removal(gain, whose))
    found(_efficiency(tested, images, targets, gain))
    found(_stability(under_shifts(tested, images[few], targets[few], evidence[few]), whose[few]))
    found(_agreement(across_members(tested, images[few], targets[few]), whose[few]))
    shown = _of_positive(explainer, targets)
    found(_border(maps[shown], targets[shown], whose[shown]))
    found(_background(maps[shown], images[shown], whose[shown]))
    level, reason = _overall(findings)
    return MapVerdict(
        method=explainer.method,
        layer=explainer.layer_name,
        side=explainer.side,
        level=level,
        reason=reason,
        score=_score(level, findings),
        n_images=len(images),
        findings=tuple(findings),
    )


def judge_map(
    explainer: Explainer, image: NDArray[np.uint8], target: int, heat_map: NDArray[np.float32]
) -> tuple[Finding, ...]:
    """Test the heat map of one image, uint8 (S, S, 3), by what is cheap: removal and focus.

    The map is float32 (S, S), 0 or more, of the class of index ``target``. Where its evidence lies
    is asked of the positive class alone, if there is one: others need show no place.
    """
    maps, images, whose = heat_map[None], image[None], np.array(["0"])
    tested = _in_one_view(explainer)
    gain = remove(tested.bundle, images, np.array([target]), maps)
    found = [_removal(gain, whose)]
    positive = tested.bundle.card.positive
    if positive in (None, tested.bundle.classes[target]):
        found += [_border(maps, np.array([target]), whose), _background(maps, images, whose)]
    return tuple(finding for finding in found if finding is not None)


def _in_one_view(explainer: Explainer) -> Explainer:
    bundle = explainer.bundle
    card = bundle.card.model_copy(update={"views": 1})
    return replace(explainer, bundle=replace(bundle, card=card))


def _of_positive(explainer: Explainer, targets: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the images of the positive class, if there are some: others need show no place."""
    card = explainer.bundle.card
    if card.positive is not None:
        rows = np.flatnonzero(targets == card.classes.index(card.positive))
        if len(rows):
            return rows
    return np.arange(len(targets))


def _overall(findings: Sequence[Finding]) -> tuple[Level, str]:
    """Return the level of the worst finding, and its reason."""
    worst = min(findings, key=lambda finding: LEVELS.index(finding.level))
    if worst.level == "pass":
        return "pass", "All tests pass."
    of_level = [finding for finding in findings if finding.level == worst.level]
    return worst.level, " ".join(finding.text for finding in of_level)


def _score(level: Level, findings: Sequence[Finding]) -> float:
    """Order verdicts by their level first, then by how many tests pass: 0 to 3."""
    points = [LEVELS.index(finding.level) / 2 for finding in findings]
    return LEVELS.index(level) + float(np.mean(points))


def _knowledge(
    explainer: Explainer, images: NDArray[np.uint8], labels: NDArray[np.integer], groups: NDArray
) -> Finding | None:
    """Ask whether the network tells the classes apart: of guesses, nothing is to be explained.

    None where there is no AUROC, since a class has no image.
    """
    bundle = explainer.bundle
    probabilities = softmax(bundle.predict_logits(images))
    scored = ScoredImages.from_arrays(
        labels,
        probabilities,
        bundle.decide(probabilities),
        list(groups),
        task=Task(bundle.classes, bundle.card.positive),
        group_kind=bundle.card.group_kind,
    )
    auroc = rank_replicates(scored, rankings_of(scored), Resampling())["auroc"].estimate()
    if auroc.value is None:
        return None
    value = auroc.value
    is_known = auroc.low is not None and auroc.low > 0.5
    level: Level = "pass" if is_known else "weak" if auroc.low is None and value > 0.7 else "fail"
    what = "tells the classes apart" if is_known else "may be guessing: there is nothing to explain"
    text = f"The network {what} (AUROC {_shown(value, auroc.low, auroc.high)})."
    return _finding("knowledge", level, text, value, auroc, 0.5)


def _randomisation(
    explainer: Explainer, images: NDArray[np.uint8], targets: NDArray[np.integer], groups: NDArray
) -> Finding:
    """Ask whether maps change with the weights, more than from image to image."""
    found = forget(explainer, images, targets)
    alike = _mean(found.stages[-1], groups)
    value = float(found.stages[-1].mean())
    others = float(np.quantile(found.others, 0.95))
    limit = min(MOST_ALIKE, others)
    is_below = (value if alike.high is None else alike.high) < limit
    level: Level = "pass" if is_below else "weak" if value < limit else "fail"
    change = "change" if level == "pass" else "hardly change" if level == "fail" else "may change"
    on_the_way = " and ".join(f"{stage.mean():.2f}" for stage in found.stages[:-1])
    text = (
        f"The maps {change} when the network forgets its weights (rank correlation {on_the_way} "
        f"when a third and two thirds of its layers have random weights, from the head down, and "
        f"{_shown(value, alike.low, alike.high)} when all have; limit {limit:.2f})."
    )
    return _finding("randomisation", level, text, value, alike, limit)


def _removal(gain: Removal, groups: NDArray) -> Finding:
    """Ask whether scores follow what the maps show, more than what controls show."""
    deletion, insertion = _mean(gain.deletion, groups), _mean(gain.insertion, groups)
    values = np.array([gain.deletion.mean(), gain.insertion.mean()])
    above = [
        _is_above(one, value) for one, value in zip((deletion, insertion), values, strict=True)
    ]
    level: Level = "pass" if all(above) else "weak" if any(above) else "fail"
    follow = {"pass": "follows", "weak": "partly follows", "fail": "does not follow"}[level]
    falls = _shown(values[0], deletion.low, deletion.high, signed=True)
    rises = _shown(values[1], insertion.low, insertion.high, signed=True)
    text = (
        f"The score {follow} what the heat map shows. Compared with an equally smooth random map, "
        f"hiding what it shows lowers the score by {falls} more, and showing that alone raises it "
        f"by {rises} more (logit; below 0, the random map did better)."
    )
    return _finding("removal", level, text, float(values[0]), deletion, 0.0)


def _efficiency(
    explainer: Explainer, images: NDArray[np.uint8], targets: NDArray[np.integer], gain: Removal
) -> Finding | None:
    """Ask how much of what a reference finds the maps find.

    None for the reference itself, and where that finds nothing: a share of nothing is no number.
    """
    if explainer.method == REFERENCE:
        return None
    rows = evenly(len(images), REFERENCE_IMAGES)
    reference = _in_one_view(Explainer.of(explainer.bundle, REFERENCE))
    maps = reference.maps(images[rows], targets[rows])
    best = remove(explainer.bundle, images[rows], targets[rows], maps).deletion.mean()
    if best <= 0:
        return None
    value = float(gain.deletion[rows].mean() / best)
    level = _at_least(value, EFFICIENT, HARDLY_EFFICIENT)
    text = (
        f"Hiding what the maps show lowers the score, beyond the random map, by "
        f"{100 * max(value, 0):.0f} % of what hiding the evidence of integrated gradients does "
        f"(at least {100 * EFFICIENT:.0f} %)."
    )
    return Finding(name="efficiency", level=level, text=text, value=value, limit=EFFICIENT)


def _is_above(estimate: Estimate, value: float) -> bool:
    return (value if estimate.low is None else estimate.low) > 0


def _stability(alike: NDArray[np.float64], groups: NDArray) -> Finding:
    """Ask whether maps stay with an image that is moved by a pixel or two."""
    value, interval = float(alike.mean()), _mean(alike, groups)
    level = _at_least(value, STABLE, HARDLY_STABLE)
    stay = {"pass": "stay", "weak": "hardly stay", "fail": "do not stay"}[level]
    text = (
        f"The maps {stay} with an image that is moved by 1 or 2 px (rank correlation "
        f"{_shown(value, interval.low, interval.high)}; at least {STABLE})."
    )
    return _finding("stability", level, text, value, interval, STABLE)


def _agreement(alike: NDArray[np.float64] | None, groups: NDArray) -> Finding | None:
    """Ask whether the members of an ensemble show the same; None for a single network."""
    if alike is None:
        return None
    value, interval = float(alike.mean()), _mean(alike, groups)
    level = _at_least(value, AGREED, HARDLY_AGREED)
    agree = {"pass": "agree", "weak": "hardly agree", "fail": "do not agree"}[level]
    text = (
        f"The members {agree} on where to look (rank correlation "
        f"{_shown(value, interval.low, interval.high)}; at least {AGREED})."
    )
    return _finding("members", level, text, value, interval, AGREED)


def _border(
    maps: NDArray[np.float32], targets: NDArray[np.integer], groups: NDArray
) -> Finding | None:
    """Ask how much evidence lies on the border, of the class where that is most."""
    region = border_of(maps.shape[1])
    energy = energy_in(maps, region)
    is_shown = np.isfinite(energy)
    if not is_shown.any():
        return Finding(name="border", level="fail", text="The maps are blank.", value=0.0)
    of_class = [is_shown & (targets == target) for target in np.unique(targets)]
    of_class = [rows for rows in of_class if rows.sum() >= FEWEST_OF_CLASS] or [is_shown]
    worst = max(of_class, key=lambda rows: energy[rows].mean())
    value, interval = float(energy[worst].mean()), _mean(energy[worst], groups[worst])
    level = _at_least(-value, -MOST_ON_BORDER, -FAR_ON_BORDER)
    text = (
        f"{100 * value:.0f} % of the evidence lies on the border of the image, which has "
        f"{100 * region.mean():.0f} % of its area"
    )
    if level != "pass":
        text += ": look for marks, rulers or letters there that go with the label"
    return _finding("border", level, f"{text}.", value, interval, MOST_ON_BORDER)


def _background(
    maps: NDArray[np.float32], images: NDArray[np.uint8], groups: NDArray
) -> Finding | None:
    """Ask how much evidence lies on black background; None where there is hardly any."""
    region = background_of(images)
    if region.mean() < 0.05:
        return None
    energy = energy_in(maps, region)
    is_shown = np.isfinite(energy)
    if not is_shown.any():
        return None
    value, interval = float(energy[is_shown].mean()), _mean(energy[is_shown], groups[is_shown])
    share = float(region.mean())
    limit = max(MOST_ON_BLACK, share)
    level = _at_least(-value, -limit, -max(FAR_ON_BLACK, share))
    text = (
        f"{100 * value:.0f} % of the evidence lies on the black background, which has "
        f"{100 * share:.0f} % of the area."
    )
    return _finding("background", level, text, value, interval, limit)


def _at_least(value: float, enough: float, hardly: float) -> Level:
    return "pass" if value >= enough else "weak" if value >= hardly else "fail"


def _finding(
    name: str, level: Level, text: str, value: float, interval: Estimate, limit: float
) -> Finding:
    return Finding(
        name=name,
        level=level,
        text=text,
        value=value,
        low=interval.low,
        high=interval.high,
        limit=limit,
    )


def _shown(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    form = "+.2f" if signed else ".2f"
    if low is None or high is None:
        return f"{value:{form}}"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _mean(values: NDArray[np.float64], groups: NDArray, *, level: float = 0.95) -> Estimate:
    """Return the mean over images with a Student interval, standard error by group bootstrap."""
    names, group_of = np.unique(groups, return_inverse=True)
    n_images, n_groups = len(values), len(names)
    value = float(values.mean())
    if n_groups < 3:
        return Estimate(value, None, None, n_images, n_groups, "none")
    sums, sizes = np.bincount(group_of, values), np.bincount(group_of)
    strata = np.zeros(n_groups, dtype=np.intp)
    draws = np.concatenate(
        [
            (counts @ sums) / (counts @ sizes)
            for counts in resample_blocks(strata, n_resamples=2000, seed=0)
        ]
    )
    error = draws.std() * np.sqrt(n_groups / (n_groups - 1))  # resamples vary too little by that
    half = float(stdtrit(n_groups - 1, (1 + level) / 2) * error)
    method = "Student interval, standard error by group bootstrap"
    return Estimate(value, value - half, value + half, n_images, n_groups, method)
