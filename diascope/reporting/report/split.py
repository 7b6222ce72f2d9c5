"""Split: how the images were divided, and proof that the parts share nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import polars as pl

from diascope.data.manifest import SPLITS
from diascope.data.spec import UNGROUPED
from diascope.data.splits.folds import fold_column
from diascope.errors import LeakageError
from diascope.reporting.report.facts import Facts, parts_of
from diascope.system.words import counted, plural

# Kinds of group that are a person, or as good as one
PEOPLE = ("patient", "case", "subject", "participant", "person", "individual", "group")
MUST_BE_ZERO = {
    "grouped": ("n_groups", "n_files", "n_pictures"),
    "official": ("n_groups",),
    "random": (),
}


def section(facts: Facts) -> dict[str, Any]:
    """Return how the images were divided, and what the parts share, counted now.

    Raises
    ------
    LeakageError
        See `disjointness` and `check_predictions`.
    """
    duplicates = facts.fingerprint.get("duplicates") or {}
    return {
        "text": _split_text(facts),
        "shared": disjointness(facts),
        "proof": _proof_text(facts),
        "n_checked": check_predictions(facts),
        "screened": screened_text(facts.fingerprint, facts.group_kind),
        "duplicates": duplicates_text(duplicates, facts.group_kind),
    }


def leak_warning(facts: Facts) -> str:
    """Return what stands in red above all figures; empty where no group is on both sides."""
    if facts.run.split_mode != "random":
        return ""
    return " ".join(facts.fingerprint["split"]["warnings"])


def disjointness(facts: Facts) -> list[dict[str, Any]]:
    """Count the groups, the identical files and the identical pictures that splits share.

    Pictures are compared by their pixels, also rotated and mirrored. Featureless ones, of a single
    colour, are equal by chance and do not count.

    Returns
    -------
    list of dict
        ``first, second`` (such as train and test), ``n_groups, n_files, n_pictures``: a count for
        every fold, and one in a holdout. All counts are 0, but for pictures in a split that came
        with the data, and in a random split, whose report carries a warning.

    Raises
    ------
    LeakageError
        Another count is not 0. There is no report of such a run: its figures mean nothing.
    """
    manifest = facts.manifest
    columns = ["split"]
    if facts.run.is_cross_validation:
        columns = [fold_column(fold) for fold in range(int(facts.metrics["n_folds"]))]
    pictures = manifest.drop_nulls("pixel_digest")
    must_be_zero = MUST_BE_ZERO.get(facts.run.split_mode, MUST_BE_ZERO["grouped"])
    rows, leaks = [], []
    for pair in combinations(SPLITS, 2):
        shared = {
            "n_groups": [_n_shared(manifest, column, pair, "group") for column in columns],
            "n_files": [_n_shared(pictures, column, pair, "sha256") for column in columns],
            "n_pictures": [_n_shared(pictures, column, pair, "pixel_digest") for column in columns],
        }
        rows.append({"first": pair[0], "second": pair[1], **shared})
        if any(any(shared[key]) for key in must_be_zero):
            leaks.append(
                f"{pair[0]} and {pair[1]} share {max(shared['n_groups'])} groups and "
                f"{max(shared['n_pictures'])} exact duplicates"
            )
    if leaks:
        raise LeakageError(
            f"The split leaks: {'; '.join(leaks)}.",
            where="manifest.parquet of the run",
            fix="Do not use this run: prepare the data set again, train and evaluate.",
        )
    return rows


def _n_shared(manifest: pl.DataFrame, column: str, pair: tuple[str, str], key: str) -> int:
    first, second = (set(manifest.filter(pl.col(column) == split)[key]) for split in pair)
    return len(first & second)


def check_predictions(facts: Facts) -> int:
    """Check that every prediction is of an image of the part that was evaluated.

    Returns
    -------
    int
        How many predictions were checked.

    Raises
    ------
    LeakageError
        An image was predicted that belongs to another part, or to none.
    """
    has_folds = facts.run.is_cross_validation
    columns = ["image_id", "fold" if has_folds else "split"]
    part_of = dict(facts.manifest.select(columns).iter_rows())
    predictions = facts.predictions
    by_members = facts.split == "val" and facts.run.plan.members > 0  # see `lay_out_members`
    allowed = ["train", "val"] if by_members else [facts.split]
    n_strange = sum(
        part_of.get(image_id) not in ([int(fold)] if has_folds else allowed)
        for image_id, fold in zip(predictions.image_ids, predictions.folds, strict=True)
    )
    n_predicted = len(predictions.image_ids)
    if n_strange:
        raise LeakageError(
            f"{n_strange} of {n_predicted} predictions are of images that do not belong to the "
            "part that was evaluated.",
            where="predictions and manifest.parquet of the run",
            fix="Evaluate the run again.",
        )
    return n_predicted


def _split_text(facts: Facts) -> str:
    kind, kinds = facts.group_kind, plural(facts.group_kind)
    mode, plan = facts.run.split_mode, facts.run.plan
    split = facts.fingerprint.get("split") or {}
    seeded = f" (seed {split['seed']})" if "seed" in split else ""
    unit = f"The unit is the {kind}: whole {kinds} were assigned"
    alike = f"the same proportion of every class and of every kind of {kind}{seeded}"
    if not facts.is_grouped:
        unit = "The unit is the image, exact duplicates kept together: they were assigned"
        alike = f"the same proportion of every class{seeded}"
    has_test = "test" in parts_of(facts.manifest)
    learned = (
        "The network was trained on train, val was used for validation during training, and "
        f"{'test was kept sealed' if has_test else 'there are no test images'}."
    )
    if plan.members:
        learned = (
            f"The {plan.members} members of an ensemble were trained on train and val: whole "
            f"{kinds} were divided into as many parts, and each member was validated on one part "
            "and trained on the others. Their logits are averaged. Test was kept sealed."
        )
    if facts.run.is_cross_validation:
        scorer = f"an ensemble of {plan.members} networks" if plan.members else "a network"
        return (
            f"{unit} to {facts.metrics['n_folds']} folds, so that every fold has about {alike}. "
            f"Each fold was scored once, by {scorer} that was trained on the others."
            f"{_sealed(facts)}"
        )
    if mode == "random":
        return f"The images were assigned to train, val and test at random{seeded}. {learned}"
    if mode == "official":
        val = f" Only val was taken from train, by {kind}{seeded}."
        return (
            "The split is the one that comes with the data, and no image was moved."
            f"{val * bool(split.get('val_from_train'))} {learned}"
        )
    return f"{unit} to train, val and test, so that each has about {alike}. {learned}"


def _sealed(facts: Facts) -> str:
    """Say that the test images of an official split are in no fold."""
    n_test = facts.fingerprint["splits"]["test"]["n_images"] if "splits" in facts.fingerprint else 0
    if (facts.fingerprint.get("split") or {}).get("mode") != "official" or not n_test:
        return ""
    return f" The {n_test:,} test images that come with the data are in no fold and stay sealed."


def _proof_text(facts: Facts) -> str:
    """Say what the counts of shared groups and pictures mean."""
    meaning = {
        "grouped": "; a report is refused where any count is above 0",
        "official": f"; a report is refused where parts share a {facts.group_kind}. "
        "No image was moved because of shared pictures, as the split is given",
        "random": ": whatever is above 0 was seen in training before it was tested",
    }[facts.run.split_mode]
    return (
        f"Counted from the manifest when this report was made{meaning}. Images are compared "
        "pixel by pixel, also rotated and mirrored; those of a single colour do not count."
    )


def screened_text(fingerprint: Mapping[str, Any], group_kind: str) -> str:
    """Say by what a split is disjoint, and under which conditions; empty where it is not."""
    mode = (fingerprint.get("split") or {}).get("mode", "grouped")
    if mode == "random" or group_kind == UNGROUPED:
        return ""
    is_screened = (fingerprint.get("duplicates") or {}).get("near_searched")
    screened = "screened" if is_screened else "not screened"
    text = f"The split is {group_kind}-disjoint, {screened} for near-duplicates."
    if group_kind in PEOPLE:
        return text
    return (
        f"{text} Which {plural(group_kind)} are of one patient is not known: images of one patient "
        "may lie in several parts."
    )


def duplicates_text(duplicates: Mapping[str, int], group_kind: str) -> str:
    """Say which pictures are filed twice, and what was done about it."""
    equal = "No picture is filed twice."
    if duplicates.get("n_images"):
        equal = (
            f"{counted(duplicates['n_images'], 'image')} have an identical copy "
            f"({counted(duplicates['n_pairs'], 'pair')}). "
            f"Filed under two labels: {counted(duplicates['across_labels'], 'picture')}."
        )
    joined = (
        f"Before the split, {counted(duplicates['groups_joined'], group_kind)} joined another one; "
        "the largest group that this made holds "
        f"{counted(duplicates['largest_component_groups'], group_kind)}."
        if duplicates.get("groups_joined")
        else ""
    )
    near = _near_duplicates_text(duplicates, group_kind)
    known = _known_pairs_text(duplicates, group_kind)
    return " ".join(filter(None, [equal, near, known, joined]))


def _known_pairs_text(duplicates: Mapping[str, Any], group_kind: str) -> str:
    """Say how many pairs of the list that comes with the data were joined; empty without one."""
    n_pairs, n_absent = duplicates.get("n_known_pairs", 0), duplicates.get("n_known_absent", 0)
    if not n_pairs + n_absent:
        return ""
    missed = duplicates["n_known_not_found"]
    searched = duplicates.get("near_searched")
    found = f", of which the search did not find {missed:,}" if searched and n_pairs else ""
    absent = (
        f" Of {counted(n_absent, 'more listed pair')} an image is not here." if n_absent else ""
    )
    return (
        f"A list that comes with the data names {counted(n_pairs, 'pair')} of images here that "
        f"show one thing under two {plural(group_kind)}{found}; they are joined whether found or "
        f"not.{absent}"
    )


def _near_duplicates_text(duplicates: Mapping[str, int], group_kind: str) -> str:
    if not duplicates.get("near_searched"):
        return (
            "Near-duplicates (pictures that were cropped, rotated, re-compressed or taken again) "
            "were not searched for."
        )
    n_pairs, n_labels = duplicates["n_near_pairs"], duplicates["near_across_labels"]
    if not n_pairs:
        return f"No picture is a near-duplicate of one of another {group_kind}."
    return (
        f"{counted(n_pairs, 'pair')} of near-duplicates in two {plural(group_kind)} (cropped, "
        "rotated, re-compressed or taken again) passed the check of geometry and aligned "
        f"appearance; of these that the search found, {n_labels} have two labels."
    )
