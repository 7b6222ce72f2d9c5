"""Monitor: say whether images, scores or referrals drifted since a network was validated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from diascope.baseline import Baseline
from diascope.card import Card, damaged
from diascope.errors import RunError, SettingsError
from diascope.metrics.drift import FALSE_ALARMS, FEWEST_GROUPS, N_PERMUTATIONS
from diascope.metrics.estimate import plural
from diascope.monitoring import hold_against
from diascope.run import Run, bundle_folder
from diascope.written_predictions import read_answers, with_groups


def monitor(
    model: Run | Path | str,
    tables: Sequence[Path | str],
    *,
    group_from: str | None = None,
    group: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Hold tables of ``predict`` against what the bundle said of its validation images.

    Each table is judged by itself: the images of a week, of a clinic, of a microscope. The groups
    are those of a column ``group`` of the table, or given by a rule, or every image is one.

    Parameters
    ----------
    model : Run or path
        The run or the bundle that predicted.
    tables : sequence of path
        As ``predict`` wrote them; columns may have been added.
    group_from : str, optional
        A regular expression that finds the group in a path, as in ``prepare``.
    group : str, optional
        ``"none"`` where every image is of another patient.
    seed : int
        Of permutations, and of the images drawn of each group.

    Returns
    -------
    dict
        ``tables``, a dict each, see `diascope.monitoring.hold_against` and docs/deployment.md, with
        ``table``, its path; ``false_alarms``, the share of tables that raise one by chance;
        ``baseline``, what is compared with.

    Raises
    ------
    DiascopeError
        No bundle, one that remembers nothing, a table that is not of it, or groups that nobody
        tells.
    """
    if not tables:
        raise SettingsError("No table of predictions was named.")
    folder = bundle_folder(model)
    card = Card.load(folder)
    baseline = _baseline(folder, card)
    read = []
    for path in map(Path, tables):
        answers = read_answers(path, card)
        kind = card.group_kind
        read.append(with_groups(answers, path, group_from=group_from, group=group, group_kind=kind))
    return {
        "bundle": str(folder),
        "false_alarms": FALSE_ALARMS,
        "n_permutations": N_PERMUTATIONS,
        "seed": seed,
        "group_kind": card.group_kind,
        "baseline": {
            "data": card.recalibration.data if card.recalibration else card.data,
            "n_images": len(baseline.group_of),
            "n_groups": len(set(baseline.group_of.tolist())),
        },
        "tables": [
            {
                "table": str(path),
                **hold_against(card, baseline, answers, answers["group"].to_list(), seed=seed),
            }
            for path, answers in zip(tables, read, strict=True)
        ],
    }


def _baseline(folder: Path, card: Card) -> Baseline:
    """Read what a bundle remembers."""
    if not card.baseline_sha256:
        kinds = plural(card.group_kind)
        raise RunError(
            "This bundle does not remember what it said of validation images: nothing can be held "
            "against it.",
            where=folder,
            fix=f"Train one network again, with {FEWEST_GROUPS} {kinds} in val at least (an "
            "ensemble keeps none back); or fit this one to labelled images of your own with "
            "`diascope recalibrate`.",
        )
    try:
        return Baseline.load(folder, card.baseline_sha256)
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(folder) from error
