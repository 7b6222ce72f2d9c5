"""The report: complete, self-contained, without a name that gives a patient away."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn.facts import facts_of, with_parts
from drawn.run_folders import make_run
from drawn.seals import begin_again, replace_predictions, reseal

from diascope.cli.demo import run_demo
from diascope.data.ledger import record_opening, record_predictions
from diascope.errors import LeakageError, RunError, SettingsError
from diascope.reporting.pseudonyms import Names, pseudonyms
from diascope.reporting.report.by_group import groups_with_errors
from diascope.reporting.report.errors import worst_errors
from diascope.reporting.report.examples import chosen_examples
from diascope.reporting.report.images import open_images
from diascope.reporting.report.reproduce import commands, setting_rows
from diascope.reporting.report.split import check_predictions, disjointness
from diascope.reporting.report.training import training_charts, training_text
from diascope.steps.evaluate import evaluate
from diascope.steps.report import report
from diascope.training.run import Run

SEVEN = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def decoded(page: str) -> str:
    """Return the page with what its data URIs hold."""
    parts = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    return page + "".join(base64.b64decode(part).decode("latin-1") for part in parts)


def plain(page: str) -> str:
    """Return what a reader sees, on one line."""
    body = page[page.index("<body>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("binary"))


@pytest.fixture(scope="module")
def page(run) -> str:
    return report(run).read_text("utf-8")


@pytest.fixture(scope="module")
def folds_run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("folds"), n_groups=20, n_folds=4)


def test_every_section_is_there(page):
    sections = re.findall(r'<(?:section|header) id="([a-z-]+)"', page)
    assert sections == [
        *("summary", "warnings", "results", "curves", "by-group", "robustness", "errors"),
        *("atlas", "feature-maps", "deployment", "data", "sample-size", "examples", "split"),
        *("test-access", "training", "cost", "reproduce", "limits", "dossier"),
    ]  # the others need metrics that `evaluate` computes besides
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r' id="([^"]+)"', page))


def test_the_page_loads_nothing_from_elsewhere(page):
    loaded = re.findall(r"""(?:src|href|xlink:href)\s*=\s*["']([^"']+)""", decoded(page))
    loaded += re.findall(r"url\(([^)]*)\)", decoded(page))
    assert loaded
    assert all(link.startswith(("data:image/", "#")) for link in loaded)
    assert "<script" not in page
    assert "@import" not in page


def test_every_picture_has_an_alternative_text(page):
    pictures = re.findall(r"<img [^>]+>", page)
    assert len(pictures) > 40
    assert all(re.search(r'alt="[^"]{8,}"', picture) for picture in pictures)


def test_no_name_of_a_patient_an_image_or_a_file_is_in_the_page(run, page):
    manifest = pl.read_parquet(run / "manifest.parquet")
    everything = decoded(page)
    for column in ("group", "image_id", "path"):
        assert not [name for name in manifest[column] if name in everything]
    assert "Zebulon" not in everything
    assert re.search(r"patient \d\d", page)


def test_the_true_names_are_shown_when_asked_for_and_missing_pictures_are_said(tmp_path):
    run = make_run(tmp_path)
    shutil.rmtree(tmp_path / "source")
    text = plain(report(run, show_ids=True).read_text("utf-8"))
    assert re.search(r"Zebulon0\d\d", text)
    assert "Zebulon999_cell_1.png" in text
    assert "pictures are missing" in text
    assert "No feature maps: the images could not be read" in text


def test_the_same_run_gives_the_same_bytes(run, page):
    assert report(run).read_text("utf-8") == page


def test_pseudonyms_are_stable_and_say_nothing_of_the_order(run):
    manifest = pl.read_parquet(run / "manifest.parquet")
    first, again = pseudonyms(manifest, "patient"), pseudonyms(manifest[::-1], "patient")
    assert first == again
    in_old_order = [first.shown[group] for group in sorted(first.shown)]
    assert sorted(in_old_order) == [f"patient {n:02d}" for n in range(1, 16)]
    assert in_old_order != sorted(in_old_order)


def test_patients_whose_groups_were_joined_are_hidden_one_by_one(run):
    joined = pl.when(pl.col("group").is_in(["Zebulon001", "Zebulon002"]))
    manifest = pl.read_parquet(run / "manifest.parquet").with_columns(
        group=joined.then(pl.lit("Zebulon001+Zebulon002")).otherwise("group")
    )
    assert "Zebulon" not in pseudonyms(manifest, "patient").cleaned("Zebulon001 and Zebulon002")


def test_no_word_that_is_too_short_to_tell_a_patient_is_replaced(run):
    manifest = pl.read_parquet(run / "manifest.parquet").with_columns(group=pl.lit("7"))
    assert pseudonyms(manifest, "patient").cleaned("--folds 7") == "--folds 7"


def test_words_digests_and_numbers_stay_whole_and_no_name_is_replaced_twice():
    shown = {"a1": "patient 2", "C51": "patient 00417", "00417": "patient 1"}
    names = Names(shown, ("C51_7.png", "00417", "C51", "a1"))
    digest = "a1" + "0" * 62
    for text in (digest, digest[:16], "sha1 XC51 C510 100417", "lr=0a1"):
        assert names.cleaned(text) == text
    assert names.cleaned("C51 a1_x 00417") == "patient 00417 patient 2_x patient 1"
    assert names.cleaned("C51P12_1.png x/C51_7.png") == "patient 00417P12_1.png x/(withheld)"


def test_an_image_that_is_named_by_a_digest_is_hidden():
    digest = "ab" * 32
    assert Names({}, (f"{digest}.png",)).cleaned(f"x/{digest}.png") == "x/(withheld)"
    assert Names({}, (digest,)).cleaned(f"x {digest}") == "x (withheld)"


def test_the_command_of_a_run_names_recipe_and_weights_but_no_path(tmp_path):
    run = make_run(tmp_path)
    facts = facts_of(run)
    others = {"recipe": "malaria-features", "finetune": "head", "weights": "/home/jane/w.pth"}
    text = commands(with_parts(facts, recipe={**facts.recipe, **others}))
    assert "--recipe malaria-features --model compact --finetune head --weights WEIGHTS" in text
    assert "jane" not in text


def test_a_short_group_is_hidden_in_the_name_of_the_run_and_in_commands(tmp_path):
    run = make_run(tmp_path).rename(tmp_path / "runs" / "only-0417")
    other = {"Zebulon004": "0417", "Zebulon009": "3"}
    manifest = Run(run).manifest.with_columns(pl.col("group").replace(other))
    command = "diascope train malaria --out runs/only-0417 --set max_epochs=3 --seed 3"
    begin_again(run, manifest=manifest, provenance={"command": command})
    found = Run(run).predictions("test")
    groups = [other.get(group, group) for group in found.groups]
    replace_predictions(run, "test", replace(found, groups=groups))
    text = plain(report(run).read_text("utf-8"))
    assert "0417" not in text
    assert re.search(r"--out runs/only-patient \d\d --set max_epochs=3 --seed 3", text)


def test_every_estimate_is_there_with_its_interval(run, page):
    metrics = json.loads((run / "metrics" / "test.json").read_text())
    text = plain(page)
    for estimate in metrics["estimates"].values():
        low, high = (f"{estimate[end]:.3f}" for end in ("low", "high"))
        assert f"{estimate['value']:.3f} [{low}, {high}]" in text
    assert "3 patients" in text


def test_only_what_was_asked_for_is_bold(run):
    rows = {row["name"]: row for row in setting_rows(facts_of(run))}
    chosen = {name for name, row in rows.items() if row["is_chosen"]}
    assert chosen == {"data", "max_epochs", "size_px"}
    assert rows["model"]["reason"] == "the default"


def test_it_is_said_how_many_groups_with_errors_are_not_listed(folds_run, monkeypatch):
    n_wrong = len(groups_with_errors(facts_of(folds_run)))
    assert n_wrong > 3
    monkeypatch.setattr("diascope.reporting.report.by_group.N_SHOWN", 3)
    text = plain(report(folds_run).read_text("utf-8"))
    assert f"The 3 with the most errors, of {n_wrong} patients with errors; 20 patients" in text


def test_the_commit_is_in_the_page(tmp_path):
    run = make_run(tmp_path)
    assert "Trained by diascope 0.1.0, commit unknown." in plain(report(run).read_text("utf-8"))
    begin_again(run, provenance={**Run(run).provenance, "commit": "ab" * 20})
    assert f"commit {'ab' * 20}." in plain(report(run).read_text("utf-8"))


def test_warnings_are_loud(page):
    text = page[page.index('<section id="warnings"') : page.index('<section id="results"')]
    text = plain(f"<body>{text}")
    assert "opened 3 times in all" in text
    assert "90 of 27,558 images" in text
    assert "2 files could not be used" in text
    assert "These numbers rest on 3 patients, fewer than 100" in text
    assert "So few may not stand for others." in text
    assert "patients in test have images of" not in text  # it would say the same again


def test_the_captions_say_why_the_validation_loss_lies_below(run, page):
    caption = (
        "training loss is measured during the epoch, with label smoothing and augmented images"
    )
    assert caption in plain(page)
    facts = facts_of(run)
    bare = {"label_smoothing": 0.0, "flips": "none", "colour_jitter": 0.0}
    plan = facts.run.plan.changed("a test", **bare, imbalance="class_weights")
    caption = training_charts(with_parts(facts, plan=plan))[0]["caption"]
    assert "measured during the epoch, with class weights;" in caption
    plan = facts.run.plan.changed("a test", **bare)
    caption = training_charts(with_parts(facts, plan=plan))[0]["caption"]
    assert "measured during the epoch; the validation loss at its end" in caption


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("last", "of the last epoch"),
        ("best_val_accuracy", "with the best validation accuracy"),
        ("best_val_balanced_accuracy", "with the best validation balanced accuracy"),
        ("best_val_auroc", "with the best validation AUROC"),
    ],
)
def test_the_report_says_which_weights_were_kept(run, selection, words):
    facts = facts_of(run)
    plan = facts.run.plan.changed("a test", selection=selection)
    assert f"The weights {words} were kept" in training_text(with_parts(facts, plan=plan))


