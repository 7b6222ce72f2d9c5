"""The page of an audit: one file that opens from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from diascope.audit.duplicates import KIND_NAMES, count_pairs
from diascope.audit.findings import Findings
from diascope.audit.probes import MARGIN, NONE, SOME, STRONG, STRONG_FRACTION, Probe
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.metrics.caveats import CHANCE
from diascope.metrics.estimate import Estimate
from diascope.reporting.audit.pictures import AuditPictures
from diascope.reporting.figures.intervals import intervals_figure
from diascope.reporting.figures.style import PALETTE, SOFT_INK, figure_to_svg
from diascope.reporting.measures import basis, estimate_text
from diascope.reporting.template import fill_template
from diascope.system.words import counted, plural

COLOURS = {"content": PALETTE[0], STRONG: PALETTE[1], SOME: PALETTE[4], NONE: SOFT_INK}
MOST_KINDS = 12  # of groups, by the classes that they have


def render_audit(
    findings: Findings,
    facts: dict[str, Any],
    pictures: AuditPictures,
    *,
    card: DatasetCard,
    notes: Sequence[str],
) -> str:
    """Return the page.

    Parameters
    ----------
    facts : dict
        The content of ``audit.json``.
    notes : sequence of str
        Warnings from ``prepare``.
    """
    return fill_template(
        "templates/audit.html.j2",
        card=card,
        facts=facts,
        examined=_examined(findings, facts, card.group_kind),
        headlines=[*facts["headlines"], *notes],
        probes=findings.probes,
        colour_of=_colour,
        basis=basis,
        chart=_chart(findings.probes),
        has_within=any(probe.within for probe in findings.probes),
        rule={"from": CHANCE + MARGIN, "share": STRONG_FRACTION},
        gaps=findings.gaps,
        gap_text=_gap_text(findings),
        pictures=pictures,
        kind_names=KIND_NAMES,
        share_of=_share,
        suspects_text=_suspects_text(facts),
        kinds=facts["group_kinds"][:MOST_KINDS],
        groups=plural(card.group_kind),
        is_grouped=card.group_kind != UNGROUPED,
    )


def headlines(findings: Findings) -> list[str]:
    """Return what a reader must know, a sentence each, the gravest first."""
    found = []
    if findings.not_probed:
        found.append(f"Shortcuts, leaks and labels cannot be judged: {findings.not_probed}.")
    for verdict in (STRONG, SOME):
        flagged = [probe for probe in findings.probes if probe.verdict == verdict]
        flagged.sort(key=lambda probe: -(probe.auroc.value or 0))
        found += [_flag(probe) for probe in flagged]
    found += [
        f"A random split would inflate the figures: {gap.probe} gain "
        f"{_text(gap.gap, is_signed=True)} of AUROC from images of groups that were trained on."
        for gap in findings.gaps
        if gap.flatters
    ]
    for row in [] if findings.pairs is None else count_pairs(findings.pairs):
        what = KIND_NAMES[row["kind"]]
        if row["conflicts"]:
            found.append(f"{counted(row['conflicts'], 'pair')} of {what} have two labels.")
        if row["across_splits"]:
            found.append(f"{counted(row['across_splits'], 'pair')} of {what} lie in two splits.")
    if findings.left_out:
        found.append(
            f"Not probed, because they have too few groups: {', '.join(findings.left_out)}."
        )
    return found


def _flag(probe: Probe) -> str:
    share = ""
    if probe.fraction is not None:
        is_more = probe.fraction > 1
        share = ", more than the content probe" if is_more else f", {_share(probe.fraction)}"
        share += "" if is_more else " of what the content probe has above chance"
    cue = f"{probe.name[:1].upper()}{probe.name[1:]}"
    return f"{cue} alone predicts the label: AUROC {_text(probe.auroc)}{share}."


def _share(fraction: float | None) -> str:
    """Return what a cue has of the AUROC above chance of the content, which it may exceed."""
    if fraction is None:
        return "not evaluable"
    return "more than the content" if fraction > 1 else f"{fraction:.0%}"


def _suspects_text(facts: Mapping[str, Any]) -> str:
    """Say how good the probe is that suspects labels, and what may be counted by it."""
    found = facts["suspects"]
    if not found:
        return ""
    text = (
        f"The probe itself agrees with {found['probe_accuracy']:.1%} of the labels (balanced "
        f"accuracy {found['probe_balanced_accuracy']:.3f}; chance is "
        f"{1 / len(facts['classes']):.3f})."
    )
    if found["estimated_errors"] is None:
        return (
            f"{text} That is too little to say how many labels are wrong: most disagreements may "
            "be errors of the probe."
        )
    return (
        f"{text} By confident learning, {found['estimated_errors']:.1%} of the labels would be "
        "wrong; errors of the probe are in this figure."
    )


def _text(estimate: Estimate, *, is_signed: bool = False) -> str:
    return estimate_text(asdict(estimate), is_signed=is_signed)


def _colour(probe: Probe) -> str:
    return COLOURS.get(probe.verdict, SOFT_INK)


def _chart(probes: Sequence[Probe]) -> str | None:
    if not probes:
        return None
    rows = [(probe.name, asdict(probe.auroc), _colour(probe)) for probe in probes]
    ends = [end for _, one, _ in rows for end in (one["value"], one["low"]) if end is not None]
    figure = intervals_figure(
        rows,
        label="AUROC",
        reference=CHANCE,
        limits=(min([0.45, *ends]) - 0.01, 1.005),
        shaded_to=CHANCE + MARGIN,
    )
    return figure_to_svg(figure)


def _examined(findings: Findings, facts: dict[str, Any], group_kind: str) -> str:
    n_all, n_examined = facts["n_in_data"], facts["n_images"]
    n_groups = findings.probed["group"].n_unique()
    sample = f", chosen at random from {n_all:,}" if n_examined < n_all else ""
    n_test = int((findings.images["split"] == "test").sum())
    text = (
        f"{counted(n_examined, 'image')} were examined{sample}. Whatever reads labels (probes, "
        f"leakage meter, suspects) uses the {basis(facts['n_probed'], n_groups, group_kind)} in "
        "train and val."
    )
    if n_test:
        text += (
            f" The labels of the {counted(n_test, 'test image')} are sealed and were not read; "
            "duplicates and image quality, which need none, were checked among them too, and some "
            "of their pictures are shown below."
        )
    return text


def _gap_text(findings: Findings) -> str:
    if findings.no_gap:
        return findings.no_gap
    if any(gap.flatters for gap in findings.gaps):
        return (
            "The interval lies above zero: with a random split, figures on these images would be "
            "too optimistic. Networks that memorise can gain more than these probes."
        )
    return (
        "No gap can be distinguished from chance here. That does not prove that there is none: "
        "these probes memorise little, and a network may recognise what they do not."
    )
