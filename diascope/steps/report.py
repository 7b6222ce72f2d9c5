"""Report: write the findings of a run as one page that opens from disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diascope.reporting.cards.data_card import data_card
from diascope.reporting.cards.model_card import save_model_card
from diascope.reporting.dossier.questions import (
    ANSWERS,
    empty_answers,
    open_questions,
    read_answers,
)
from diascope.reporting.dossier.told import statements, told_without_asking
from diascope.reporting.error_table import error_table
from diascope.reporting.pseudonyms import pseudonyms, true_names
from diascope.reporting.report.facts import read_facts
from diascope.reporting.report.images import open_images
from diascope.reporting.report.page import render_page
from diascope.reporting.report.summary import all_warnings
from diascope.system.files import write_text
from diascope.system.spreadsheets import defused
from diascope.training.models_of_runs import check_are_repeats
from diascope.training.run import Run
from diascope.training.same_images import check_same_images, predictions_of


def report(
    run: Run | Path | str, *, show_ids: bool = False, repeats: Sequence[Run | Path | str] = ()
) -> Path:
    """Write ``report.html`` into the run's folder: one complete file that needs no network.

    Beside it go ``errors.csv`` (all misclassified images, with the true names of files and groups:
    for the owner of the data), ``data_card.md``, the bundle's model card (``bundle/README.md``)
    and, where there is none, ``dossier.yaml`` with the questions that people have to answer: it is
    read from then on, and never written again.

    The same run, ledger, audit and answers give the same bytes. Groups bear pseudonyms and no file
    name occurs, unless ``show_ids``. Where only the validation split was evaluated, the report is
    about that split, and says so.

    Parameters
    ----------
    run : Run or path
        A run that was evaluated.
    show_ids : bool
        Show the true names of groups and images.
    repeats : sequence of Run or path
        Trainings of the same recipe with other seeds, evaluated on the same images: the report
        shows how the metrics vary over the trainings.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        The run is missing, unfinished or not evaluated, or the ledger is damaged.
    SettingsError
        A repeat is none, see `check_are_repeats`; or the answers in ``dossier.yaml`` cannot be
        read, or answer unknown questions.
    LeakageError
        The split is not disjoint: there is no report of such a run.
    """
    run = Run.open(run)
    answers = read_answers(run.folder / ANSWERS)
    manifest = run.manifest
    names = true_names(manifest) if show_ids else pseudonyms(manifest, run.dataset.group_kind)
    with open_images(run) as images:
        facts = read_facts(run, names, images=images, repeats=_repeats(run, repeats))
        page = render_page(facts)
    save_model_card(run, answers)
    card = data_card(
        facts.dataset,
        facts.fingerprint,
        facts.manifest,
        audit=facts.audit,
        statements=statements(facts),
    )
    write_text(run.folder / "data_card.md", card)
    write_text(run.folder / "errors.csv", defused(error_table(run, facts.split)).write_csv())
    if not (run.folder / ANSWERS).exists():
        write_text(run.folder / ANSWERS, empty_answers(told_without_asking(facts)))
    return write_text(run.folder / "report.html", page)


def _repeats(run: Run, repeats: Sequence[Run | Path | str]) -> list[Run]:
    """Open the repeats of a run, and check that they are."""
    opened = [Run.open(one) for one in repeats]
    if opened:
        check_are_repeats(run, opened)
        name = read_facts(run, true_names(run.manifest)).split
        every = [run, *opened]
        check_same_images(every, [predictions_of(one, name) for one in every], name)
    return opened


def open_questions_of(run: Run | Path) -> list[str]:
    """Return the questions about a run that neither people nor its data answer."""
    run = Run.open(run)
    known = statements(read_facts(run, true_names(run.manifest)))
    return open_questions(key for key, one in known.items() if one.is_reported)


def warnings_of(run: Run, metrics: dict[str, Any]) -> list[str]:
    """Return every warning that the report gives about metrics.

    Metrics on another data set have their own warnings, which the report shows beside them.
    """
    if metrics["split"] not in ("val", "test"):
        return metrics["warnings"]
    return all_warnings(read_facts(run, true_names(run.manifest), split=metrics["split"]))
