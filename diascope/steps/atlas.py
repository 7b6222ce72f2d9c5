"""Atlas: test the heat maps of a run, and write telling cases as one page."""

from __future__ import annotations

from pathlib import Path

from diascope.bundle.bundle import Bundle
from diascope.bundle.map_verdicts import FEWEST_IMAGES
from diascope.data.splits.folds import split_columns
from diascope.explanations.map_testing import explainers_of
from diascope.reporting.explain.verdicts import sample_of_run, tested_on
from diascope.reporting.pseudonyms import pseudonyms, true_names
from diascope.reporting.report.facts import read_facts
from diascope.reporting.report.images import open_images
from diascope.reporting.report.page import render_atlas
from diascope.system.files import write_text
from diascope.system.places import on_disk
from diascope.system.progress import ShowProgress, silent
from diascope.training.run import Run


def atlas(
    run: Run | Path | str,
    *,
    out: Path | str | None = None,
    show_ids: bool = False,
    progress: ShowProgress = silent,
) -> Path:
    """Write ``atlas.html`` into the run's folder: the same section that the report has.

    Before that, the heat maps of each network are tested on at most 60 validation images, and the
    verdicts are kept in its bundle: the report shows them from then on. Where there are too few
    validation images, no heat map is shown.

    Parameters
    ----------
    run : Run or path
        A run that was evaluated.
    out : path, optional
        The page; by default ``atlas.html`` in the folder of the run.
    show_ids : bool
        Show the true names of groups and images.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        The run is missing, unfinished or not evaluated.
    SourceError, ImageError
        An image cannot be read.
    """
    run = Run.open(run)
    manifest = run.manifest
    names = true_names(manifest) if show_ids else pseudonyms(manifest, run.dataset.group_kind)
    with open_images(run) as images:
        facts = read_facts(run, names, images=images)
        judge_heat_maps(run, progress)
        page = render_atlas(facts)
    return write_text(run.folder / "atlas.html" if out is None else on_disk(out), page)


def judge_heat_maps(run: Run, progress: ShowProgress) -> None:
    """Test the heat maps of every network of a run where that was not done."""
    for column, folder in zip(split_columns(run.plan.folds), run.network_folders, strict=True):
        bundle = Bundle.load(folder)
        explainers = explainers_of(bundle)
        if all(one.verdict for one in explainers):
            continue
        sample = sample_of_run(run, bundle.card.pixels, column=column)
        if len(sample.images) >= FEWEST_IMAGES:
            tested_on(sample, bundle, explainers, progress).save(folder)
