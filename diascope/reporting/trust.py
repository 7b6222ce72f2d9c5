"""Say how far single answers can be trusted: calibration, promise, sets, referral."""

from __future__ import annotations

from typing import Any

from diascope.figures.net_benefit import net_benefit_figure
from diascope.figures.reliability import reliability_figure
from diascope.figures.style import PALETTE, SOFT_INK, figure_to_svg
from diascope.metrics.estimate import counted, plural
from diascope.metrics.net_benefit import useful_range
from diascope.reporting.charts import Chart
from diascope.reporting.facts import Facts

OLD_RULE = "referred unless the set holds exactly one class"  # of metrics that name no rule
COLOURS = {"before calibration": SOFT_INK, "after": PALETTE[0]}


def trust_of(facts: Facts) -> dict[str, Any] | None:
    """Return what the section on trust shows; None for metrics of versions without it.

    Returns
    -------
    dict
        ``calibration_text, chart, calibration`` (rows of ``name, before, after``), ``slope,
        intercept``, ``promises`` (sentences), ``predictive_values``,
        ``decision_curve, decision_text``, ``sets_text, sets`` (rows of
        ``name, coverage, n_groups``), ``sets_found``, ``risk_coverage``.
    """
    found = facts.metrics.get("calibration")
    if not found:
        return None
    return {
        "calibration_text": _calibration_text(facts),
        "chart": _chart(facts),
        "calibration": [
            {"name": name, "before": found["before"][key], "after": found["after"][key]}
            for key, name in (
                ("ece", "expected calibration error"),
                ("nll", "negative log-likelihood"),
                ("brier", "Brier score"),
            )
        ],
        "slope": found["slope"],
        "intercept": found["intercept"],
        "promises": _promises(facts),
        "predictive_values": facts.metrics["predictive_values"],
        "decision_curve": _decision_curve(facts),
        "decision_text": _decision_text(facts),
        "sets_text": _sets_text(facts),
        "sets": _set_rows(facts),
        "sets_found": facts.metrics["prediction_sets"],
        "risk_coverage": facts.metrics["risk_coverage"],
    }


def _calibration_text(facts: Facts) -> str:
    temperatures, numbers = facts.metrics["temperatures"], facts.metrics["n_calibrated"]
    if not all(numbers):
        return (
            f"The probabilities are as the network gives them: nothing was calibrated "
            f"({facts.plan.reasons['calibration']})."
        )
    shown = ", ".join(f"{value:.2f}" for value in temperatures)
    return (
        f"The logits were divided by a temperature ({shown}) that was fitted on "
        f"{' and '.join(f'{n:,}' for n in numbers)} validation images, which made no other choice. "
        "Above 1 the network was too sure of itself, below 1 not sure enough."
    )


def _chart(facts: Facts) -> Chart:
    found = facts.metrics["calibration"]
    is_positive = found["judged"] == "positive"
    said = f"probability of {facts.positive}" if is_positive else "probability of the called class"
    happened = f"share that is {facts.positive}" if is_positive else "share that is right"
    figure = reliability_figure(
        {"before calibration": found["before"]["bins"], "after": found["after"]["bins"]},
        colours=COLOURS,
        said=said,
        happened=happened,
    )
    rows = found["after"]["bins"]
    listed = "; ".join(f"{row['predicted']:.2f}: {row['observed']['value']:.2f}" for row in rows)
    return {
        "uri": figure_to_svg(figure),
        "alt": f"Reliability diagram. {said}, and {happened}, after calibration: {listed}.",
        "caption": f"Each dot is a bin of {counted(rows[0]['n_images'], 'image')} or so; the lines "
        f"are 95 % intervals by {facts.group_kind}. On the diagonal, what was said happened as "
        "often as it was said.",
    }


def _decision_curve(facts: Facts) -> Chart | None:
    rows = facts.metrics.get("decision_curve")
    if not rows:
        return None
    return {
        "uri": figure_to_svg(net_benefit_figure(rows)),
        "alt": "Decision curve: net benefit of the network, of acting on all and on none.",
        "caption": f"Net benefit in images of all images, with the 95 % interval by "
        f"{facts.group_kind}.",
    }


def _decision_text(facts: Facts) -> str:
    """Say at which thresholds acting by the network is better than acting on all or on none."""
    rows = facts.metrics.get("decision_curve")
    if not rows:
        return ""
    found = useful_range(rows)
    told = (
        "At no threshold can it be shown that acting by the network is better than acting on all "
        "or on none."
        if found is None
        else f"From a threshold of {found[0]:.2f} to {found[1]:.2f}, acting by the network is "
        "better than acting on all and on none (the interval of the gain lies above zero)."
    )
    return (
        f"{told} Who acts at a probability of 0.20 says with it that one missed image is as bad as "
        "four needless actions; net benefit weighs errors so (Vickers & Elkin 2006). It holds for "
        f"the share of {facts.positive} that these images have, "
        f"{facts.metrics['decision_curve'][0]['prevalence']:.0%}, and for no other."
    )


def _promises(facts: Facts) -> list[str]:
    """Say what each threshold promises, and what came of it."""
    points = [point for point in facts.metrics["operating_points"] if point]
    if not points:
        return []
    first, kinds = points[0], plural(facts.group_kind)
    name = first["metric"]
    thresholds = ", ".join(f"{point['threshold']:.4g}" for point in points)
    groups = " and ".join(str(point["n_groups"]) for point in points)
    mean = (facts.metrics["per_group"].get(name) or {}).get("mean")
    found = [
        f"Target: a {name} of at least {first['value']:g}, as a mean over {kinds}. The threshold "
        f"({thresholds}) was chosen on the validation images of {groups} {kinds} so that, with "
        f"{first['confidence']:.0%} confidence, this holds for new {kinds} drawn as those were "
        f"(risk control, {first['method']} bound; Bates et al. 2021). It says nothing of "
        f"{kinds} of another clinic, nor of each {facts.group_kind} by itself."
    ]
    if mean and mean["value"] is not None:
        interval = "no interval"
        if mean["low"] is not None:
            interval = f"{mean['low']:.3f} to {mean['high']:.3f}"
        verb = "reached" if mean["value"] >= first["value"] else "missed"
        found.append(
            f"On the images judged here it was {verb}: {mean['value']:.3f} ({interval}) on average "
            f"over {counted(mean['n_groups'], facts.group_kind)}."
        )
    return found


def _sets_text(facts: Facts) -> str:
    chosen = [one for one in facts.metrics["sets_chosen"] if one]
    found = facts.metrics["prediction_sets"]
    if not chosen or not found:
        return ""
    kind = facts.group_kind
    return (
        f"Each image has a set of classes. Promised is that, for a new {kind} with images of a "
        f"class, the set of such an image holds that class with a probability of at least "
        f"{chosen[0]['coverage']:.0%}, on average over the {plural(kind)} that the limits were "
        "chosen on (class-conditional split conformal prediction by group; Lee et al. 2023). An "
        f"image is {found.get('rule', OLD_RULE)}: so these figures were "
        "counted, and so `predict` marks new images."
    )


def _set_rows(facts: Facts) -> list[dict[str, Any]]:
    found = facts.metrics["prediction_sets"]
    if not found:
        return []
    chosen = facts.metrics["sets_chosen"]
    return [
        {
            "name": name,
            "coverage": coverage,
            "n_groups": " and ".join(str(one["n_groups"][index]) for one in chosen),
            "is_always": any(one["least"][index] == 0 for one in chosen),
        }
        for index, (name, coverage) in enumerate(zip(facts.classes, found["coverage"], strict=True))
    ]
