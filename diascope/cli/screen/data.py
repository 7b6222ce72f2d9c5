"""Print a prepared data set, and what an audit found in it."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from diascope.cli.app import say
from diascope.cli.screen.console import PlainConsole
from diascope.data.about import about_path
from diascope.data.fingerprint import TINY_PX
from diascope.data.prepared import Prepared
from diascope.data.sources.listing import describe_not_taken
from diascope.data.story import find_questions
from diascope.data.visible import describe_sixteen_bits, describe_visible
from diascope.data.window import describe_dicom
from diascope.metrics.estimate import Estimate
from diascope.reporting.report.labels import label_notes
from diascope.reporting.report.split import screened_text
from diascope.system.environment import dataset_folder
from diascope.system.words import counted, plural

MOST_CLASSES, MOST_KINDS, MOST_REJECTED = 20, 8, 20  # lines on a screen


def print_prepared(prepared: Prepared) -> None:
    """Print the facts of a data set that was just prepared or corrected, and its folder."""
    print_fingerprint(prepared.dataset.title, prepared.fingerprint)
    about, known = about_path(prepared.dataset.name), prepared.dataset.story
    n_open = sum(key not in known for key in find_questions())
    if n_open and about.is_file():
        say(f"{counted(n_open, 'question')} about these data open, to be answered in {about}")
    say(dataset_folder(prepared.dataset.name))


def print_fingerprint(title: str, facts: dict[str, Any]) -> None:
    """Print the facts of a data set, with a warning where something is missing."""
    console = PlainConsole()
    parts = {**facts["splits"], "all": facts}
    console.print(title, soft_wrap=True)
    table = Table("", *parts, caption_justify="left")
    table.caption = f"Number of images / {plural(facts['group_kind'])} with such images."
    rows = {"all classes": list(parts.values())}
    for name in list(facts["classes"])[:MOST_CLASSES]:
        rows[name] = [part["classes"][name] for part in parts.values()]
    for name, counts in rows.items():
        cells = [f"{count['n_images']} / {count['n_groups']}" for count in counts]
        table.add_row(name, *cells, end_section=name == "all classes")
    if len(facts["classes"]) > MOST_CLASSES:
        table.add_row(f"and {len(facts['classes']) - MOST_CLASSES} more classes")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    console.print(table)
    for line in describe_fingerprint(facts):
        console.print(line, soft_wrap=True)


def describe_fingerprint(facts: dict[str, Any]) -> list[str]:
    """Return the lines that follow the table of counts."""
    unit, found = facts["group_kind"], facts["duplicates"]
    kinds = [f"{counted(n, unit)} {kind}" for kind, n in facts["group_kinds"].items()]
    if len(kinds) > MOST_KINDS:
        kinds[MOST_KINDS:] = [f"{len(kinds) - MOST_KINDS} more kinds"]
    width, height = facts["width_px"], facts["height_px"]
    lines = [
        f"groups: {', '.join(kinds)}",
        f"sizes: {width['min']}-{width['max']} x {height['min']}-{height['max']} px, "
        f"median {width['median']} x {height['median']}",
        f"duplicates: {counted(found['n_pairs'], 'pair')} of identical images, "
        f"{found['across_labels']} under several labels, "
        f"{counted(found['groups_joined'], unit)} joined, "
        f"largest joined group: {counted(found['largest_component_groups'], unit)}",
        f"near-duplicates: {_near_duplicates(found)}",
        *_known_pairs(found),
        f"rejected: {len(facts['rejected']):,} of {counted(facts['found'], 'file')}",
        *(f"  {image['path']}: {image['reason']}" for image in facts["rejected"][:MOST_REJECTED]),
    ]
    if len(facts["rejected"]) > MOST_REJECTED:
        n_more = len(facts["rejected"]) - MOST_REJECTED
        lines.append(f"  and {n_more} more, in fingerprint.json")
    if left := describe_not_taken(facts.get("not_taken", ())):
        lines.append(left)
    if n_tiny := facts.get("n_tiny"):
        lines.append(f"TINY: {counted(n_tiny, 'image')} under {TINY_PX} px wide or high")
    lines += [f"LOOK: {sentence}" for sentence in describe_visible(facts)]
    lines += describe_sixteen_bits(facts)
    lines += describe_dicom(facts)
    if not facts["complete"]:
        lines.append(
            f"INCOMPLETE: {facts['n_images']} of {facts['expected_images']} "
            f"images, {facts['n_groups']} of {facts['expected_groups']} {plural(unit)}"
        )
    elif facts["content_verified"] is False:
        lines.append(
            "NOT THE PUBLISHED CONTENT: the number of images is right, their digest is not"
        )
    elif facts["content_verified"]:
        lines.append("content: verified, identical to the published files")
    return [*lines, *_describe_split(facts)]


def _describe_split(facts: dict[str, Any]) -> list[str]:
    how, unlisted = facts["split"], facts["unlisted"]
    lines = [f"split: {how['mode']}, by {how['unit']}, seed {how['seed']}"]
    if screened := screened_text(facts, facts["group_kind"]):
        lines.append(f"  {screened}")
    if how["val_from_train"]:
        lines.append("  the data has no validation split: one was taken from train, by group")
    if facts["left_out"]:
        lines.append(f"EXCLUDED: {facts['left_out']} images that the official split does not list")
    if unlisted["n_files"]:
        lines.append(
            f"NOT USED: {unlisted['n_files']} image files that no row lists, such as "
            f"{', '.join(unlisted['first'])}"
        )
    if facts["duplicates"]["across_labels"]:
        n_images = facts["duplicates"]["across_labels"]
        lines.append(
            f"CONFLICTING LABELS: {counted(n_images, 'image')} filed under several classes"
        )
    for one in facts["duplicates"]["conflicts"]:
        lines.append(
            f"CONFLICTING LABELS: {counted(one['n_pairs'], 'pair')} of near-duplicates filed under "
            f"{' and '.join(one['labels'])}"
        )
    lines += [f"LABELS CORRECTED: {note}" for note in label_notes(facts)]
    notes = [f"note: {note}" for note in (*facts["remarks"], *facts["notes"])]
    return [*lines, *notes, *how["warnings"]]


def _near_duplicates(found: dict[str, Any]) -> str:
    if not found.get("near_searched"):
        return "NOT SEARCHED"
    return (
        f"{found['n_near_pairs']} verified pairs across groups, "
        f"{found['near_across_labels']} under two labels"
    )


def _known_pairs(found: dict[str, Any]) -> list[str]:
    n_pairs, n_absent = found["n_known_pairs"], found["n_known_absent"]
    if not n_pairs + n_absent:
        return []
    absent = f"; {n_absent} more have an image that is not here" if n_absent else ""
    missed = f", {found['n_known_not_found']} not found by the search"
    return [
        f"known duplicates: {counted(n_pairs, 'pair')} of the list that comes with the data, all "
        f"joined{missed if found.get('near_searched') else ''}{absent}"
    ]


def print_audit(facts: dict[str, Any]) -> None:
    """Print the findings of an audit: a line for each probe, and counts."""
    if facts["not_probed"]:
        say(f"shortcuts, leaks and labels cannot be judged: {facts['not_probed']}")
    for probe in facts["probes"]:
        auroc = Estimate(**probe["auroc"])
        text = auroc.format() if auroc.value is not None else auroc.note
        is_content = probe["verdict"] == probe["name"]
        say(f"{probe['name']}: {text}{'' if is_content else '; ' + probe['verdict']}")
    for gap in facts["leakage"]["gaps"]:
        say(f"random minus grouped split, {gap['probe']}: {Estimate(**gap['gap']).format()}")
    if facts["suspects"]:
        accuracy = facts["suspects"]["probe_balanced_accuracy"]
        say(
            f"label suspects: {facts['suspects']['n_suspects']:,} of {facts['n_probed']:,}, by a "
            f"probe whose own balanced accuracy is {accuracy:.3f}"
        )
    for finding in facts["quality"]:
        say(f"{finding['name']}: {counted(finding['n_images'], 'image')}")
