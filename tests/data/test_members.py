"""Ensembles: who learns what, who is scored by whom, and one bundle that answers for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import SMALL
from drawn.seals import reseal

from diascope.bundle.bundle import Bundle
from diascope.data.image import decode_image
from diascope.data.pack import pack_folder
from diascope.data.prepared import load_prepared
from diascope.data.sources.folder import open_files
from diascope.data.splits.folds import fold_column, in_fold
from diascope.data.splits.members import as_seen_by, lay_out_members
from diascope.errors import DataError, RunError, SettingsError, SourceError
from diascope.models.ensemble import Ensemble
from diascope.steps.evaluate import evaluate
from diascope.steps.report import report
from diascope.steps.train import train
from diascope.system.environment import home as its_home
from diascope.training.run import Run, open_bundle

THREE = {"members": 3, "settings": SMALL}


@pytest.fixture
def three(copy_of, train_once):
    return copy_of(train_once(members=3), "three")


def pixels_of(run):
    manifest = run.manifest
    folder = pack_folder(its_home(), manifest, run.plan.pixels)
    return np.load(folder / "shard-00000.npy", mmap_mode="r")


def test_each_group_outside_test_is_watched_by_one_member_and_learned_by_the_others(prepared):
    table = load_prepared("malaria").manifest
    laid_out = lay_out_members(table, ("parasitized", "uninfected"), members=3, seed=0)
    assert laid_out.drop("member").equals(table)
    is_test = (laid_out["split"] == "test").to_numpy()
    assert (laid_out["member"].is_null().to_numpy() == is_test).all()
    per_group = laid_out.drop_nulls("member").group_by("group").agg(pl.col("member").n_unique())
    assert (per_group["member"] == 1).all()
    for member in range(3):
        seen = as_seen_by(laid_out, member)
        assert ((seen["split"] == "test").to_numpy() == is_test).all()
        assert set(seen.filter(pl.col("split") == "val")["member"]) == {member}
        assert set(seen.filter(pl.col("split") == "train")["member"]) == {0, 1, 2} - {member}


def test_too_few_groups_for_the_members_is_an_error(prepared):
    with pytest.raises(DataError, match="Train fewer than 40 members"):
        train("malaria", members=40, settings=SMALL)


def test_one_member_is_refused(prepared):
    with pytest.raises(SettingsError, match="One member is not an ensemble"):
        train("malaria", members=1, settings=SMALL)


def test_an_ensemble_is_one_bundle_whose_scores_are_the_mean_of_its_members(three):
    run = three
    bundle = open_bundle(run)
    assert isinstance(bundle.module, Ensemble)
    assert bundle.card.members == 3
    assert not (run.folder / "checkpoints").exists()
    images = np.array(pixels_of(run)[:20])
    together = bundle.predict_logits(images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    alone = []
    for member in bundle.module.members:
        with torch.inference_mode():
            views = [
                member.network((torch.rot90(x, k, dims=(2, 3)) - member.mean) / member.std)
                for k in range(4)
            ]
        alone.append(torch.stack(views).mean(dim=0).numpy())
    assert not np.allclose(alone[0], alone[1])
    assert np.allclose(together, np.mean(alone, axis=0) + bundle.card.logit_offset, atol=1e-5)


def test_images_outside_test_are_scored_by_the_member_that_did_not_learn_them(three):
    run = three
    manifest, scored = run.manifest, run.predictions("val")
    outside = manifest.filter(pl.col("split") != "test").sort("image_id")
    assert scored.image_ids == outside["image_id"].to_list()
    assert scored.folds.tolist() == outside["member"].to_list()
    module = open_bundle(run).module
    assert isinstance(module, Ensemble)
    row = manifest["image_id"].to_list().index(scored.image_ids[0])
    x = torch.from_numpy(pixels_of(run)[[row]]).permute(0, 3, 1, 2).float() / 255
    member = module.members[int(scored.folds[0])]
    with torch.inference_mode():
        views = [
            member.network((torch.rot90(x, k, dims=(2, 3)) - member.mean) / member.std)
            for k in range(4)
        ]
    assert np.allclose(torch.stack(views).mean(dim=0).numpy()[0], scored.logits[0], atol=1e-5)


def test_an_ensemble_is_evaluated_reported_and_predicts(three):
    run = three
    metrics = evaluate(run)
    assert metrics["n_images"] == (run.manifest["split"] == "test").sum()
    watched = evaluate(run, split="val")
    assert watched["n_images"] == (run.manifest["split"] != "test").sum()
    text = report(run).read_text("utf-8")
    assert "The 3 members of an ensemble were trained on train and val" in text
    assert "members.0.network.stem.0" in text
    assert "--members 3" in text
    with open_files(Path(run.fingerprint["source"])) as files:
        first = pl.col("image_id") == run.predictions("test").image_ids[0]
        image = decode_image(files.read(run.manifest.filter(first)["path"].item()))
    answer = open_bundle(run).predict_proba([image])[0]
    assert answer == pytest.approx(run.predictions("test").probabilities[0], abs=1e-5)


def test_an_interrupted_ensemble_ends_with_the_same_bytes(prepared, three, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(sign):
        if sign.stage == "training member 2 of 3" and sign.done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train("malaria", **THREE, out=tmp_path / "part", progress=stop)
    part = train("malaria", **THREE, out=tmp_path / "part")
    for name in ("predictions/val.parquet", "bundle/model.safetensors", "bundle/card.json"):
        assert (three.folder / name).read_bytes() == (part.folder / name).read_bytes()
    members = [(line["member"], line["epoch"]) for line in part.log]
    assert members == [(member, epoch) for member in range(3) for epoch in (1, 2)]


@pytest.mark.slow
def test_members_inside_folds(prepared, tmp_path):
    run = train(
        "malaria", folds=2, members=2, settings=[*SMALL, "val_fraction=0.3"], out=tmp_path / "run"
    )
    manifest = run.manifest
    for fold, bundle in enumerate(run.load_networks()):
        assert bundle.card.members == 2
        table = in_fold(manifest, fold_column(fold))
        assert set(table.filter(pl.col("split") == "test")["fold"]) == {fold}
        assert set(table.filter(pl.col("split") != "test")["member"]) == {0, 1}
    metrics = evaluate(run)
    assert metrics["n_images"] == manifest.height
    assert "by an ensemble of 2 networks" in report(run).read_text("utf-8")


def test_the_offset_and_prior_of_an_ensemble_are_those_of_its_members(prepared, tmp_path):
    settings = [*SMALL, "imbalance=logit_adjustment", "decision=balanced"]
    run = train("malaria", members=2, settings=settings, out=tmp_path / "run")
    card = open_bundle(run).card
    assert sum(card.prior) == pytest.approx(1)
    counts = run.manifest.filter(pl.col("split") != "test")["label"].value_counts()
    share = dict(counts.iter_rows())["parasitized"] / counts["count"].sum()
    assert card.prior[card.classes.index("parasitized")] == pytest.approx(share, abs=0.05)
    assert card.threshold == pytest.approx(card.prior[card.classes.index("parasitized")], abs=1e-6)


def test_weights_of_an_ensemble_are_no_beginning_for_one_network(ensemble, tmp_path):
    with pytest.raises(SourceError, match="the weights of an ensemble"):
        train("malaria", weights=str(ensemble.folder), settings=SMALL, out=tmp_path / "other")


def test_a_bundle_that_lies_about_its_members_is_refused(ensemble):
    path = ensemble.folder / "bundle" / "card.json"
    reseal(path, members=3)
    with pytest.raises(RunError, match=r"asks for 3 members, and model\.safetensors holds 2"):
        Bundle.load(ensemble.folder / "bundle")
    assert Run.open(ensemble.folder).plan.members == 2
