"""Images that are out of distribution are recognised, and those that are not are left alone."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_sample_images

import diascope
from diascope.bundle.bundle import Bundle
from diascope.bundle.ood import FLOORS, OOD_FRACTION, appearance, fit_ood
from diascope.bundle.prediction_table import OUT_OF_DISTRIBUTION
from diascope.errors import RunError
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.steps.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train on enough drawn cells for val to fit a detector."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIASCOPE_HOME", str(folder / "home"))
        prepare("synthetic")
        settings = ["max_epochs=1", "max_steps=12", "size_px=32", "threads=1"]
        yield train("synthetic", settings=settings, out=folder / "run")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Cut pieces of photographs: a temple and a flower."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number, image in enumerate(load_sample_images().images):
        for piece in range(20):
            y, x = rng.integers(0, 200, 2)
            cut = image[y : y + 200, x : x + 200]
            Image.fromarray(cut).save(folder / f"{number}-{piece}.png")
    return folder


@pytest.mark.slow
def test_predictions_for_photographs_are_withheld(run, photos, tmp_path):
    table = pl.read_csv(predict(run, [photos], out=tmp_path / "p.csv"))
    is_out = table["ood_score"] > 1
    assert is_out.mean() > 0.9
    withheld = table.filter(is_out)
    assert set(withheld["refer_reason"]) == {OUT_OF_DISTRIBUTION}
    assert set(withheld["refer"]) == {"yes"}
    assert withheld["predicted"].null_count() == withheld.height
    names = [name for name in table.columns if name.startswith("probability_")]
    assert all(withheld[name].null_count() == withheld.height for name in names)


@pytest.mark.slow
def test_few_images_of_the_data_set_itself_are_out_of_distribution(run):
    bundle = run.load_networks()[0]
    images = np.load(next(run.folder.parent.glob("home/packs/*/shard-00000.npy")))
    logits, scores = bundle.predict_with_ood_scores(images)
    assert (scores > 1).mean() < 4 * OOD_FRACTION
    assert np.array_equal(logits, bundle.predict_logits(images))


@pytest.mark.slow
def test_a_bundle_stores_its_detector_and_says_when_the_file_was_changed(run, tmp_path):
    bundle = run.load_networks()[0]
    bundle.save(tmp_path / "copy")
    again = Bundle.load(tmp_path / "copy")
    for name, values in vars(bundle.ood).items():
        assert np.array_equal(values, getattr(again.ood, name))
    file = tmp_path / "copy" / "ood.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        Bundle.load(tmp_path / "copy")
    file.unlink()
    with pytest.raises(RunError, match=r"damaged|no bundle"):
        Bundle.load(tmp_path / "copy")


def test_a_bundle_of_few_validation_images_withholds_nothing_and_has_no_score(
    trained, photos, tmp_path
):
    assert diascope.load(trained).ood is None
    table = pl.read_csv(predict(trained, [photos], out=tmp_path / "p.csv"))
    assert table["ood_score"].null_count() == table.height
    assert table["predicted"].null_count() == 0


def test_the_distance_is_that_of_mahalanobis():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 500)
    features = (rng.normal(size=(1000, 4)) * [1, 2, 3, 4] + 5 * labels[:, None]).astype(np.float32)
    images = rng.integers(0, 256, (1000, 8, 8, 3)).astype(np.uint8)
    found = fit_ood(features, images, labels, val_features=features, val_images=images)
    centred = features - np.stack([features[labels == k].mean(0) for k in (0, 1)])[labels]
    covariance = EmpiricalCovariance(assume_centered=True).fit(centred).covariance_ * 1000 / 999
    shrunk = 0.95 * covariance + 0.05 * np.trace(covariance) / 4 * np.eye(4)
    inverse = np.linalg.inv(shrunk)
    point = np.array([[3, -2, 9, 1]], np.float32)
    expected = min(
        float(np.sqrt((d := (point - features[labels == k].mean(0))) @ inverse @ d.T).item())
        for k in (0, 1)
    )
    assert found._distances(point, images[:1])[0, 0] == pytest.approx(expected, rel=1e-4)
    assert (found.scores(features, images) > 1).mean() <= OOD_FRACTION
    far, white = features[:1] + 1000, np.full((1, 8, 8, 3), 255, np.uint8)
    assert found.scores(far, images[:1]) > 1  # odd to the network alone
    assert found.scores(features[:1], white) > 1  # odd in its appearance alone


def test_appearance_does_not_see_black_background_and_never_fail():
    rng = np.random.default_rng(0)
    image = rng.integers(17, 256, (1, 20, 20, 3)).astype(np.uint8)
    padded = np.zeros((1, 30, 20, 3), np.uint8)
    padded[:, 5:25] = image
    assert appearance(image)[0, :13] == pytest.approx(appearance(padded)[0, :13], abs=1e-5)
    assert appearance(padded)[0, 13] == pytest.approx(1 / 3)
    for odd in (np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 8, 8, 3), 255, np.uint8)):
        assert np.isfinite(appearance(odd)).all()
    assert appearance(image).shape[1] == len(FLOORS)


@pytest.mark.parametrize("quality", [95, 70, 40])
def test_black_ground_that_jpeg_has_blurred_is_black_background_still(quality):
    y, x = np.mgrid[-40:40, -40:40]
    light = 170 + 30 * np.cos(x / 9) * np.cos(y / 7)
    cell = np.stack([light, 0.8 * light, 0.9 * light], axis=2) * (x**2 + y**2 < 35**2)[..., None]
    stored = io.BytesIO()
    Image.fromarray(cell.astype(np.uint8)).save(stored, "JPEG", quality=quality)
    again = np.asarray(Image.open(stored).convert("RGB"))
    n_blurred = ((again > 0).any(axis=2) & (cell == 0).all(axis=2)).sum()
    assert n_blurred > 0.1 * cell.shape[0] * cell.shape[1]
    before, after = appearance(cell.astype(np.uint8)[None])[0], appearance(again[None])[0]
    assert after[13] == pytest.approx(before[13], abs=0.03)
    assert after[:3] == pytest.approx(before[:3], abs=0.03)


def test_scores_do_not_depend_on_the_images_that_are_scored_with_them():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 64)).astype(np.float32)
    images = rng.integers(0, 256, (600, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(600) % 3
    detector = fit_ood(features, images, labels, val_features=features, val_images=images)
    together = detector.scores(features, images)
    parts = [detector.scores(features[n : n + 1], images[n : n + 1]) for n in range(600)]
    assert np.array_equal(together, np.concatenate(parts))
