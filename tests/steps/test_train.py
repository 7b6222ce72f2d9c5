"""Train: the same bytes from the same plan, after an interruption too, and folds without leaks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import SMALL
from drawn.seals import begin_again, reseal

from diascope.bundle.bundle import Bundle
from diascope.bundle.preprocess import dihedral
from diascope.data.prepared import dataset_name, load_prepared
from diascope.data.splits.folds import fold_column
from diascope.errors import DataError, RunError, SettingsError, UnknownNameError
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train
from diascope.system.plugins import find, find_all
from diascope.system.sealed import write_sealed
from diascope.training.augment import augment
from diascope.training.inputs import ImageInputs
from diascope.training.loop import Epoch, predict_logits, train_epochs
from diascope.training.plan import DECIDED, RECIPE_OPTIONS, Augmentation, Plan, Training
from diascope.training.recipe import make_recipe
from diascope.training.run import Run, open_bundle

MINE = """
from dataclasses import replace
from diascope.datasets.malaria import DATASETS as THEIRS
DATASETS = (replace(THEIRS[0], name="mine"),)
"""


class StoppedError(Exception):
    """Stands in for Ctrl-C at a chosen moment."""


def bytes_of(run):
    names = ("predictions/val.parquet", "bundle/model.safetensors", "bundle/card.json")
    return [(run.folder / name).read_bytes() for name in names]


def test_the_same_plan_gives_the_same_bytes(trained, tmp_path):
    runs = [trained, train("malaria", settings=SMALL, out=tmp_path / "again")]
    assert bytes_of(runs[0]) == bytes_of(runs[1])
    for run in runs:
        evaluate(run)
    tests = [(run.folder / "predictions" / "test.parquet").read_bytes() for run in runs]
    assert tests[0] == tests[1]


def test_another_seed_gives_other_weights_and_the_same_split(trained, tmp_path):
    runs = [trained, train("malaria", settings=SMALL, seed=1, out=tmp_path / "other")]
    assert bytes_of(runs[0])[1] != bytes_of(runs[1])[1]
    assert runs[0].manifest.equals(runs[1].manifest)


@pytest.mark.parametrize(("model", "stops"), [("compact", (1, 3, 4, 7)), ("reference_cnn", (4,))])
def test_an_interrupted_run_ends_with_the_bytes_of_an_uninterrupted_one(
    prepared, tmp_path, model, stops
):
    settings = [*SMALL, "size_px=46", "max_epochs=3", "selection=best_val_accuracy"]
    settings += ["patience_epochs=3"]
    whole = train("malaria", model=model, settings=settings, out=tmp_path / "whole")
    for stop_at_step in stops:

        def stop(sign, step=stop_at_step):
            if sign.stage == "training" and sign.done == step:
                raise StoppedError

        out = tmp_path / f"stopped at {stop_at_step}"
        with pytest.raises(StoppedError):
            train("malaria", model=model, settings=settings, out=out, progress=stop)
        part = train("malaria", model=model, settings=settings, out=out)
        assert bytes_of(part) == bytes_of(whole)
        timeless = [
            [{k: v for k, v in line.items() if "second" not in k} for line in run.log]
            for run in (whole, part)
        ]
        assert timeless[0] == timeless[1]
        assert not (part.folder / "checkpoints").exists()


def test_a_run_that_is_being_trained_is_left_alone(prepared, tmp_path):
    refused = []

    def intrude(sign):
        if sign.stage == "training" and not refused:
            with pytest.raises(RunError, match="Another process is training this run") as error:
                train("malaria", settings=SMALL, out=tmp_path / "run")
            refused.append(error)

    run = train("malaria", settings=SMALL, out=tmp_path / "run", progress=intrude)
    assert refused
    assert run.is_trained


def test_resume_takes_the_recipe_from_the_folder(prepared, tmp_path):
    def stop(sign):
        if sign.stage == "training":
            raise StoppedError

    with pytest.raises(StoppedError):
        train("malaria", settings=SMALL, seed=5, out=tmp_path / "run", progress=stop)
    with pytest.raises(RunError, match="unfinished run of another recipe"):
        train("malaria", out=tmp_path / "run")
    run = train("malaria", out=tmp_path / "run", resume=True)
    assert run.is_trained
    assert run.plan.seed == 5


def test_a_finished_run_is_not_overwritten(trained):
    before = bytes_of(trained)
    with pytest.raises(RunError, match="exists and is trained"):
        train("malaria", settings=SMALL, out=trained.folder)
    assert bytes_of(trained) == before


def test_a_folder_that_is_no_run_is_not_touched(prepared, tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(RunError, match="is not a run"):
        train("malaria", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_to_resume_is_an_error(prepared, tmp_path):
    with pytest.raises(RunError, match="no run to resume"):
        train("malaria", out=tmp_path / "none", resume=True)


def test_an_unprepared_data_set_names_the_command(tmp_path):
    with pytest.raises(RunError, match="diascope prepare malaria"):
        train("malaria", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (["epochs=3"], UnknownNameError),
        (["max_epochs"], SettingsError),
        (["max_epochs=none"], SettingsError),
        (["max_epochs=0", "views=3"], SettingsError),
        (["size_px=8"], SettingsError),
        (["max_epochs=[1"], SettingsError),
    ],
)
def test_impossible_settings_are_errors_and_leave_nothing(prepared, tmp_path, settings, error):
    with pytest.raises(error):
        train("malaria", settings=settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_model_suggests_the_nearest(prepared, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'compact'"):
        train("malaria", model="compcat", out=tmp_path / "run")


def test_every_number_of_the_plan_has_a_reason_and_survives_saving(trained):
    plan = trained.plan
    assert set(plan.reasons) == set(plan.settings) == {*RECIPE_OPTIONS, *DECIDED}
    assert all(plan.reasons.values())
    assert plan.training.max_epochs == 2
    assert plan.reasons["max_epochs"] == "set by the user"
    plan.save(trained.folder / "again.json", files={"a": "b"})
    assert Plan.load(trained.folder / "again.json") == (plan, {"a": "b"})


def test_a_run_of_another_version_is_refused_and_a_damaged_plan_too(trained):
    path = trained.folder / "plan.json"
    entries = json.loads(path.read_text())
    for other in ({**entries, "format": 99}, {k: v for k, v in entries.items() if k != "format"}):
        path.write_text(json.dumps(other))
        with pytest.raises(RunError, match=r"The file has (the format 99|no format number)"):
            evaluate(trained.folder)
    for name in ("size_px", "format", "sha256"):
        del entries[name]
    write_sealed(path, entries)
    with pytest.raises(RunError, match="plan cannot be read"):
        evaluate(trained.folder)


def test_a_recipe_names_the_command_that_asks_for_it():
    recipe = make_recipe("malaria", folds=3, target="sensitivity=0.9", settings=["flips=none"])
    words = recipe.words()
    assert " ".join(words).startswith("malaria --model compact --folds 3 --target sensitivity=0.9")
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--set"] == 'flips="none"'
    with pytest.raises(UnknownNameError, match="Did you mean 'folds'"):
        make_recipe("malaria", fold=3)


def test_folds_are_disjoint_by_patient_and_test_everyone_once(prepared, tmp_path):
    run = train("malaria", folds=3, settings=[*SMALL, "val_fraction=0.3"], out=tmp_path / "cv")
    manifest = run.manifest
    assert set(manifest["fold"]) == {0, 1, 2}
    for fold in range(3):
        column = manifest[fold_column(fold)]
        assert set(manifest["fold"].filter(column == "test")) == {fold}
        groups = {s: set(manifest["group"].filter(column == s)) for s in ("train", "val", "test")}
        assert not groups["train"] & groups["test"]
        assert not groups["train"] & groups["val"]
        assert not groups["val"] & groups["test"]
    metrics = evaluate(run)
    assert metrics["protocol"] == "cross-validation"
    assert metrics["n_images"] == 72
    assert run.predictions("test").image_ids == sorted(manifest["image_id"])
    with pytest.raises(RunError, match="yields no bundle"):
        open_bundle(run)


def test_an_interrupted_cross_validation_goes_on(prepared, tmp_path):
    wishes = {"folds": 3, "settings": [*SMALL, "val_fraction=0.3"]}
    whole = train("malaria", **wishes, out=tmp_path / "whole")

    def stop(sign):
        if sign.stage == "training fold 2 of 3" and sign.done == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        train("malaria", **wishes, out=tmp_path / "part", progress=stop)
    assert not (tmp_path / "part" / "folds" / "1").exists()
    part = train("malaria", **wishes, out=tmp_path / "part")
    for fold in "012":
        weights = [(r.folder / "folds" / fold / "model.safetensors") for r in (whole, part)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
    assert [line["fold"] for line in part.log] == [0, 0, 1, 1, 2, 2]


def test_more_folds_than_patients_is_an_error(prepared, tmp_path):
    with pytest.raises(DataError, match="12 groups for 13 folds"):
        train("malaria", folds=13, out=tmp_path / "cv")
    assert not (tmp_path / "cv").exists()


def test_one_fold_is_an_error(prepared, tmp_path):
    with pytest.raises(SettingsError, match="One fold"):
        train("malaria", folds=1, out=tmp_path / "cv")


def how(**changes):
    values = {
        "max_epochs": 30,
        "max_steps": 0,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 2e-3,
        "weight_decay": 0.0,
        "schedule": "constant",
        "label_smoothing": 0.0,
        "imbalance": "none",
        "selection": "last",
        "patience_epochs": 0,
        "precision": "fp32",
    }
    return Training(**values | changes)


def shown(images, augmentation=Augmentation()):  # noqa: B008 - frozen
    return ImageInputs(images, (0.5,) * 3, (0.3,) * 3, augmentation, 0)


@pytest.mark.parametrize("name", sorted(find_all("models")))
def test_every_model_learns_one_batch_by_heart(name, tmp_path):
    model = find("models", name)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, model.min_size_px, model.min_size_px, 3), dtype=np.uint8)
    labels, rows = rng.integers(0, 3, 16), np.arange(16)
    torch.manual_seed(0)
    module = model.build(3, model.min_size_px)
    events = train_epochs(
        module,
        shown(images),
        labels,
        train=rows,
        val=rows,
        how=how(max_epochs=60, learning_rate=1e-3),
        seed=0,
        checkpoint=tmp_path / "last.safetensors",
    )
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert epochs[-1].val_accuracy == 1.0
    assert epochs[-1].train_loss < 0.1 * epochs[0].train_loss


@pytest.mark.parametrize("name", sorted(find_all("models")))
def test_every_model_names_its_first_convolution(name):
    model = find("models", name)
    layer = model.build(2, model.min_size_px).get_submodule(model.first_layer)
    assert isinstance(layer, torch.nn.Conv2d)


GOLDEN = [0.7529, 1.0750, 0.7439, 1.1128, 0.5494]


def test_the_first_losses_at_a_fixed_seed_are_the_known_ones(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
    labels = (images.mean(axis=(1, 2, 3)) > 127.5).astype(int)
    torch.manual_seed(0)
    events = train_epochs(
        find("models", "compact").build(2, 16),
        shown(images, Augmentation("dihedral", colour_jitter=0.1)),
        labels,
        train=np.arange(80),
        val=np.arange(80),
        how=how(max_epochs=1),
        seed=0,
        checkpoint=tmp_path / "last.safetensors",
    )
    losses = [event.loss for event in events if not isinstance(event, Epoch)]
    assert losses == pytest.approx(GOLDEN, rel=5e-3)


def test_without_patience_training_goes_to_the_end(prepared, tmp_path):
    settings = [*SMALL, "selection=best_val_accuracy", "max_epochs=3"]
    run = train("malaria", settings=settings, out=tmp_path / "run")
    assert len(run.log) == 3


def test_diverged_training_is_an_error_and_leaves_no_bundle(prepared, tmp_path):
    settings = [*SMALL, "learning_rate=10", "schedule=constant", "max_epochs=40"]
    settings += ["weight_decay=1", "optimizer=adamw"]
    with pytest.raises(RunError, match=r"diverged in epoch \d+"):
        train("malaria", settings=settings, out=tmp_path / "run")
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_data_set_in_a_file_of_ones_own_is_trained_and_evaluated_without_running_it_again(
    cells, tmp_path
):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    with pytest.raises(RunError, match="has not been prepared"):
        train(str(path), settings=SMALL, out=tmp_path / "run")
    prepare(str(path), source=cells)
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    run = train(str(path), settings=SMALL, out=tmp_path / "run")
    assert run.recipe.data == run.dataset.name == "mine"
    path.unlink()
    assert evaluate(run)["n_images"] > 0
    assert report(run).is_file()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../mine", "mine/..", "a b", ""])
def test_a_name_that_is_a_path_is_no_prepared_data_set(prepared, name):
    with pytest.raises(UnknownNameError):
        load_prepared(name)


def test_a_path_prepared_under_two_names_asks_which_is_meant(cells, tmp_path):
    path = tmp_path / "mine.py"
    for name in ("mine", "also_mine"):
        path.write_text(MINE.replace('"mine"', f'"{name}"'))
        prepare(str(path), source=cells)
    with pytest.raises(SettingsError, match="also_mine, mine"):
        dataset_name(str(path))


def test_a_run_that_names_a_file_does_not_run_it(trained, tmp_path):
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    facts = trained.fingerprint
    facts["card"]["name"] = str(path)
    plan = trained.plan.model_copy(update={"data": str(path)})
    begin_again(trained.folder, plan=plan, fingerprint=facts)
    run = Run(trained.folder)
    assert run.dataset.name == run.plan.data == str(path)
    assert evaluate(run)["n_images"] > 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change", [{"classes": ["a"]}, {"task": 1}, {"title": 3}, {"classes": 7}, {"positive": "x"}]
)
def test_a_run_with_a_damaged_card_of_its_data_is_refused(trained, change):
    facts = trained.fingerprint
    begin_again(trained.folder, fingerprint={**facts, "card": {**facts["card"], **change}})
    with pytest.raises(RunError, match="card of the data set"):
        evaluate(trained.folder)


@pytest.mark.parametrize("selection", ["best_val_accuracy", "last"])
def test_the_weights_of_the_best_epoch_are_kept_or_those_of_the_last(selection, tmp_path):
    rng = np.random.default_rng(0)
    light = np.linspace(20, 220, 48)[rng.permutation(48), None, None, None]
    images = (light + rng.normal(0, 5, (48, 16, 16, 3))).astype(np.uint8)
    labels = (light.ravel() > 120).astype(int)
    labels[32:] = 1 - labels[32:]  # the better it learns, the worse it does on validation images
    torch.manual_seed(0)
    module = find("models", "compact").build(2, 16)
    train_rows, val_rows = np.arange(32), np.arange(32, 48)
    events = train_epochs(
        module,
        shown(images),
        labels,
        train=train_rows,
        val=val_rows,
        how=how(max_epochs=10, learning_rate=1e-5, selection=selection),
        seed=0,
        checkpoint=tmp_path / "last.safetensors",
    )
    accuracies = [event.val_accuracy for event in events if isinstance(event, Epoch)]
    assert accuracies[-1] < max(accuracies)
    logits = predict_logits(module, shown(images), val_rows, precision="fp32")
    wanted = accuracies[-1] if selection == "last" else max(accuracies)
    assert (logits.argmax(axis=1) == labels[val_rows]).mean() == pytest.approx(wanted)


def test_early_stopping_ends_soon_after_the_best_epoch(prepared, tmp_path):
    settings = [*SMALL, "selection=best_val_accuracy", "patience_epochs=2", "max_epochs=40"]
    settings += ["learning_rate=0.05", "schedule=constant"]
    run = train("malaria", settings=settings, out=tmp_path / "run")
    accuracies = [line["val_accuracy"] for line in run.log]
    best = int(np.argmax(accuracies))
    assert len(accuracies) == min(40, best + 3)
    assert [line["is_best"] for line in run.log][best]


def test_the_eight_views_are_different_and_keep_every_pixel():
    image = torch.arange(2 * 3 * 5 * 5, dtype=torch.float32).reshape(2, 3, 5, 5)
    views = [dihedral(image, number) for number in range(8)]
    assert len({view.numpy().tobytes() for view in views}) == 8
    for view in views:
        assert torch.equal(view.flatten(2).sort().values, image.flatten(2).sort().values)


def test_augmentation_is_a_function_of_its_generator_alone():
    images = torch.rand(4, 3, 20, 20)
    every = Augmentation("horizontal", 20, 5, 0.2, 0.1)

    def changed(seed):
        return augment(images, every, rng=np.random.default_rng(seed))

    assert torch.equal(changed(1), changed(1))
    assert not torch.equal(changed(1), changed(2))
    assert torch.equal(augment(images, Augmentation(), rng=np.random.default_rng(0)), images)


def test_rotation_turns_about_the_centre_by_no_more_than_asked():
    images = torch.zeros(200, 1, 41, 41)
    images[:, :, 19:22, 36:39] = 1.0  # a dot to the right of the centre
    turned = augment(images, Augmentation(rotation_degrees=20), rng=np.random.default_rng(0))
    weight = turned[:, 0] / turned[:, 0].sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(41.0) - 20
    y, x = (weight.sum(2) * axis).sum(1), (weight.sum(1) * axis).sum(1)
    angles = torch.rad2deg(torch.atan2(y, x))
    assert angles.abs().max() < 20.5
    assert angles.min() < -15 < 15 < angles.max()
    assert torch.allclose(torch.hypot(x, y), torch.tensor(17.0), atol=0.3)


def test_black_stays_black_under_colour_jitter():
    images = torch.zeros(8, 3, 4, 4)
    images[:, :, 0, 0] = 0.5
    changed = augment(images, Augmentation(colour_jitter=0.2), rng=np.random.default_rng(0))
    assert (changed[:, :, 1:] == 0).all()
    assert changed[:, :, 0, 0].std() > 0.05


def test_a_bundle_whose_weights_were_changed_is_refused(trained):
    weights = trained.folder / "bundle" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match="not the ones that the card names"):
        Bundle.load(trained.folder / "bundle")


@pytest.mark.parametrize("spoil", ["", "{", "[]", '{"model": 3}'])
def test_a_damaged_card_is_refused(trained, spoil):
    (trained.folder / "bundle" / "card.json").write_text(spoil)
    with pytest.raises(RunError, match=r"damaged|no format number"):
        Bundle.load(trained.folder / "bundle")


def test_a_weights_file_of_another_network_is_refused(trained):
    folder = trained.folder / "bundle"
    reseal(folder / "card.json", classes=["a", "b", "c"])
    with pytest.raises(RunError, match="damaged"):
        Bundle.load(folder)