def test_the_worst_errors_are_the_worst(run):
    facts = facts_of(run)
    predictions = facts.predictions
    (_, n_missed, missed), (_, n_alarms, alarms) = worst_errors(facts)
    wrong = predictions.probabilities.argmax(axis=1) != predictions.labels
    assert n_missed + n_alarms == wrong.sum() > 0
    of_true = predictions.probabilities[np.arange(len(wrong)), predictions.labels]
    worst = predictions.image_ids[int(of_true.argmin())]
    assert worst in {errors[0]["image_id"] for errors in (missed, alarms) if errors}


def test_disjointness_is_counted_in_the_manifest(run):
    facts = facts_of(run)
    assert [row["n_groups"] for row in disjointness(facts)] == [[0], [0], [0]]
    test_group = facts.run.manifest.filter(pl.col("split") == "test")["group"][0]
    leaky = facts.run.manifest.with_columns(
        group=pl.when(pl.col("split") == "train").then(pl.lit(test_group)).otherwise("group")
    )
    with pytest.raises(LeakageError, match="train and test share 1 groups"):
        disjointness(with_parts(facts, manifest=leaky))
    same = facts.run.manifest.with_columns(pixel_digest=pl.lit("0" * 32), sha256=pl.lit("0" * 64))
    with pytest.raises(LeakageError, match="val and test share 0 groups and 1 exact duplicates"):
        disjointness(with_parts(facts, manifest=same))
    featureless = same.with_columns(pixel_digest=pl.lit(None, dtype=pl.String))
    assert disjointness(with_parts(facts, manifest=featureless))


