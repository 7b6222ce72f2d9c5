"""The page of an audit: one file that opens from disk."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from diascope.audit.duplicates import count_pairs
from diascope.audit.findings import Findings
from diascope.audit.probes import MARGIN, NONE, SOME, STRONG, STRONG_SHARE, Probe
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.figures.probes import CHANCE, probes_figure
from diascope.figures.style import PALETTE, SOFT_INK, figure_to_svg
from diascope.metrics.estimate import Estimate, counted, plural
from diascope.reporting.audit_pictures import Pictures
from diascope.reporting.filling import fill_template

COLOURS = {"content": PALETTE[0], STRONG: PALETTE[1], SOME: PALETTE[4], NONE: SOFT_INK}
MOST_KINDS = 12  # of groups, by the classes that they have


def render_audit(
    findings: Findings,
    facts: dict[str, Any],
    pictures: Pictures,
    *,
    card: DatasetCard,
    notes: Sequence[str],
) -> str:
    """Return the page.

    Parameters
    ----------
    findings : Findings
    facts : dict
        The content of ``audit.json``.
    pictures : Pictures
    card : DatasetCard
    notes : sequence of str
        What whoever uses the data must know.
    """
    return fill_template(
        "audit.html.j2",
        card=card,
        facts=facts,
        seen=_seen(findings, facts, card.group_kind),
        headlines=[*facts["headlines"], *notes],
        probes=[_probe_row(probe, card.group_kind) for probe in findings.probes],
        chart=_chart(findings.probes),
        has_within=any(probe.within for probe in findings.probes),
        rule={"from": 0.5 + MARGIN, "share": STRONG_SHARE},
        gaps=[
            {**vars(gap), "gap": _text(gap.gap, is_signed=True), "note": gap.gap.note}
            for gap in findings.gaps
        ],
        gap_text=_gap_text(findings),
        pictures=pictures,
        kinds=facts["group_kinds"][:MOST_KINDS],
        groups=plural("group" if card.group_kind == UNGROUPED else card.group_kind),
        version=version("diascope"),
    )


def headlines(findings: Findings) -> list[str]:
    """Say in a sentence each what a reader must know, the gravest first.

    Parameters
    ----------
    findings : Findings
    """
    found = []
    if findings.untold:
        found.append(f"Shortcuts, leaks and labels cannot be judged: {findings.untold}.")
    for verdict in (STRONG, SOME):
        flagged = [probe for probe in findings.probes if probe.verdict == verdict]
        flagged.sort(key=lambda probe: -(probe.auroc.value or 0))
        found += [_flag(probe) for probe in flagged]
    found += [
        f"A random split would flatter: {gap.probe} gain {_text(gap.gap, is_signed=True)} of AUROC "
        "from images of groups that they know."
        for gap in findings.gaps
        if gap.flatters
    ]
    for row in [] if findings.pairs is None else count_pairs(findings.pairs):
        what = "equal" if row["kind"] == "equal" else "nearly equal"
        if row["conflicts"]:
            found.append(f"{counted(row['conflicts'], 'pair')} of {what} pictures have two labels.")
        if row["across_splits"]:
            found.append(
                f"{counted(row['across_splits'], 'pair')} of {what} pictures lie in two splits."
            )
    if findings.left_out:
        found.append(f"Not probed, as they have too few groups: {', '.join(findings.left_out)}.")
    return found


def _flag(probe: Probe) -> str:
    share = ""
    if probe.share is not None:
        share = f", {probe.share:.0%} of what the content has above chance"
    return f"{probe.name} alone predicts the label: AUROC {_text(probe.auroc)}{share}."


def _text(estimate: Estimate, *, is_signed: bool = False) -> str:
    if estimate.value is None:
        return ""
    form = "+.3f" if is_signed else ".3f"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}} [no interval]"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def _probe_row(probe: Probe, group_kind: str) -> dict[str, Any]:
    auroc = probe.auroc
    return {
        "name": probe.name,
        "what": probe.what,
        "auroc": _text(auroc),
        "within": _text(probe.within) if probe.within else "",
        "within_groups": probe.within.n_groups if probe.within and probe.within.value else 0,
        "basis": f"{counted(auroc.n_images, 'image')}, {counted(auroc.n_groups, group_kind)}",
        "share": "" if probe.share is None else f"{probe.share:.0%}",
        "verdict": probe.verdict,
        "colour": COLOURS.get(probe.verdict, SOFT_INK),
        "note": auroc.note,
    }


def _chart(probes: Sequence[Probe]) -> str | None:
    if not probes:
        return None
    rows = [
        (
            probe.name,
            probe.auroc.value,
            probe.auroc.low,
            probe.auroc.high,
            COLOURS.get(probe.verdict, SOFT_INK),
        )
        for probe in probes
    ]
    return figure_to_svg(probes_figure(rows, beyond=CHANCE + MARGIN))


def _seen(findings: Findings, facts: dict[str, Any], group_kind: str) -> str:
    n_all, n_seen = facts["n_in_data"], facts["n_images"]
    n_groups = findings.probed["group"].n_unique()
    sample = f", drawn at random from {n_all:,}" if n_seen < n_all else ""
    n_test = int((findings.images["split"] == "test").sum())
    text = (
        f"{counted(n_seen, 'image')} were looked at{sample}. Whatever reads labels (probes, "
        f"leakage meter, suspects) rests on {counted(facts['n_probed'], 'image')} of "
        f"{counted(n_groups, group_kind)} in train and val."
    )
    if n_test:
        text += (
            f" The labels of the {counted(n_test, 'test image')} are sealed and were not read; "
            "duplicates and image quality, which need none, were looked for among them too, and "
            "some of their pictures are shown below."
        )
    return text


def _gap_text(findings: Findings) -> str:
    if findings.no_gap:
        return findings.no_gap
    told = [gap for gap in findings.gaps if gap.flatters]
    if told:
        return (
            "The interval lies above zero: with a random split, figures of these images would be "
            "too good. Networks that learn by heart can gain more than these probes."
        )
    return (
        "No gap can be told from chance here. That is no proof that there is none: these probes "
        "learn little by heart, and a network may recognise what they do not."
    )
