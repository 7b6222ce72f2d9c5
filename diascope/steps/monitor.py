"""Monitor: say whether images, scores or referrals drifted since a network was validated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diascope.bundle.card import Card
from diascope.bundle.drift_reference import DriftReference
from diascope.bundle.prediction_table import read_predictions, with_groups
from diascope.errors import RunError, SettingsError
from diascope.evaluation.monitoring import compare_with_reference
from diascope.metrics.drift import FALSE_ALARMS, FEWEST_GROUPS, N_PERMUTATIONS
from diascope.system.places import on_disk
from diascope.system.words import plural
from diascope.training.run import Run, bundle_folder


def monitor(
    model: Run | Path | str,
    tables: Sequence[Path | str],
    *,
    group_from: str | None = None,
    group: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare tables of ``predict`` with the predictions of the bundle on its validation images.

    Each table is judged by itself, at the threshold that it was made with: the images of a week, of
    a clinic, of a microscope. The groups are those of a column ``group`` of the table, or given by
    a rule, or every image is one.

    Parameters
    ----------
    model : Run or path
        The run or the bundle that predicted.
    tables : sequence of path
        As ``predict`` wrote them; columns may have been added.
    group_from : str, optional
        A regular expression that finds the group in a path, as in ``prepare``.
    group : str, optional
        ``"none"`` where every image is from a different patient.
    seed : int
        Of permutations, and of the images drawn of each group.

    Returns
    -------
    dict
        ``tables``, a dict each, see `diascope.evaluation.monitoring.compare_with_reference` and
        docs/deploy.md, with ``table``, its path, and its ``threshold``; ``false_alarms``, the
        fraction of tables that raise one by chance; ``drift_reference``, the images that are
        compared with.

    Raises
    ------
    DiascopeError
        No bundle, one without a drift reference, a table that is not of it, or unknown groups.
    """
    if not tables:
        raise SettingsError("No table of predictions was named.")
    folder = bundle_folder(model)
    card = Card.load(folder)
    reference = _drift_reference(folder, card)
    how = {"group_from": group_from, "group": group, "group_kind": card.group_kind}
    paths = [on_disk(table) for table in tables]
    read = []
    for path in paths:
        table, card_then = read_predictions(path, card)
        read.append((with_groups(table, path, **how), card_then))
    return {
        "bundle": str(folder),
        "false_alarms": FALSE_ALARMS,
        "n_permutations": N_PERMUTATIONS,
        "seed": seed,
        "group_kind": card.group_kind,
        "drift_reference": {
            "data": card.recalibration.data if card.recalibration else card.data,
            "n_images": len(reference.group_of),
            "n_groups": len(set(reference.group_of.tolist())),
        },
        "tables": [
            {
                "table": str(path),
                "threshold": card_then.threshold,
                **compare_with_reference(
                    card_then, reference, table, table["group"].to_list(), seed=seed
                ),
            }
            for path, (table, card_then) in zip(paths, read, strict=True)
        ],
    }


def _drift_reference(folder: Path, card: Card) -> DriftReference:
    if not card.drift_reference_sha256:
        kinds = plural(card.group_kind)
        raise RunError(
            "This bundle has no drift reference: its predictions on validation images are not "
            "stored.",
            where=folder,
            fix=f"Train one network again, with {FEWEST_GROUPS} {kinds} in val at least (an "
            "ensemble stores none); or fit this one to labelled images of your own with "
            "`diascope recalibrate`.",
        )
    return DriftReference.load(folder, card.drift_reference_sha256, n_classes=len(card.classes))
