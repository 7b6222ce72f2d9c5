"""Operating points: what each threshold was chosen for, what it gives, and what others would."""

from __future__ import annotations

from typing import Any

from diascope.bundle.operating_points import DEFAULT
from diascope.metrics.thresholds import RATES
from diascope.reporting.measures import basis
from diascope.reporting.report.facts import Facts
from diascope.system.words import counted, plural


def section(facts: Facts) -> dict[str, Any] | None:
    """Return the points with their rates, and a table of thresholds; None without either."""
    points = facts.metrics.get("points") or []
    targets = [point["target"] for point in points if point["target"]]
    of_folds = [point for point in facts.metrics.get("operating_points") or () if point]
    if not points and not of_folds:
        return None
    val = facts.metrics.get("thresholds")
    return {
        "texts": _of_default(of_folds, facts),
        "rates": RATES,
        "points": [{**point, "promise": _promise(point, facts)} for point in points],
        "note": _note(facts) if targets else "",
        "val": val,
        "val_basis": val and basis(val["n_images"], val["n_groups"], val["group_kind"]),
    }


def _of_default(points: list[dict[str, Any]], facts: Facts) -> list[str]:
    """Say what the default threshold was chosen for, and whether it was met here."""
    if not points:
        return []
    first, kind, kinds = points[0], facts.group_kind, plural(facts.group_kind)
    name = first["metric"]
    thresholds = ", ".join(f"{point['threshold']:.4g}" for point in points)
    groups = " and ".join(str(point["n_groups"]) for point in points)
    texts = [
        f"Target: a mean {name} over {kinds} of at least {first['value']:g}. The threshold "
        f"({thresholds}) was chosen on the validation images of {groups} {kinds} so that, with "
        f"{first['confidence']:.0%} confidence, this holds for new {kinds} from the same "
        f"population (risk control, {first['method']} bound; Bates et al. 2021). It does not hold "
        f"for {kinds} of another clinic, nor for each single {kind}."
    ]
    mean = (facts.metrics["per_group"].get(name) or {}).get("mean")
    if mean and mean["value"] is not None:
        interval = "no interval"
        if mean["low"] is not None:
            interval = f"{mean['low']:.3f} to {mean['high']:.3f}"
        verb = "reached" if mean["value"] >= first["value"] else "missed"
        texts.append(
            f"On the images evaluated here it was {verb}: {mean['value']:.3f} ({interval}), the "
            f"mean over {counted(mean['n_groups'], kind)}."
        )
    return texts


def _promise(point: dict[str, Any], facts: Facts) -> str:
    target = point["target"]
    if target is None:
        return "none: by the decision rule" if point["name"] == DEFAULT else "none"
    return (
        f"mean {target['metric']} over {plural(facts.group_kind)} of at least {target['value']:g}, "
        f"with {target['confidence']:.0%} confidence"
    )


def _note(facts: Facts) -> str:
    kinds = plural(facts.group_kind)
    return (
        f"A guarantee is of a mean over {kinds}, for new {kinds} from the same population (risk "
        "control; Bates et al. 2021); the rates above are of all images together, as everywhere."
    )