def test_a_leaking_run_gets_no_report(tmp_path):
    run = make_run(tmp_path)
    begin_again(run, manifest=Run(run).manifest.with_columns(group=pl.lit("one for all")))
    with pytest.raises(LeakageError, match="leaks"):
        report(run)
    assert not (run / "report.html").exists()


def test_predictions_of_training_images_are_found_out(run):
    facts = facts_of(run)
    moved = facts.run.manifest.with_columns(split=pl.lit("train"))
    with pytest.raises(LeakageError, match="do not belong"):
        check_predictions(with_parts(facts, manifest=moved))


def test_a_leak_between_folds_is_found_out(folds_run):
    facts = facts_of(folds_run)
    assert [row["n_files"] for row in disjointness(facts)] == [[0] * 4] * 3
    leaky = facts.run.manifest.with_columns(split_fold_2=pl.Series(["train", "val"] * 60))
    with pytest.raises(LeakageError, match="train and val share"):
        disjointness(with_parts(facts, manifest=leaky))


def test_a_cross_validation_is_reported_fold_by_fold(folds_run):
    text = plain(report(folds_run).read_text("utf-8"))
    assert "4-fold cross-validation by patient" in text
    assert "rest on 20 patients, fewer than 100: too few to be sure of" in text
    assert "in test have images" not in text
    assert "fold 4 30 images of 5 patients" in text
    assert "fold 0" not in text
    assert "Fold by fold" in text
    assert "0 · 0 · 0 · 0" in text
    assert "maps of the first convolution" in text


