"""Atlas: test the heat maps of a run, and write telling cases as one page."""

from __future__ import annotations

from pathlib import Path

from diascope.bundle.bundle import Bundle
from diascope.data.manifest import label_indices
from diascope.data.splits.folds import in_fold, split_columns
from diascope.explanations.testing import (
    FEWEST_IMAGES,
    explainers_of,
    rows_to_test,
    tested,
)
from diascope.reporting.pseudonyms import pseudonyms, true_names
from diascope.reporting.report.facts import read_facts
from diascope.reporting.report.images import open_images
from diascope.reporting.report.page import render_atlas
from diascope.system.files import write_text
from diascope.system.progress import ShowProgress, silent
from diascope.training.exam import read_images
from diascope.training.run import Run

OF_VAL = "{n} validation images, chosen evenly by class"
OF_MEMBERS = "{n} images, chosen evenly by class, that all members but one learned from"


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
    return write_text(run.folder / "atlas.html" if out is None else Path(out), page)


def judge_heat_maps(run: Run, progress: ShowProgress) -> None:
    """Test the heat maps of every network of a run where that was not done."""
    classes = run.dataset.task.classes
    source = Path(run.fingerprint["source"])
    for column, folder in zip(split_columns(run.plan.folds), run.network_folders, strict=True):
        table = in_fold(run.manifest, column)
        rows = rows_to_test(table, classes)
        if len(rows) < FEWEST_IMAGES:
            continue
        bundle = Bundle.load(folder)
        images = read_images(source, run.manifest, run.plan.pixels, progress)
        labels = label_indices(table[rows], classes).to_numpy()
        text = (OF_MEMBERS if run.plan.members else OF_VAL).format(n=len(rows))
        tested(
            bundle,
            folder,
            explainers_of(bundle),
            images[rows],
            labels,
            groups=table[rows]["group"].to_list(),
            source=text,
            progress=progress,
        )
