"""Report: write what a run found as one page that opens from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diascope.atomic import write_text
from diascope.bundle import Bundle
from diascope.data.image import fit_image
from diascope.explain.feature_maps import first_layer_maps
from diascope.figures.pictures import image_uri, map_mosaic
from diascope.home import home
from diascope.ledger import LEDGER, Head, is_continued
from diascope.prepared import find_audit
from diascope.reporting.answers import ANSWERS, empty_answers, read_answers
from diascope.reporting.data_card import data_card
from diascope.reporting.dossier import dossier_of
from diascope.reporting.facts import Facts
from diascope.reporting.gallery import Images, draw_gallery, read_images, typical_answers
from diascope.reporting.model_card import save_model_card
from diascope.reporting.page import MapPicture, render_page
from diascope.reporting.proof import check_predictions, disjointness
from diascope.reporting.pseudonyms import pseudonyms, true_names
from diascope.reporting.summary import all_warnings
from diascope.run import Run


def report(run: Run | Path | str, *, show_ids: bool = False) -> Path:
    """Write ``report.html`` into the run's folder: one file, complete, no network needed.

    Beside it go ``data_card.md``, the bundle's model card (``bundle/README.md``) and, where there
    is none, ``dossier.yaml`` with the questions that people have to answer: it is read from then
    on, and never written again.

    The same run, ledger, audit and answers give the same bytes. Groups bear pseudonyms and no file
    name occurs, unless asked for. Where only the validation split was evaluated, the report is
    about that, and says so.

    Parameters
    ----------
    run : Run or path
        A run that was evaluated.
    show_ids : bool
        Give the true names of groups and images.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        The run is missing, unfinished or not evaluated, or the ledger is damaged.
    SettingsError
        The answers in ``dossier.yaml`` cannot be read, or are to questions that nobody asked.
    LeakageError
        The split is not disjoint: there is no report of such a run.
    """
    run = Run.open(run)
    said = read_answers(run.folder / ANSWERS)
    facts = read_facts(run)
    proof = {"proof": disjointness(facts), "n_checked": check_predictions(facts)}
    manifest, kind = facts.manifest, facts.group_kind
    names = true_names(manifest) if show_ids else pseudonyms(manifest, kind)

    answers = typical_answers(facts)
    images = read_images(facts, also=[image_id for _, image_id in answers])
    gallery = draw_gallery(facts, names, images)
    maps = draw_feature_maps(run, facts, answers, images)
    page = render_page(
        facts,
        names,
        proof=proof,
        gallery=gallery,
        feature_maps=maps,
        dossier=dossier_of(facts, said, names),
    )
    save_model_card(run, said)
    card = data_card(
        facts.card, facts.fingerprint, facts.manifest, names, audit=facts.audit, answers=said
    )
    write_text(run.folder / "data_card.md", card)
    if not (run.folder / ANSWERS).exists():
        write_text(run.folder / ANSWERS, empty_answers())
    return write_text(run.folder / "report.html", page)


def warnings_of(run: Run, metrics: dict[str, Any]) -> list[str]:
    """Return what is to be known before metrics are believed: all that the report says of them.

    Of another data set these are its own warnings, which the report has beside its figures.
    """
    if metrics["split"] not in ("val", "test"):
        return metrics["warnings"]
    return all_warnings(read_facts(run, split=metrics["split"]))


def read_facts(run: Run, *, split: str | None = None) -> Facts:
    """Read what the report is made of: of test where it was evaluated, unless a split is named.

    Raises
    ------
    RunError
        The run is unfinished, not evaluated or damaged.
    """
    run.check_is_trained()
    manifest = run.manifest
    evaluated = [split for split in ("test", "val") if run.metrics_path(split).is_file()]
    split = split or (evaluated[0] if evaluated else "test")
    metrics = run.metrics(split)
    openings, ledger = run.openings_now(), Head.from_dict(metrics.get("ledger"))
    return Facts(
        name=run.folder.resolve().name,
        card=run.card,
        recipe=run.recipe,
        plan=run.plan,
        fingerprint=run.fingerprint,
        provenance=run.provenance,
        metrics=metrics,
        manifest=manifest,
        predictions=run.predictions(split),
        epochs=[event for event in run.log if event["event"] == "epoch"],
        openings_now=openings.as_dict() if openings else None,
        openings_by=openings.by if openings else (),
        ledger=ledger,
        ledger_is_continued=ledger is None or is_continued(home() / LEDGER, ledger),
        external=run.external_metrics(),
        audit=find_audit(run.card, manifest),
    )


def draw_feature_maps(
    run: Run, facts: Facts, answers: list[tuple[str, str]], images: Images
) -> list[MapPicture]:
    """Draw what the first layer answers to each of some images, by the network that judged it.

    Parameters
    ----------
    run : Run
    facts : Facts
    answers : list of tuple of str
        What each image is, and its id.
    images : mapping of str to uint8 (H, W, 3)
        The images that could be read, by id.
    """
    fold_of = dict(zip(facts.predictions.image_ids, facts.predictions.folds.tolist(), strict=True))
    pictures: list[MapPicture] = []
    for text, image_id in answers:
        if image_id not in images:
            continue
        network = Bundle.load(run.network_folders[fold_of[image_id]])
        card = network.card
        image = fit_image(images[image_id], card.size_px, fit=card.fit)
        x = network.to_input(image[np.newaxis])
        maps = first_layer_maps(network.module, card.first_layer, x)
        pictures.append(
            {
                "input_uri": image_uri(image),
                "maps_uri": image_uri(map_mosaic(maps)),
                "text": text,
                "n_shown": min(32, len(maps)),
                "n_maps": len(maps),
                "layer": card.first_layer,
            }
        )
    return pictures
