"""Robustness: a fragile network is found out, a steady one not accused, and all is repeatable."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch
from drawn.run_folders import bundle
from drawn.seals import begin_again
from torch import nn
from typer.testing import CliRunner

from diascope.bundle.bundle import Bundle
from diascope.cli.app import app
from diascope.data.sample import balanced_rows, spread_rows
from diascope.errors import DiascopeError, SettingsError, SourceError
from diascope.evaluation.robustness import affordable_images
from diascope.evaluation.robustness.judging import (
    LARGEST_PX,
    Sample,
    check_robustness,
    corrupt,
    reduced,
)
from diascope.evaluation.robustness.words import summarise, warnings_of
from diascope.metrics.bootstrap import Resampling
from diascope.metrics.scored import ScoredImages
from diascope.steps.evaluate import evaluate
from diascope.steps.report import report
from diascope.task import Task

TASK = Task(("well", "ill"), "ill")


class SeesLight(nn.Module):
    """Call an image ill that is dark, or one that is redder than green: (B, 3, S, S) to (B, 2)."""

    def __init__(self, *, of_colour: bool) -> None:
        super().__init__()
        self.of_colour = of_colour
        self.scale = nn.Parameter(torch.tensor(30.0))

    def forward(self, x):
        mean = x.mean(dim=(2, 3))
        ratio = mean[:, 0] / mean[:, 1].clamp(min=0.01) - 1
        score = self.scale * (ratio if self.of_colour else 0.47 - mean.mean(dim=1))
        return torch.stack([-score, score], dim=1)


def network(*, of_colour):
    card = bundle(TASK.classes, TASK.positive).card
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return Bundle(card.model_copy(update=plain), SeesLight(of_colour=of_colour))


def draw(*, grey=False, n_groups=20, seed=0):
    """Draw ill images that are darker than others, and redder unless they are grey."""
    rng = np.random.default_rng(seed)
    pictures, rows = [], []
    for number in range(6 * n_groups):
        label = number % 2
        colour = np.array([110, 110, 110]) if label else np.array([130, 130, 130])
        tint = np.array([10, -5, -5]) if label else np.array([-10, 5, 5])
        pixels = colour + (0 if grey else tint) + rng.normal(0, 6, (24, 24, 1))
        pictures.append(pixels.clip(1, 255).astype(np.uint8))
        rows.append((f"{number:03}", f"P{number // 6:02}", TASK.classes[label], f"{number:064x}"))
    table = pl.DataFrame(rows, schema=["image_id", "group", "label", "sha256"], orient="row")
    return Sample(table, pictures, 0, len(rows))


def tried(one, sample, *, modality="dermoscopy", seed=0):
    labels = (sample.table["label"] == "ill").to_numpy() * 1
    images = ScoredImages.from_arrays(
        labels,
        np.full((len(labels), 2), 0.5),
        labels,
        sample.table["group"].to_list(),
        task=TASK,
        group_kind="patient",
    )
    return check_robustness(
        [one], sample, images, modality=modality, resampling=Resampling(seed=seed)
    )


def changes(found, name, key="balanced_accuracy"):
    return [row["changes"][key]["value"] for row in found["rows"] if row["corruption"] == name]


def test_a_network_that_sees_light_alone_is_found_to_be_fragile():
    found = tried(network(of_colour=False), draw())
    assert found["clean"]["balanced_accuracy"]["value"] == 1
    assert min(changes(found, "darker")) == min(changes(found, "brighter")) == -0.5
    assert changes(found, "mirrored") == [0, 0, 0]
    assert changes(found, "noise", "auroc") == [0, 0, 0]
    worst = found["summary"][0]
    assert worst.startswith("The largest loss is with ")
    assert "darker" in worst or "brighter" in worst
    assert "no less confident" in " ".join(found["summary"])
    assert "darker" in warnings_of(found)[0]
    flipped = [row["flipped"]["value"] for row in found["rows"] if row["corruption"] == "darker"]
    assert max(flipped) == 0.5


def test_a_network_that_sees_colour_is_steady_in_light_and_fragile_in_colour():
    found = tried(network(of_colour=True), draw())
    for name in ("darker", "blur", "JPEG", "turned", "mirrored"):
        assert min(changes(found, name)) > -0.02, name
    assert min(changes(found, "white balance")) < -0.2
    assert "white balance" in found["summary"][0]


def test_what_is_done_to_colours_follows_the_modality():
    def names(**options):
        sample = draw(grey=options.pop("grey", False), n_groups=4)
        found = tried(network(of_colour=False), sample, **options)
        return {row["corruption"] for row in found["rows"]}

    assert {"hue", "white balance"} <= names(modality="dermoscopy")
    assert "stain" in names(modality="histology, H&E stain")
    assert "hue" not in names(modality="bright-field microscopy, blood smear")
    assert not names(grey=True) & {"stain", "hue", "white balance"}


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    one = network(of_colour=True)
    first = tried(one, draw(), seed=3)
    assert json.dumps(tried(one, draw(), seed=3)) == json.dumps(first)
    assert tried(one, draw(), seed=4)["rows"] != first["rows"]


def test_draws_follow_the_image_and_not_its_place():
    from diascope.evaluation.robustness.corruptions import ALWAYS

    noise = next(one for one in ALWAYS if one.name == "noise")
    pictures = draw(n_groups=1).pictures
    keys = [(0, number) for number in range(len(pictures))]
    forward = corrupt(noise, 10, pictures, keys)
    backward = corrupt(noise, 10, pictures[::-1], keys[::-1])[::-1]
    assert all((a == b).all() for a, b in zip(forward, backward, strict=True))
    alike = corrupt(noise, 10, [pictures[0], pictures[0]], keys[:2])
    assert (alike[0] != alike[1]).any()


def test_large_images_are_reduced_and_small_ones_are_not():
    large = np.zeros((100, 2 * LARGEST_PX, 3), np.uint8)
    assert reduced(large).shape == (50, LARGEST_PX, 3)
    assert reduced(large[:, :40]).shape == (100, 40, 3)
    assert reduced(large[:1]).shape == (1, LARGEST_PX, 3)


def test_samples_hold_every_class_and_many_groups():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    groups = [f"P{number % 50}" for number in range(1000)]
    balanced = balanced_rows(labels, groups, 200, seed=0)
    assert np.bincount(labels[balanced]).tolist() == [100, 90, 10]
    assert len({groups[row] for row in balanced}) == 50
    spread = spread_rows(labels, groups, 100, seed=0)
    assert np.bincount(labels[spread]).tolist() == [90, 9, 1]
    assert (balanced_rows(labels, groups, 200, seed=1) != balanced).any()
    assert len(balanced_rows(labels, groups, 5000, seed=0)) == 1000


def test_losses_are_put_into_words():
    def row(name, value, low, high, certainty=0.0):
        change = {"value": value, "low": low, "high": high, "note": "", "n_groups": 9}
        changes = {"balanced_accuracy": change, "certainty": {"value": certainty}}
        after = {"balanced_accuracy": {"value": 0.9 + value}}
        described = {"corruption": name, "description": f"{name} x", "flipped": {"value": 0.1}}
        return {**described, "changes": changes, "values": after}

    clean = {"balanced_accuracy": {"value": 0.9}}
    steady = {"clean": clean, "rows": [row("blur", 0.0, None, None), row("noise", 0.01, 0, 0.02)]}
    assert summarise(steady)[0] == "No corruption that was tried costs balanced accuracy."
    assert warnings_of(steady) == []
    chance = {"clean": clean, "rows": [row("blur", -0.01, -0.03, 0.01)]}
    assert "may be chance" in summarise(chance)[0]
    lost = {"clean": clean, "rows": [row("blur", -0.1, -0.2, -0.05, -0.3)]}
    assert "0.900 to 0.800, -0.100 [-0.200, -0.050]" in summarise(lost)[0]
    assert not [text for text in summarise(lost) if "no less confident" in text]
    assert "blur" in warnings_of(lost)[0]
    assert warnings_of({"why_not": "it was left out on request"}) == []


def test_evaluate_tries_it_in_the_same_opening_and_the_report_shows_it(trained, home):
    metrics = evaluate(trained, robustness=True, most_images=9)
    assert metrics["openings"]["this_run"] == 1
    found = metrics["robustness"]
    assert (found["n_images"], found["n_of"]) == (9, metrics["n_images"])
    assert len(found["rows"]) == 30
    assert evaluate(trained, robustness=True) == metrics  # it is there already
    assert evaluate(trained) == metrics
    assert len((home / "ledger" / "openings.jsonl").read_text().splitlines()) == 1
    page = report(trained).read_text("utf-8")
    assert "Robustness to image corruption" in page
    assert "sigma 10 grey levels" in page
    assert "Shuffled labels: a linear probe" in page


def test_a_sample_is_corrupted_without_being_asked_and_never_opens_the_images_again(
    trained, monkeypatch
):
    assert "left out on request" in evaluate(trained, robustness=False)["robustness"]["why_not"]
    monkeypatch.setattr("diascope.evaluation.robustness.AFFORDABLE", 10**12)
    assert evaluate(trained)["openings"]["this_run"] == 1
    trained.metrics_path("test").unlink()
    found = evaluate(trained, most_images=5)["robustness"]
    assert found["n_images"] == 5
    assert evaluate(trained, most_images=9)["robustness"] == found
    more = evaluate(trained, robustness=True, most_images=9)
    assert (more["robustness"]["n_images"], more["openings"]["this_run"]) == (9, 3)
    page = report(trained).read_text("utf-8")
    assert "Not evaluated" not in page.split('id="robustness"')[1].split("</section>")[0]


def test_images_that_cannot_be_read_are_a_reason_and_no_error_where_nobody_asked(
    trained, monkeypatch
):
    monkeypatch.setattr("diascope.evaluation.robustness.AFFORDABLE", 10**12)

    def fail(*_, **__):
        raise SourceError("The file x.png has changed.", where="x.png", fix="Restore it.")

    monkeypatch.setattr("diascope.steps.evaluate.read_sample", fail)
    assert "x.png has changed" in evaluate(trained)["robustness"]["why_not"]
    with pytest.raises(SourceError):
        evaluate(trained, robustness=True)


def test_asked_for_later_it_is_one_more_opening(trained):
    first = evaluate(trained)
    assert "so that this check would take long" in first["robustness"]["why_not"]
    page = report(trained).read_text("utf-8")
    assert "Run <code>diascope evaluate RUN --robustness" in page
    assert evaluate(trained, robustness=True, most_images=6)["openings"]["this_run"] == 2


def test_untouched_images_are_answered_as_in_the_evaluation(trained):
    metrics = evaluate(trained, robustness=True, most_images=10_000)
    for key in ("auroc", "balanced_accuracy", "accuracy"):
        clean = metrics["robustness"]["clean"][key]["value"]
        assert clean == pytest.approx(metrics["estimates"][key]["value"])


def test_folds_answer_for_their_own_images(cross_validated):
    metrics = evaluate(cross_validated, robustness=True, most_images=10_000)
    clean = metrics["robustness"]["clean"]["accuracy"]["value"]
    assert clean == pytest.approx(metrics["estimates"]["accuracy"]["value"])


def test_bad_options_are_refused_before_the_test_set_is_opened(trained, home, cells):
    with pytest.raises(SettingsError, match="At least one image"):
        evaluate(trained, robustness=True, most_images=0)
    facts = {**trained.fingerprint, "source": str(cells / "gone")}
    begin_again(trained.folder, fingerprint=facts)
    done = CliRunner().invoke(app, ["evaluate", str(trained.folder), "--robustness"])
    assert done.exit_code != 0
    assert "no such file" in str(done.exception)
    assert not (home / "ledger" / "openings.jsonl").exists()


def test_external_images_are_corrupted_too_and_other_classes_are_refused(trained, tmp_path):
    from drawn.own_images import CLASSES, draw_folder

    from diascope.datasets.own.dataset import own_dataset
    from diascope.steps.prepare import prepare

    for name, classes in (("other", CLASSES), ("same", ("Uninfected", "Parasitized"))):
        folder = draw_folder(tmp_path / name)
        for old, new in zip(CLASSES, classes, strict=True):
            (folder / old).rename(folder / new.lower())
        prepare(
            own_dataset(str(folder), name=name, group_from=r"P\d+", positive=classes[1].lower())
        )
    with pytest.raises(DiascopeError, match="class"):
        evaluate(trained, on="other", robustness=True)
    metrics = evaluate(trained, on="same", robustness=True, most_images=8)
    assert metrics["robustness"]["n_images"] == 8
    assert "why_not" in metrics["controls"]
    kinds = {row["corruption"] for row in metrics["robustness"]["rows"]}
    assert not kinds & {"stain", "hue", "white balance"}  # grey images


def test_the_robustness_of_an_ensemble_is_not_judged_on_what_it_learned(ensemble):
    with pytest.raises(SettingsError, match="learned from its validation"):
        evaluate(ensemble, split="val", robustness=True)


@pytest.mark.parametrize(
    ("multiply_adds", "expected"), [(286_656_512, 60), (2_000_000_000, 32), (140_000_000_000, 0)]
)
def test_the_larger_the_network_the_fewer_images_are_corrupted(
    monkeypatch, multiply_adds, expected
):
    monkeypatch.setattr("diascope.evaluation.robustness.AFFORDABLE", 2_000_000_000_000)
    assert affordable_images(multiply_adds, 60) == expected
