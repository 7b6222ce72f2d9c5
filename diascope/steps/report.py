"""Write what a run found as one page that opens from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from diascope.atomic import write_text
from diascope.bundle import Bundle
from diascope.data.image import fit_image
from diascope.errors import DiascopeError, RunError
from diascope.explain.feature_maps import first_layer_maps
from diascope.figures.pictures import feature_map_figure, image_uri
from diascope.figures.style import figure_to_png
from diascope.plugins import find
from diascope.predictions import Predictions
from diascope.recipe import Recipe
from diascope.reporting import gallery
from diascope.reporting.charts import Chart
from diascope.reporting.facts import Facts
from diascope.reporting.page import Pictures, render_page
from diascope.reporting.pseudonyms import pseudonyms, true_names


def report(run: Path | str, *, show_ids: bool = False) -> Path:
    """Write ``report.html`` into the run's folder: everything in one file, no network needed.

    The same run gives the same bytes. Groups bear pseudonyms, and no file name occurs, unless
    asked for.

    Parameters
    ----------
    run : Path or str
        The folder of a run that was evaluated. Where only the validation split was, the report is
        about that, and says so.
    show_ids : bool
        Give the true names of groups and images.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        The run is missing, unfinished or not evaluated.
    LeakageError
        The split is not disjoint: there is no report of such a run.
    """
    folder = Path(run)
    facts = read_facts(folder)
    names = true_names(facts.manifest) if show_ids else pseudonyms(facts.manifest, facts.group_kind)
    errors = gallery.worst_errors(facts, names)
    examples = gallery.chosen_examples(facts)
    answers = gallery.typical_answers(facts)
