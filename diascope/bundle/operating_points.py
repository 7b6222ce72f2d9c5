"""At which threshold two classes are called: the default of a bundle, others by name, or any.

The default is what the training chose, and it stays. A threshold that is chosen later for a target
(``evaluate --target``) has the name of its target, such as ``sensitivity=0.95``. Any other
threshold is somebody's choice, guarantees nothing, and its name says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from diascope.bundle.card import Card
from diascope.errors import SettingsError
from diascope.metrics.operating_point import OperatingPoint, Target

DEFAULT = "default"
NO_GUARANTEE = " (no guarantee)"


@dataclass(frozen=True)
class NamedPoint:
    """A threshold, and what it guarantees."""

    name: str
    threshold: float  # 0-1: the positive class is called at this probability or above
    target: OperatingPoint | None  # None where nothing is guaranteed

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)


def points_of(card: Card) -> list[NamedPoint]:
    """Return the operating points of a bundle, the default first; none without a positive class."""
    if card.positive is None or card.threshold is None:
        return []
    default = NamedPoint(DEFAULT, card.threshold, card.operating_point)
    return [default, *(NamedPoint(str(one), one.threshold, one) for one in card.other_points)]


def free_point(card: Card, threshold: float) -> NamedPoint:
    """Return a threshold that guarantees nothing.

    Raises
    ------
    SettingsError
        It is no probability, or there is no positive class to call.
    """
    if card.positive is None:
        raise SettingsError(
            "A threshold needs two classes, one of them positive.",
            where="--threshold",
            fix="Leave it out: the class is called whose weighted probability is the largest.",
        )
    if not 0 <= threshold <= 1:
        raise SettingsError(
            f"A threshold is a probability from 0 to 1, and not {threshold:g}.", where="--threshold"
        )
    return NamedPoint(free_name(threshold), threshold, None)


def free_name(threshold: float) -> str:
    """Return the name of a threshold that was not chosen for a target: another for every one.

    Examples
    --------
    >>> free_name(0.3), free_name(0.30000001)
    ('threshold=0.3 (no guarantee)', 'threshold=0.30000001 (no guarantee)')
    """
    return f"threshold={threshold}{NO_GUARANTEE}"


def is_free(name: str) -> bool:
    """Return whether a name is one of `free_name`."""
    return name.endswith(NO_GUARANTEE)


def find_point(card: Card, *, name: str | None, threshold: float | None) -> NamedPoint | None:
    """Return the point by its name, or for a threshold; the default where neither is given.

    None for the default of a bundle without a positive class.

    Raises
    ------
    SettingsError
        Both are given, or the bundle has no such point.
    """
    if name is not None and threshold is not None:
        raise SettingsError(
            "The operating point is given twice.", fix="Pass --operating-point or --threshold."
        )
    if threshold is not None:
        return free_point(card, threshold)
    points = points_of(card)
    if name is None:
        return points[0] if points else None
    for point in points:
        if name in (point.name, str(point.target or "")):
            return point
    names = ", ".join(point.name for point in points) or "no operating point"
    raise SettingsError(
        f"This bundle has no operating point {name!r}. It has: {names}.",
        where="--operating-point",
        fix="Choose one on the validation images with `diascope evaluate RUN --target "
        "sensitivity=VALUE`, or pass --threshold for one without a guarantee.",
    )


def has_points(
    judged: Sequence[Mapping[str, Any]], cards: Sequence[Card], target: Target | None
) -> bool:
    """Return whether bundles have a point for a target, and it is among those that were judged.

    ``judged`` has rows with ``name`` and ``threshold``.
    """
    if target is None:
        return True
    known = [{str(one.target): one for one in points_of(card)} for card in cards]
    if not all(str(target) in of_card for of_card in known):
        return False
    if len(cards) > 1:  # the default of each network, which is in all figures
        return True
    point = known[0][str(target)]
    return {"name": point.name, "threshold": point.threshold} in [
        {"name": row["name"], "threshold": row["threshold"]} for row in judged
    ]


def at_point(card: Card, point: NamedPoint | None) -> Card:
    """Return the card with the threshold of a point in place of its default."""
    if point is None:
        return card
    return card.model_copy(update={"threshold": point.threshold, "operating_point": point.target})


def with_point(card: Card, point: OperatingPoint) -> Card:
    """Return the card with one more point; the default stays, and one for the same target goes."""
    if card.operating_point is not None and str(card.operating_point) == str(point):
        return card
    others = [one for one in card.other_points if str(one) != str(point)]
    return card.model_copy(update={"other_points": (*others, point)})
