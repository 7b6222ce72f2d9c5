"""Say how the images were divided, which were left out, and what is on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diascope.metrics.estimate import counted, plural
from diascope.reporting.facts import Facts
from diascope.reporting.labels import label_notes


def leak_warning(facts: Facts) -> str:
    """Return what stands in red above all figures; empty where no group is on both sides."""
    if facts.split_mode != "random":
        return ""
    return " ".join(facts.fingerprint["split"]["warnings"])


def split_text(facts: Facts) -> str:
    """Say how the images were divided."""
    kind = facts.group_kind
    split = facts.fingerprint.get("split") or {}
    seeded = f" (seed {split['seed']})" if "seed" in split else ""
    unit = f"The unit is the {kind}: whole {plural(kind)} were placed"
    shares = f"its share of every class and of every kind of {kind}{seeded}"
    if not facts.is_grouped:
        unit = "The unit is the image, equal pictures kept together: they were placed"
        shares = f"its share of every class{seeded}"
    learned = "The network learned from train, val was watched meanwhile, and test was kept sealed."
    if facts.plan.members:
        learned = (
            f"The {facts.plan.members} members of an ensemble learned from train and val: whole "
            f"{plural(kind)} were placed in as many parts, and each member watched one part and "
            "learned from the others. Their logits are averaged. Test was kept sealed."
        )
    if facts.is_cross_validation:
        n_members = facts.plan.members
        judge = f"an ensemble of {n_members} networks" if n_members else "a network"
        return (
            f"{unit} in {facts.metrics['n_folds']} folds, so that every fold has {shares}. Each "
            f"fold was judged once, by {judge} that was trained on the others.{_sealed(facts)}"
        )
    if facts.split_mode == "random":
        return f"The images were placed in train, val and test at random{seeded}. {learned}"
    if facts.split_mode == "official":
        val = f" But val: it was parted from train by {kind}{seeded}."
        return (
            "The split is the one that comes with the data, and no image was moved."
            f"{val * bool(split.get('val_from_train'))} {learned}"
        )
    return f"{unit} in train, val and test, so that each has {shares}. {learned}"


def _sealed(facts: Facts) -> str:
    """Say that the test images of an official split are in no fold."""
    n_test = facts.fingerprint["splits"]["test"]["n_images"] if "splits" in facts.fingerprint else 0
    if (facts.fingerprint.get("split") or {}).get("mode") != "official" or not n_test:
        return ""
    return f" The {n_test:,} test images that come with the data are in no fold and stay sealed."


def proof_text(facts: Facts) -> str:
    """Say what the counts of shared groups and pictures mean."""
    compared = (
        "Counted from the manifest when this report was made{}. Pictures are compared pixel by "
        "pixel, also turned and mirrored; those of a single colour do not count."
    )
    if facts.split_mode == "random":
        return compared.format(": what is not 0 is known from training when it is tested")
    if facts.split_mode == "official":
        return compared.format(
            f"; a shared {facts.group_kind} would have stopped it. Of shared pictures, no image "
            "was moved, because the split is given"
        )
    return compared.format("; anything but 0 would have stopped it")


def duplicates_text(duplicates: Mapping[str, int], group_kind: str) -> str:
    """Say what pictures are filed twice, and what was done about it."""
    equal = "No picture is filed twice."
    if duplicates.get("n_images"):
        equal = (
            f"{counted(duplicates['n_images'], 'image')} have an identical twin "
            f"({counted(duplicates['n_pairs'], 'pair')}). "
            f"Filed under two labels: {counted(duplicates['across_labels'], 'picture')}."
        )
    joined = (
        f"Before the split, {counted(duplicates['groups_joined'], group_kind)} joined another one; "
        "the largest that came of it holds "
        f"{counted(duplicates['largest_component_groups'], group_kind)}."
    )
    parts = [equal, _near_duplicates_text(duplicates, group_kind)]
    return " ".join([*parts, joined] if duplicates.get("groups_joined") else parts)


def _near_duplicates_text(duplicates: Mapping[str, int], group_kind: str) -> str:
    if not duplicates.get("near_searched"):
        return (
            "Pictures that are nearly the same (cropped, turned, re-compressed, taken again) were "
            "not looked for."
        )
    n_pairs, n_labels = duplicates["n_near_pairs"], duplicates["near_across_labels"]
    if not n_pairs:
        return f"No picture is nearly the same as one of another {group_kind}."
    return (
        f"{counted(n_pairs, 'pair')} of nearly the same picture in two {plural(group_kind)} "
        "(cropped, turned, re-compressed, or taken again) passed the check of geometry and aligned "
        f"appearance; {n_labels} of them under two labels."
    )


def data_notes(fingerprint: Mapping[str, Any]) -> list[str]:
    """Say which images are not among those that were used, and how the data were read."""
    found = []
    n_left = fingerprint.get("left_out") or 0
    if n_left:
        found.append(f"{counted(n_left, 'image')} in no list of the official split were left out.")
    n_unlisted = (fingerprint.get("unlisted") or {}).get("n_files", 0)
    if n_unlisted:
        found.append(f"{counted(n_unlisted, 'image file')} in no row of the data were not used.")
    remarks = fingerprint.get("remarks") or []
    found += label_notes(fingerprint)
    return [*found, *(f"{remark[:1].upper()}{remark[1:]}." for remark in remarks)]
