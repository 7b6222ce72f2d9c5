"""The page of `diascope show`: one file that opens from disk."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import polars as pl

from diascope.data.spec import UNGROUPED
from diascope.reporting.figures.distribution import MOST_OUTLINES
from diascope.reporting.figures.mosaic import DOTS_PER_INCH
from diascope.reporting.show.plates import SHARP, Plate, View, most_have_one_size
from diascope.reporting.template import fill_template
from diascope.system.words import counted


def render_show(
    view: View,
    plates: Sequence[Plate],
    *,
    name: str,
    about: dict[str, str],
    notes: Sequence[str],
    facts: Sequence[str] = (),
) -> str:
    """Return the page.

    Parameters
    ----------
    about : dict
        ``title, licence, citation`` of the data set.
    notes : sequence of str
        Warnings from ``prepare``.
    facts : sequence of str
        What else is to be known of the pixels.
    """
    return fill_template(
        "templates/show.html.j2",
        name=name,
        **about,
        counts_text=_counts_text(view),
        shown_text=_shown_text(view),
        facts=facts,
        same_size=most_have_one_size(view),
        has_rows=len(view.shown_classes) > MOST_OUTLINES,
        warnings=[*_warnings(view), *notes],
        wide=[_shown(plate) for plate in plates if plate.is_wide],
        narrow=[_shown(plate) for plate in plates if not plate.is_wide],
    )


def _shown(plate: Plate) -> dict[str, Any]:
    width_px, *_ = struct.unpack(">I", plate.png[16:20])  # of the header of every PNG file
    is_chart = plate.name in ("balance", "groups")
    return {
        "name": plate.name,
        "title": plate.title,
        "caption": plate.caption,
        "uri": f"data:image/png;base64,{base64.b64encode(plate.png).decode('ascii')}",
        "width_px": width_px * DOTS_PER_INCH // SHARP if is_chart else width_px,
    }


def _counts_text(view: View) -> str:
    n_groups = view.manifest["group"].n_unique()
    images = counted(view.manifest.height, "image")
    if view.group_kind == UNGROUPED:
        return f"{images} of {len(view.classes)} classes; each image is taken as independent."
    return f"{images} of {counted(n_groups, view.group_kind)}, in {len(view.classes)} classes."


def _shown_text(view: View) -> str:
    n_shown, n_test = view.rows.height, view.manifest.filter(pl.col("split") == "test").height
    text = f"Pictures and measures are of {' and '.join(view.splits)}, {counted(n_shown, 'image')}."
    if "test" in view.splits or not n_test:
        return text
    sealed = counted(n_test, "test image")
    of_group = "" if view.group_kind == UNGROUPED else f" and {view.group_kind}"
    return f"{text} The {sealed} stay sealed: only their number per class{of_group} is shown."


def _warnings(view: View) -> list[str]:
    found = []
    if "test" in view.splits:
        found.append(
            "These are pictures of the test images. Whatever is chosen after looking at them is "
            "chosen on test, and figures on them will be too optimistic."
        )
    n_hidden = len(view.classes) - len(view.shown_classes)
    if n_hidden:
        found.append(
            f"Only the {len(view.shown_classes)} classes with the most images are drawn; "
            f"{n_hidden:,} more are not."
        )
    return found
