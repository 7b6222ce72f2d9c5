"""Predictions held against what a bundle remembers: alarms, silence, refusals in words."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image
from run_folders import BINARY, bundle
from test_recalibrate import said

import diascope
from diascope.baseline import FILE, Baseline
from diascope.bundle import Bundle
from diascope.calibrating import calibrate, choose_operating_point, recalibrated
from diascope.card import Card
from diascope.datasets.own import own_dataset
from diascope.errors import DataError, GroupsUnknownError, RunError, SettingsError, SourceError
from diascope.metrics.operating_point import parse_target
from diascope.monitoring import aspects, baseline_answers, hold_against
from diascope.prediction_table import with_failures, write_table
from diascope.run import Run
from diascope.steps.evaluate import evaluate
from diascope.steps.monitor import monitor
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.steps.train import train

THREE = ("mel", "nv", "bcc")
LIKE = {"n_groups": 24, "n_each": 15}


def distances(rng, groups):
    """Draw how far from the training images are; patients differ in that, too."""
    _, group_of = np.unique(groups, return_inverse=True)
    of_group = rng.normal(-1, 0.3, group_of.max() + 1)
    return rng.lognormal(of_group[group_of], 0.3)


def chain(rng, *, n_groups=24, n_each=15, target=None):
    """Calibrate on drawn answers, as a training does: card, baseline, limit of distances."""
    seen = said(rng, n_groups=n_groups, n_each=n_each)
    found = calibrate(bundle(BINARY, BINARY[1]), seen)
    if target:
        found = choose_operating_point(found, seen, parse_target(target), group_kind="patient")
    far = distances(rng, seen.groups)
    limit = np.quantile(far, 0.99)
    _, group_of = np.unique(seen.groups, return_inverse=True)
    card = found.card.model_copy(update={"familiar_sha256": "0" * 64})
    logits = recalibrated(seen, found).logits
    return card, Baseline(group_of.astype(np.int32), logits, far / limit), limit


def new_answers(rng, card, limit, *, far=1.0, errors=0, **how):
    """Draw what predict would write of new images, and their groups."""
    seen = said(rng, **how)
    logits = seen.raw_logits / np.float32(card.temperature)
    unlike = None if limit is None else far * distances(rng, seen.groups) / limit
    table = baseline_answers(card, Baseline(np.zeros(0, np.int32), logits, unlike))
    paths = [f"{group}_{k}.png" for k, group in enumerate(seen.groups)]
    reasons = ["broken"] * errors + [None] * len(paths)
    paths = [f"g{k}_broken.png" for k in range(errors)] + paths
    return with_failures(table, paths, reasons), [path.split("_")[0] for path in paths]


def drifted(found):
    return {test["name"] for test in found["tests"] if test["verdict"] == "alarm"}


def held(rng, known, **how):
    card, baseline, limit = known
    answers, groups = new_answers(rng, card, limit, **how)
    return hold_against(card, baseline, answers, groups, seed=0)


def test_what_is_alike_is_silent_and_what_differs_is_named():
    rng = np.random.default_rng(0)
    known = chain(rng)
    alike = held(rng, known, errors=3, **LIKE)
    assert (alike["verdict"], drifted(alike)) == ("no alarm", set())
    assert (alike["n_unanswered"], alike["n_images"], alike["n_groups"]) == (3, 363, 24)
    rare = held(rng, known, share=0.1, **LIKE)
    assert {"scores", "calls"} <= drifted(rare)
    assert "unlikeness" not in drifted(rare)
    doubtful = held(rng, known, sure=0.15, **LIKE)
    assert "referrals" in drifted(doubtful)
    odd = held(rng, known, far=3.0, **LIKE)
    assert "unlikeness" in drifted(odd)
    assert odd["n_refused"] > 100
    for test in odd["tests"]:
        assert test["p"] is None or 1e-4 <= test["p"] <= test["p_holm"] <= 1


def test_if_all_are_refused_the_unlikeness_alone_is_tested():
    rng = np.random.default_rng(1)
    known = chain(rng)
    found = held(rng, known, far=1000.0, **LIKE)
    assert (found["verdict"], drifted(found)) == ("alarm", {"unlikeness"})
    assert found["n_refused"] == found["n_images"]
    assert {t["verdict"] for t in found["tests"]} == {"alarm", "not tested"}
    json.dumps(found, allow_nan=False)
    silent = replace(known[1], unlikeness=np.full(360, 9.0, np.float32))
    nothing = held(rng, (known[0], silent, known[2]), **LIKE)
    assert [test["baseline"] is None for test in nothing["tests"]] == [True, True, True, False]
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

    baseline = Baseline(group_of.astype(np.int32), drawn(0), None)
    answers = baseline_answers(card, replace(baseline, logits=drawn(3)))
    answers = with_failures(answers, [str(k) for k in range(200)], [None] * 200)
    assert [a.name for a in aspects(card, answers, group_of)] == ["scores", "calls"]
    found = hold_against(card, baseline, answers, group_of.astype(str).tolist(), seed=0)
    assert drifted(found) == {"scores", "calls"}
    assert [test["what"] for test in found["tests"]] == ["log-odds of bcc", "called bcc"]
    assert found["tests"][1]["baseline"] < 0.5 < found["tests"][1]["here"]


@pytest.fixture
def watched(tmp_path):
    """Write a bundle with a baseline, and a table of new images like it."""
    rng = np.random.default_rng(5)
    card, baseline, _ = chain(rng)
    card = card.model_copy(update={"familiar_sha256": ""})
    network = bundle(BINARY, BINARY[1]).module
    Bundle(card, network, None, replace(baseline, unlikeness=None)).save(tmp_path / "bundle")
    return tmp_path / "bundle", *new_answers(rng, card, None, errors=1, **LIKE)


def command(*words):
    done = subprocess.run(
        [sys.executable, "-m", "diascope", "monitor", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def test_the_verb_reads_every_format_and_says_what_it_found(watched, tmp_path):
    folder, table, groups = watched
    paths = [write_table(table, tmp_path / f"p.{kind}") for kind in ("csv", "parquet", "json")]
    facts = monitor(folder, paths, group_from="^g[0-9]+")
    first, *others = facts["tables"]
    for other in others:
        assert {**other, "table": first["table"]} == first
    assert first["verdict"] == "no alarm"
    named = write_table(table.with_columns(group=pl.Series(groups)), tmp_path / "named.csv")
    assert monitor(folder, [named])["tables"][0]["tests"] == first["tests"]
    alone = monitor(folder, [paths[0]], group="none")["tables"][0]
    assert (alone["n_groups"], alone["tests"][0]["n_images_a_group"]) == (361, 1)
    done = command(folder, paths[0], "--group-from", "^g[0-9]+")
    assert done.returncode == 0, done.stderr
    assert "No alarm" in done.stdout
    assert "1 file with an error" in done.stdout
    broken = write_table(table.filter(pl.col("error").is_not_null()), tmp_path / "broken.csv")
    assert "no image could be predicted" in command(folder, broken, "--group", "none").stdout
    done = command(folder, paths[0], "--group-from", "^g[0-9]+", "--json")
    assert json.loads(done.stdout)["tables"][0]["tests"] == first["tests"]


def test_what_is_no_table_of_this_bundle_is_refused_in_one_message(watched, tmp_path):
    folder, table, _ = watched
    positive = f"probability_{BINARY[1]}"
    first = pl.int_range(pl.len()) == 5
    bad = {
        "no column": table.drop("refer"),
        "no rows": table.clear(),
        "no number": table.with_columns(pl.col(positive).cast(pl.String).fill_null("x")),
        "1 rows have probabilities that do not add up": table.with_columns(
            pl.when(first).then(0.99999).otherwise(positive).alias(positive)
        ),
        "called a class that this bundle does not know": table.with_columns(
            pl.when(first).then(pl.lit("cat")).otherwise("predicted").alias("predicted")
        ),
        "called otherwise": table.with_columns(predicted=pl.lit(BINARY[0])),
        "neither an answer nor a reason": table.with_columns(error=pl.lit(None, pl.String)),
        "no path": table.with_columns(pl.when(first).then(None).otherwise("path").alias("path")),
        "unlike_training is not empty": table.with_columns(unlike_training=pl.lit(0.5)),
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
    with pytest.raises(GroupsUnknownError, match="Nothing says") as asked:
        monitor(folder, [good])
    assert "--group none" in str(asked.value)
    for wrong in ({"group": "all"}, {"group": "none", "group_from": "^g"}, {"group_from": "^x"}):
        with pytest.raises(SettingsError):
            monitor(folder, [good], **wrong)
    done = command(folder, good)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Nothing says")


def test_a_bundle_without_memory_and_a_damaged_one_are_refused(watched, tmp_path):
    folder, table, _ = watched
    good = write_table(table, tmp_path / "good.csv")
    bundle(BINARY, BINARY[1]).save(tmp_path / "old")
    with pytest.raises(RunError, match="does not remember"):
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


def test_a_training_remembers_what_predict_says_of_the_validation_images(tmp_path):
    own = cells(tmp_path / "own", range(60))
    prepare(own_dataset(own, group_from=r"^P\d+", group_kind="patient", positive="parasitized"))
    small = ["size_px=16", "max_epochs=4", "batch_size=16", "precision=fp32"]
    run = train(str(own), settings=small, out=tmp_path / "run")
    val = run.manifest.filter(pl.col("split") == "val").sort("image_id")
    remembered = Bundle.load(run.folder / "bundle").baseline
    assert len(np.unique(remembered.group_of)) == val["group"].n_unique()
    paths = [own / path for path in val["path"]]
    said_of_val = pl.read_csv(predict(run, paths, out=tmp_path / "val.csv"))
    from_memory = baseline_answers(Card.load(run.folder / "bundle"), remembered)
    column = "probability_parasitized"
    ours = dict(zip(run.predictions("val").image_ids, from_memory[column], strict=True))
    assert [ours[image] for image in val["image_id"]] == pytest.approx(
        said_of_val[column].to_list(), abs=1e-5
    )
    others = cells(tmp_path / "others", range(100, 140))
    alike = predict(run, [others], out=tmp_path / "alike.csv")
    bright = cells(tmp_path / "bright", range(200, 240), light=60)
    moved = predict(run, [bright], out=tmp_path / "moved.csv")
    found = diascope.monitor(run, [alike, moved], group_from=r"P\d+")
    assert [one["verdict"] for one in found["tables"]] == ["no alarm", "alarm"]


def test_a_new_threshold_moves_the_baseline_with_it(tmp_path):
    own = cells(tmp_path / "own", range(60))
    prepare(own_dataset(own, group_from=r"^P\d+", group_kind="patient", positive="parasitized"))
    small = ["size_px=16", "max_epochs=1", "batch_size=16", "precision=fp32"]
    run = train(str(own), settings=small, out=tmp_path / "run")
    before = Card.load(run.folder / "bundle")
    evaluate(run, split="val", target="sensitivity=0.5")
    after = Card.load(run.folder / "bundle")
    assert after.threshold != before.threshold
    alike = predict(run, [cells(tmp_path / "new", range(100, 140))], out=tmp_path / "new.csv")
    assert monitor(run, [alike], group_from=r"P\d+")["tables"][0]["verdict"] == "no alarm"


def test_an_ensemble_keeps_none_back(tmp_path):
    own = cells(tmp_path / "own", range(30))
    prepare(own_dataset(own, group_from=r"^P\d+", group_kind="patient"))
    small = ["size_px=16", "max_epochs=1", "batch_size=16", "precision=fp32"]
    run = train(str(own), members=2, settings=small, out=tmp_path / "run")
    assert not (Run(run.folder).folder / "bundle" / FILE).exists()
    with pytest.raises(RunError, match="an ensemble keeps none back"):
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
