"""Training puts images into a bundle only where the licence of the data lets them be passed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import SMALL
from drawn.seals import reseal
from PIL import Image

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.cases import FILE
from diascope.data.pack import pack_images
from diascope.data.prepared import dataset_folder
from diascope.data.sources.folder import open_files
from diascope.data.splits.members import as_seen_by
from diascope.datasets.own.dataset import own_dataset
from diascope.steps.prepare import prepare
from diascope.steps.recalibrate import recalibrate
from diascope.steps.train import train
from diascope.training.run import Run, open_bundle


@pytest.fixture
def redistributable(prepared):
    """Declare of the prepared miniature that its images may be passed on."""
    card = {**prepared.dataset.as_dict(), "redistributable": True, "citation": "Zeta et al. 1999"}
    reseal(dataset_folder("malaria") / "fingerprint.json", card=card)


def splits_of(run: Run, table: pl.DataFrame, home, shown) -> set[str]:
    """Return the splits of images by their pixels, after checking that each is in the manifest."""
    with open_files(Path(run.fingerprint["source"])) as files:
        images = pack_images(files, table, run.plan.pixels, home=home)
    where = {image.tobytes(): row for row, image in enumerate(images)}
    return {table["split"][where[image.tobytes()]] for image in shown}


def test_a_bundle_of_free_images_holds_some_and_its_card_says_so(redistributable, home, tmp_path):
    run = train("malaria", settings=SMALL, out=tmp_path / "run")
    bundle = open_bundle(run)
    assert bundle.cases is not None
    manifest = run.manifest
    assert splits_of(run, manifest, home, bundle.cases.training_images) == {"train"}
    assert splits_of(run, manifest, home, bundle.cases.example_images) == {"val"}
    assert len(bundle.cases.training_images) == manifest.filter(split="train").height
    assert bundle.card.citation == "Zeta et al. 1999"
    features = bundle.features(bundle.cases.training_images[:1])
    assert features is not None
    assert bundle.cases.nearest(features[0], 1)[0].distance == 0
    n_training, n_examples = len(bundle.cases.training_labels), len(bundle.cases.example_labels)
    told = " ".join((run.folder / "bundle" / "README.md").read_text("utf-8").split())
    assert f"holds {n_training} training images and {n_examples} validation images" in told
    assert told.count("Zeta et al. 1999") == 2
    again = train("malaria", settings=SMALL, out=tmp_path / "again")
    for name in (FILE, "card.json"):
        first, second = (one.folder / "bundle" / name for one in (run, again))
        assert first.read_bytes() == second.read_bytes()


def test_other_images_stay_out_of_a_bundle(trained):
    bundle = open_bundle(trained)
    assert bundle.cases is None
    assert (bundle.card.cases_sha256, bundle.card.citation) == ("", "")
    assert not (trained.folder / "bundle" / FILE).exists()
    assert "bundle holds" not in (trained.folder / "bundle" / "README.md").read_text("utf-8")


def test_an_ensemble_shows_what_its_last_member_saw(redistributable, home, tmp_path):
    run = train("malaria", settings=SMALL, members=2, out=tmp_path / "run")
    cases = open_bundle(run).cases
    assert cases is not None
    seen = as_seen_by(run.manifest, 1)
    assert splits_of(run, seen, home, cases.training_images) == {"train"}
    assert splits_of(run, seen, home, cases.example_images) == {"val"}
    told = " ".join((run.folder / "bundle" / "README.md").read_text("utf-8").split())
    assert "which only the last member did not learn from" in told


def test_the_networks_of_a_cross_validation_hold_none(redistributable, tmp_path):
    run = train("malaria", settings=SMALL, folds=3, out=tmp_path / "run")
    assert [card.cases_sha256 for card in run.cards] == [""] * 3


def test_recalibration_keeps_the_images_and_says_so(redistributable, tmp_path):
    run = train("malaria", settings=SMALL, out=tmp_path / "run")
    given = open_bundle(run)
    other = tmp_path / "given"
    given.save(other)
    folder, _ = recalibrate(other, on=local_cells(tmp_path / "local"), out=tmp_path / "new")
    kept = Bundle.load(folder).cases
    assert kept is not None
    assert given.cases is not None
    assert np.array_equal(kept.training_images, given.cases.training_images)
    assert (folder / FILE).read_bytes() == (other / FILE).read_bytes()
    assert Card.load(folder).citation == "Zeta et al. 1999"
    assert "Zeta et al. 1999" in (folder / "README.md").read_text("utf-8")


def local_cells(folder) -> str:
    """Prepare cells of 24 patients from elsewhere, as a folder of one's own."""
    rng = np.random.default_rng(5)
    for label in ("uninfected", "parasitized"):
        (folder / label).mkdir(parents=True)
        for patient in range(24):
            pixels = rng.normal(150, 30, (30, 30, 3)).clip(1, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"P{patient:02}.png")
    prepare(own_dataset(folder, group_from=r"^P\d+", group_kind="patient"))
    return str(folder)