def test_hostile_class_names_stay_words(tmp_path):
    classes = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }} & $x^2")
    page = report(make_run(tmp_path, classes=classes)).read_text("utf-8")
    assert "<script" not in decoded(page)
    assert "<img src=x" not in page
    assert "{{ 7 * 7 }} & $x^2" in plain(page)


@pytest.mark.slow
def test_seven_classes_make_a_page_of_moderate_size(tmp_path):
    path = report(make_run(tmp_path, classes=SEVEN, size_px=150))
    page = path.read_text("utf-8")
    assert path.stat().st_size < 5_000_000
    assert page.count("Rates against the threshold on the probability") == 7
    assert page.count("Probability of") == 7


def test_a_run_that_only_looked_at_val_says_so(tmp_path):
    text = plain(report(make_run(tmp_path, only_val=True)).read_text("utf-8"))
    assert "These figures are of the val split" in text
    assert "The test split is still sealed" in text
    assert "Test-set access log" not in text


def test_no_test_image_is_shown_while_test_is_sealed(tmp_path):
    facts = facts_of(make_run(tmp_path, only_val=True))
    sealed = set(facts.run.manifest.filter(pl.col("split") == "test")["image_id"])
    assert not sealed & {one for ids in chosen_examples(facts).values() for one in ids}
    assert not sealed & {one["image_id"] for _, _, found in worst_errors(facts) for one in found}


def test_a_picture_that_has_changed_is_not_shown(tmp_path):
    run = Run(make_run(tmp_path))
    (changed, path), (image_id, other) = run.manifest.select("image_id", "path").head(2).rows()
    shutil.copy(tmp_path / "source" / other, tmp_path / "source" / path)
    with open_images(run) as images:
        assert images.get(changed) is None
        assert images.get(image_id) is not None


