"""Predictions compared with the drift reference of a bundle: alarms, silence, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawn.predictions import draw_predictions
from drawn.run_folders import BINARY, bundle
from PIL import Image

import diascope
from diascope.bundle.bundle import Bundle
from diascope.bundle.calibrate import calibrate, choose_operating_point, recalibrated
from diascope.bundle.card import Card
from diascope.bundle.drift_reference import FILE, DriftReference
from diascope.bundle.prediction_files import write_table
from diascope.bundle.prediction_table import with_failures
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError, GroupsUnknownError, RunError, SettingsError, SourceError
from diascope.evaluation.monitoring import aspects, compare_with_reference, reference_table
from diascope.metrics.operating_point import parse_target
from diascope.steps.evaluate import evaluate
from diascope.steps.monitor import monitor
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.steps.train import train
from diascope.system.parts import Parts, open_parts
from diascope.training.run import Run

THREE = ("mel", "nv", "bcc")
LIKE = {"n_groups": 24, "n_each": 15}


def distances(rng, groups):
    """Draw how far from the training images are; patients differ in that, too."""
    _, group_of = np.unique(groups, return_inverse=True)
    of_group = rng.normal(-1, 0.3, group_of.max() + 1)
    return rng.lognormal(of_group[group_of], 0.3)


def chain(rng, *, n_groups=24, n_each=15, target=None):
    """Calibrate on drawn predictions, as a training does: card, reference, limit of distances."""
    seen = draw_predictions(rng, n_groups=n_groups, n_each=n_each)
    found = calibrate(bundle(BINARY, BINARY[1]), seen)
    if target:
        found = choose_operating_point(found, seen, parse_target(target), group_kind="patient")
    far = distances(rng, seen.groups)
    limit = np.quantile(far, 0.99)
    _, group_of = np.unique(seen.groups, return_inverse=True)
    card = found.card.model_copy(update={"ood_sha256": "0" * 64})
    logits = recalibrated(seen, found.card).logits
    return card, DriftReference(group_of.astype(np.int32), logits, far / limit), limit


def new_predictions(rng, card, limit, *, far=1.0, errors=0, **how):
    """Draw what predict would write of new images, and their groups."""
    seen = draw_predictions(rng, **how)
    logits = seen.raw_logits / np.float32(card.temperature)
    scores = None if limit is None else far * distances(rng, seen.groups) / limit
    table = reference_table(card, DriftReference(np.zeros(0, np.int32), logits, scores))
    paths = [f"{group}_{k}.png" for k, group in enumerate(seen.groups)]
    reasons = ["broken"] * errors + [None] * len(paths)
    paths = [f"g{k}_broken.png" for k in range(errors)] + paths
    return with_failures(table, paths, reasons), [path.split("_")[0] for path in paths]


def drifted(found):
    return {test["name"] for test in found["tests"] if test["verdict"] == "alarm"}


def held(rng, known, **how):
    card, reference, limit = known
    table, groups = new_predictions(rng, card, limit, **how)
    return compare_with_reference(card, reference, table, groups, seed=0)


def test_what_is_alike_is_silent_and_what_differs_is_named():
    rng = np.random.default_rng(0)
    known = chain(rng)
    alike = held(rng, known, errors=3, **LIKE)
    assert (alike["verdict"], drifted(alike)) == ("no alarm", set())
    assert (alike["n_not_predicted"], alike["n_images"], alike["n_groups"]) == (3, 363, 24)
    rare = held(rng, known, share=0.1, **LIKE)
    assert {"scores", "calls"} <= drifted(rare)
    assert "ood_score" not in drifted(rare)
    doubtful = held(rng, known, sure=0.15, **LIKE)
    assert "referrals" in drifted(doubtful)
    odd = held(rng, known, far=3.0, **LIKE)
    assert "ood_score" in drifted(odd)
    assert odd["n_out_of_distribution"] > 100
    for test in odd["tests"]:
        assert test["p"] is None or 1e-4 <= test["p"] <= test["p_holm"] <= 1


def test_if_all_are_out_of_distribution_the_ood_score_alone_is_tested():
    rng = np.random.default_rng(1)
    known = chain(rng)
    found = held(rng, known, far=1000.0, **LIKE)
    assert (found["verdict"], drifted(found)) == ("alarm", {"ood_score"})
    assert found["n_out_of_distribution"] == found["n_images"]
    assert {t["verdict"] for t in found["tests"]} == {"alarm", "not tested"}
    json.dumps(found, allow_nan=False)
    silent = replace(known[1], ood_scores=np.full(360, 9.0, np.float32))
    nothing = held(rng, (known[0], silent, known[2]), **LIKE)
    assert [test["reference"] is None for test in nothing["tests"]] == [True, True, True, False]
    json.dumps(nothing, allow_nan=False)


def test_few_groups_are_not_tested_and_it_says_how_many_it_takes():
    rng = np.random.default_rng(2)
    found = held(rng, chain(rng), n_groups=2, n_each=100)
    assert found["verdict"] == "not tested"
    assert "2 patients against" in found["tests"][0]["note"]
    assert "it takes 3" in found["tests"][0]["note"]


def test_of_several_classes_the_one_that_moved_most_is_shown():
    rng = np.random.default_rng(3)
    card = bundle(THREE, None).card
    group_of = np.repeat(np.arange(20), 10)

    def drawn(favour):
        logits = rng.normal(0, 1, (200, 3)).astype(np.float32)
        logits[:, 2] += favour
        return logits

    reference = DriftReference(group_of.astype(np.int32), drawn(0), None)
    table = reference_table(card, replace(reference, logits=drawn(3)))
    table = with_failures(table, [str(k) for k in range(200)], [None] * 200)
    assert [a.name for a in aspects(card, table, group_of)] == ["scores", "calls"]
    found = compare_with_reference(card, reference, table, group_of.astype(str).tolist(), seed=0)
    assert drifted(found) == {"scores", "calls"}
    assert [test["what"] for test in found["tests"]] == ["log-odds of bcc", "called bcc"]
    assert found["tests"][1]["reference"] < 0.5 < found["tests"][1]["here"]


@pytest.fixture
def monitored(tmp_path):
    """Write a bundle with a drift reference, and a table of new images like it."""
    rng = np.random.default_rng(5)
    card, reference, _ = chain(rng)
    card = card.model_copy(update={"ood_sha256": ""})
    network = bundle(BINARY, BINARY[1]).module
    Bundle(card, network, None, replace(reference, ood_scores=None)).save(tmp_path / "bundle")
    return tmp_path / "bundle", *new_predictions(rng, card, None, errors=1, **LIKE)


def test_the_verb_reads_every_format_and_says_what_it_found(monitored, call_here, tmp_path):
    folder, table, groups = monitored
    paths = [write_table(table, tmp_path / f"p.{kind}") for kind in ("csv", "parquet", "json")]
    facts = monitor(folder, paths, group_from="^g[0-9]+")
    first, *others = facts["tables"]
    for other in others:
        assert {**other, "table": first["table"]} == first
    assert first["verdict"] == "no alarm"
    parts = Parts(tmp_path / "parts", {}, n_items=table.height, size=100)
    with open_parts(parts):
        for number in parts.numbers:
            write_table(table[parts.items(number)], parts.path(number))
            parts.seal(number, ".parquet", facts={})
    in_parts = monitor(folder, [parts.folder], group_from="^g[0-9]+")["tables"][0]
    assert {**in_parts, "table": first["table"]} == first
    named = write_table(table.with_columns(group=pl.Series(groups)), tmp_path / "named.csv")
    assert monitor(folder, [named])["tables"][0]["tests"] == first["tests"]
    alone = monitor(folder, [paths[0]], group="none")["tables"][0]
    assert (alone["n_groups"], alone["tests"][0]["n_images_a_group"]) == (361, 1)
    done = call_here("monitor", folder, paths[0], "--group-from", "^g[0-9]+")
    assert done.returncode == 0, done.stderr
    assert "No alarm" in done.stdout
    assert "1 file with an error" in done.stdout
    broken = write_table(table.filter(pl.col("error").is_not_null()), tmp_path / "broken.csv")
    assert (
        "no image could be predicted"
        in call_here("monitor", folder, broken, "--group", "none").stdout
    )
    done = call_here("monitor", folder, paths[0], "--group-from", "^g[0-9]+", "--json")
    assert json.loads(done.stdout)["tables"][0]["tests"] == first["tests"]


def test_what_is_no_table_of_this_bundle_is_refused_in_one_message(monitored, call_here, tmp_path):
    folder, table, _ = monitored
    positive = f"probability_{BINARY[1]}"
    first = pl.int_range(pl.len()) == 5
    bad = {
        "no column": table.drop("refer"),
        "no rows": table.clear(),
        "not a number": table.with_columns(pl.col(positive).cast(pl.String).fill_null("x")),
        "1 rows have probabilities that do not add up": table.with_columns(
            pl.when(first).then(0.99999).otherwise(positive).alias(positive)
        ),
        "have a class that this bundle does not know": table.with_columns(
            pl.when(first).then(pl.lit("cat")).otherwise("predicted").alias("predicted")
        ),
        "another class than this bundle would": table.with_columns(predicted=pl.lit(BINARY[0])),
        "neither a prediction nor a reason": table.with_columns(error=pl.lit(None, pl.String)),
        "no path": table.with_columns(pl.when(first).then(None).otherwise("path").alias("path")),
        "ood_score is not empty": table.with_columns(ood_score=pl.lit(0.5)),
        "refer is empty": table.with_columns(refer=pl.lit(None, pl.String)),
        "rows have no group": table.with_columns(
            group=pl.when(first).then(None).otherwise(pl.lit("a"))
        ),
    }
    for words, content in bad.items():
        path = write_table(content, tmp_path / "bad.csv")
        with pytest.raises(DataError, match=words):
            monitor(folder, [path])
    good = write_table(table, tmp_path / "good.csv")
    (tmp_path / "damaged.json").write_text("{", encoding="utf-8")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    for name in ("damaged.json", "damaged.parquet"):
        with pytest.raises(DataError):
            monitor(folder, [tmp_path / name])
    for name in ("nothing.csv", "table.xlsx"):
        with pytest.raises(SourceError):
            monitor(folder, [tmp_path / name])
    with pytest.raises(GroupsUnknownError, match="It is not known") as asked:
        monitor(folder, [good])
    assert "--group none" in str(asked.value)
    for wrong in ({"group": "all"}, {"group": "none", "group_from": "^g"}, {"group_from": "^x"}):
        with pytest.raises(SettingsError):
            monitor(folder, [good], **wrong)
    done = call_here("monitor", folder, good)
    assert done.returncode == 2
    assert done.stderr.startswith("error: It is not known")


def test_a_bundle_without_a_drift_reference_and_a_damaged_one_are_refused(monitored, tmp_path):
    folder, table, _ = monitored
    good = write_table(table, tmp_path / "good.csv")
    bundle(BINARY, BINARY[1]).save(tmp_path / "old")
    with pytest.raises(RunError, match="no drift reference"):
        monitor(tmp_path / "old", [good], group="none")
    with pytest.raises(RunError, match="no bundle"):
        monitor(tmp_path, [good], group="none")
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[:-4] + b"\0\0\0\1")
    with pytest.raises(RunError, match="damaged"):
        monitor(folder, [good], group="none")
    with pytest.raises(RunError, match="damaged"):
        Bundle.load(folder)


def cells(folder, patients, *, light=0):
    """Write two cells of either class of some patients."""
    rng = np.random.default_rng(sum(patients))
    for label, mean in (("uninfected", 120), ("parasitized", 180)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for patient in patients:
            for cell in range(2):
                pixels = rng.normal(mean + light, 30, (30, 30, 3)).clip(1, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / label / f"P{patient:03}_{cell}.png")
    return folder


@pytest.mark.slow
def test_a_training_stores_what_predict_writes_of_the_validation_images(tmp_path):
    own = cells(tmp_path / "own", range(60))
    prepare(own_dataset(own, group_from=r"^P\d+", group_kind="patient", positive="parasitized"))
    small = ["size_px=16", "max_epochs=4", "batch_size=16", "precision=fp32"]
    run = train(str(own), settings=small, out=tmp_path / "run")
    val = run.manifest.filter(pl.col("split") == "val").sort("image_id")
    stored = Bundle.load(run.folder / "bundle").drift_reference
    assert len(np.unique(stored.group_of)) == val["group"].n_unique()
    paths = [own / path for path in val["path"]]
    said_of_val = pl.read_csv(predict(run, paths, out=tmp_path / "val.csv"))
    from_reference = reference_table(Card.load(run.folder / "bundle"), stored)
    column = "probability_parasitized"
    ours = dict(zip(run.predictions("val").image_ids, from_reference[column], strict=True))
    assert [ours[image] for image in val["image_id"]] == pytest.approx(
        said_of_val[column].to_list(), abs=1e-5
    )
    others = cells(tmp_path / "others", range(100, 140))
    alike = predict(run, [others], out=tmp_path / "alike.csv")
    bright = cells(tmp_path / "bright", range(200, 240), light=60)
    moved = predict(run, [bright], out=tmp_path / "moved.csv")
    found = diascope.monitor(run, [alike, moved], group_from=r"P\d+")
    assert [one["verdict"] for one in found["tables"]] == ["no alarm", "alarm"]


@pytest.mark.slow
def test_a_table_at_another_threshold_is_compared_at_that_one(tmp_path):
    own = cells(tmp_path / "own", range(60))
    prepare(own_dataset(own, group_from=r"^P\d+", group_kind="patient", positive="parasitized"))
    small = ["size_px=16", "max_epochs=1", "batch_size=16", "precision=fp32"]
    run = train(str(own), settings=small, out=tmp_path / "run")
    before = Card.load(run.folder / "bundle")
    evaluate(run, split="val", target="sensitivity=0.5")
    (point,) = Card.load(run.folder / "bundle").other_points
    assert point.threshold != before.threshold
    new = cells(tmp_path / "new", range(100, 140))
    for how, threshold in (
        ({}, before.threshold),
        ({"operating_point": "sensitivity=0.5"}, point.threshold),
        ({"threshold": 0.123456789}, 0.123456789),
    ):
        table = predict(run, [new], out=tmp_path / "new.csv", overwrite=True, **how)
        (found,) = monitor(run, [table], group_from=r"P\d+")["tables"]
        assert found["verdict"] == "no alarm", how
        assert found["threshold"] == pytest.approx(threshold, abs=1e-6)


def test_groups_that_predict_wrote_need_no_option(monitored, tmp_path):
    folder, table, groups = monitored
    by_rule = write_table(table, tmp_path / "by_rule.csv")
    of_predict = write_table(table.with_columns(group=pl.Series(groups)), tmp_path / "known.csv")
    empty = table.with_columns(group=pl.lit(None, pl.String))
    for kind in ("csv", "parquet", "json"):
        unknown = write_table(empty, tmp_path / f"unknown.{kind}")
        found = monitor(folder, [unknown], group_from="^g[0-9]+")["tables"][0]["tests"]
        assert found == monitor(folder, [of_predict])["tables"][0]["tests"]
        with pytest.raises(GroupsUnknownError):
            monitor(folder, [unknown])
    assert found == monitor(folder, [by_rule], group_from="^g[0-9]+")["tables"][0]["tests"]


def test_a_table_of_another_bundle_or_of_two_thresholds_is_refused(monitored, tmp_path):
    folder, table, _ = monitored
    card = Card.load(folder)
    mine = table.with_columns(model=pl.lit(card.digest), threshold=pl.lit(card.threshold))
    monitor(folder, [write_table(mine, tmp_path / "mine.csv")], group="none")
    first = pl.int_range(pl.len()) == 7
    for words, changed in {
        "of another bundle: its column model says 0123": pl.lit("0123").alias("model"),
        "several numbers": pl.when(first).then(0.1).otherwise("threshold").alias("threshold"),
        "not a number": pl.lit("high").alias("threshold"),
        "no probability": pl.lit(7.0).alias("threshold"),
        "another class than this bundle would predict": pl.lit(0.999).alias("threshold"),
    }.items():
        path = write_table(mine.with_columns(changed), tmp_path / "bad.csv")
        with pytest.raises(DataError, match=words):
            monitor(folder, [path], group="none")


def test_what_rounding_hides_is_no_reason_to_refuse(tmp_path):
    """A probability just under a threshold reads like it, and seven add up to 1.000002."""
    seven = tuple("abcdefg")
    rng = np.random.default_rng(11)
    for classes, positive, n in ((BINARY, BINARY[1], 4_000), (seven, None, 2_000)):
        made = bundle(classes, positive)
        logits = rng.normal(0, 1, (n, len(classes))).astype(np.float32)
        if positive:
            logits[:, 1] = logits[:, 0] + rng.normal(0, 1e-6, n)
        group_of = np.repeat(np.arange(n // 100), 100).astype(np.int32)
        saved = replace(made, drift_reference=DriftReference(group_of, logits, None))
        folder = tmp_path / str(len(classes))
        card = saved.save(folder).card
        table = reference_table(card, DriftReference(group_of, logits, None))
        names = [f"g{k}_{number}.png" for number, k in enumerate(group_of)]
        table = with_failures(table, names, [None] * n)
        path = write_table(table, folder / "p.csv")
        assert monitor(folder, [path], group_from="^g[0-9]+")["tables"][0]["verdict"] == "no alarm"


def test_an_ensemble_stores_no_drift_reference(tmp_path):
    own = cells(tmp_path / "own", range(30))
    prepare(own_dataset(own, group_from=r"^P\d+", group_kind="patient"))
    small = ["size_px=16", "max_epochs=1", "batch_size=16", "precision=fp32"]
    run = train(str(own), members=2, settings=small, out=tmp_path / "run")
    assert not (Run(run.folder).folder / "bundle" / FILE).exists()
    with pytest.raises(RunError, match="an ensemble stores none"):
        monitor(run, [tmp_path / "any.csv"])


@pytest.mark.slow
@pytest.mark.parametrize("target", [None, "sensitivity=0.9"])
def test_one_table_in_a_hundred_raises_a_false_alarm(target):
    rng = np.random.default_rng(6)
    n_draws, n_alarms = 300, 0
    smallest = []
    for _ in range(n_draws):
        known = chain(rng, n_groups=40, n_each=8, target=target)
        found = held(rng, known, n_groups=12, n_each=15)
        n_alarms += found["verdict"] == "alarm"
        smallest.append(min(test["p_holm"] for test in found["tests"]))
    assert n_alarms <= 0.01 * n_draws + 3 * np.sqrt(0.01 * 0.99 * n_draws)
    for level in (0.05, 0.2):
        error = np.sqrt(level * (1 - level) / n_draws)
        assert np.mean(np.array(smallest) <= level) <= level + 3 * error