@pytest.mark.slow
def test_openings_after_the_evaluation_are_said(tmp_path, home):
    run = make_run(tmp_path)
    manifest = Run(run).manifest.filter(pl.col("split") == "test")
    for number in range(4):
        text = plain(report(run).read_text("utf-8"))
        assert "opened 3 times in all" in text  # an empty ledger, or one that knows of fewer
        assert "By now" not in text
        record_opening(
            home / "ledger",
            manifest["sha256"].to_list(),
            run="another",
            weights=str(number // 2),
            moment="2026-01-02",
        )
    text = plain(report(run).read_text("utf-8"))
    assert "have been opened 4 times in all, for 2 models" in text
    assert "opened once by this run and 3 times in all" in text
    assert "By now, the test images were opened 4 times in all" in text


def test_a_ledger_that_was_cut_or_deleted_is_said_and_who_opened_is_listed(tmp_path, home):
    run = Run(make_run(tmp_path))
    sha256s = run.manifest.filter(pl.col("split") == "test")["sha256"].to_list()
    wishes = {"weights": "w" * 64, "moment": "2026-01-02T03:04:05+00:00"}
    for number in range(3):
        opened = record_opening(
            home / "ledger",
            sha256s,
            run=f"runs/number-{number}",
            command=f"diascope evaluate number-{number}",
            **wishes,
        )
    record_predictions(home / "ledger", run.predictions("test").sha256, run="runs/number-2")
    reseal(run.metrics_path("test"), ledger=opened.head.as_dict())
    text = plain(report(run).read_text("utf-8"))
    assert "had 3 lines with the SHA-256" in text
    assert "still began with them" in text
    assert "2026-01-02 03:04 number-1 wwwwwwww diascope evaluate number-1" in text
    journal = home / "ledger" / "openings.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0])
    assert "was cut, rewritten or deleted since" in plain(report(run).read_text("utf-8"))
    journal.unlink()
    assert "was cut, rewritten or deleted since" in plain(report(run).read_text("utf-8"))


def test_a_test_set_that_others_opened_is_not_called_sealed(tmp_path, home):
    run = Run(make_run(tmp_path, only_val=True))
    sha256s = run.manifest.filter(pl.col("split") == "test")["sha256"].to_list()
    record_opening(home / "ledger", sha256s, run="another", weights="w", moment="2026-01-02")
    text = plain(report(run).read_text("utf-8"))
    assert "still sealed" not in text
    assert "some or all of its images were opened once" in text


def test_the_commands_have_the_options_that_were_asked_for(tmp_path):
    run = make_run(tmp_path)
    assert "diascope prepare malaria --seed 4 diascope" in plain(report(run).read_text("utf-8"))
    asked = {"source_given": True, "max_rejected": 0.05, "accept_large_groups": True}
    begin_again(run, fingerprint={**Run(run).fingerprint, **asked})
    command = "--source FOLDER --seed 4 --max-rejected 0.05 --accept-large-groups"
    assert f"diascope prepare malaria {command}" in plain(report(run).read_text("utf-8"))


def test_a_demo_does_not_open_the_test_set_of_a_real_run(tmp_path, home):
    run = make_run(tmp_path)
    (run / "metrics" / "test.json").unlink()
    with pytest.raises(RunError, match=r"a run on malaria, not a demo(.|\n)*--out"):
        run_demo(run)
    assert not (home / "ledger").exists()


def test_a_run_that_was_not_evaluated_is_told_what_to_do(tmp_path):
    run = make_run(tmp_path)
    (run / "metrics" / "test.json").unlink()
    with pytest.raises(RunError, match="diascope evaluate"):
        report(run)
    (run / "bundle" / "card.json").unlink()
    with pytest.raises(RunError, match="--resume"):
        report(run)
    with pytest.raises(RunError, match="no run"):
        report(tmp_path / "nowhere")


def test_a_run_that_was_really_trained_is_reported(evaluated):
    text = plain(report(evaluated).read_text("utf-8"))
    assert "Malaria parasites" in text
    assert "opened once" in text
    assert "all 32 maps of the first convolution" in text


def test_an_ensemble_that_only_looked_at_val_is_reported(ensemble):
    evaluate(ensemble, split="val")
    text = plain(report(ensemble).read_text("utf-8"))
    assert "maps of the first convolution of the first member" in text
    assert "Each image was scored by the one member of the ensemble" in text


def test_repeated_trainings_show_how_metrics_vary(evaluated, train_once, copy_of):
    other = copy_of(train_once(seed=1), "other")
    evaluate(other)
    page = report(evaluated, repeats=[other]).read_text("utf-8")
    assert "2 trainings of the same recipe on the same images, with the seeds 0, 1." in page
    both = [run.metrics("test")["estimates"]["auroc"]["value"] for run in (evaluated, other)]
    assert f'<td class="n">{np.std(both, ddof=1):.4f}</td>' in page
    with pytest.raises(SettingsError, match="Two runs have the seed 0"):
        report(evaluated, repeats=[evaluated])


def test_a_run_of_another_recipe_is_no_repetition(evaluated, ensemble):
    with pytest.raises(SettingsError, match="it was trained by other settings"):
        report(evaluated, repeats=[ensemble])
