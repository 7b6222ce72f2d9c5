"""The cards: what lies beside the weights and beside the data, in words that stay words."""

from __future__ import annotations

import html
import re
from dataclasses import asdict, replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from drawn.run_folders import make_run
from drawn.seals import begin_again, reseal
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.data.prepared import find_audit, load_prepared
from diascope.errors import SettingsError
from diascope.metrics.operating_point import OperatingPoint
from diascope.reporting.cards.data_card import data_card, known_problems
from diascope.reporting.cards.markdown import paragraphs, table, words
from diascope.reporting.cards.model_card import model_card
from diascope.reporting.dossier.questions import ANSWERS
from diascope.steps.audit import audit
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.training.run import Run

HOSTILE = (
    "<script>alert(1)</script>",
    "[a](javascript:alert(2)) ![b](https://x.invalid/c.png)",
    "# head",
    "- item",
    "1. one",
    "1) one",
    "> quote",
    "a | b\\| c",
    "`code` ```",
    "*b* _i_ ~~s~~ $x$",
    "&lt;b&gt; &#60;",
    "---",
    "===",
    "+ plus",
    "line\n---\nlicense: mit",
    '": {x: y} # no, &anchor *alias !!python/object',
    "https://example.org/a_b",
)


def seen(markdown: str) -> str:
    """Return what a reader of the rendered Markdown sees, on one line."""
    page = rendered(markdown)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def rendered(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


@pytest.mark.parametrize("text", HOSTILE)
def test_words_stay_words_whatever_stands_in_them(text):
    plain = " ".join(text.split())
    for markdown in (words(text), f"- {words(text)}", table(("h", "k"), [("x", text)])):
        page = rendered(markdown)
        assert plain in seen(markdown)
        assert not re.search(r"<(script|a|img|h\d|code|em|strong|blockquote|hr|ol)\b", page)
    page = rendered(paragraphs(text))
    assert plain in seen(paragraphs(text))
    assert re.fullmatch(r"<p>[^<]*</p>\n", page)
    assert rendered(table(("h", "k"), [("x", text)])).count("<td") == 2


def test_paragraphs_are_kept_and_nothing_is_said_to_be_nothing():
    assert paragraphs("a\nb\n\n \nc") == "a b\n\nc"
    assert "Not stated" in paragraphs("\n \n")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    run = make_run(tmp_path_factory.mktemp("binary"))
    report(run)
    return run


def test_the_hub_reads_the_model_card_as_it_is_meant(run):
    card = ModelCard((run / "bundle" / "README.md").read_text("utf-8"))
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.library_name == "diascope"
    assert (card.data.license, card.data.license_name) == ("other", "not-stated")
    assert card.data.datasets == ["malaria"]
    estimates = Run(run).metrics("test")["estimates"]
    results = {result.metric_type: result for result in card.data.eval_results}
    assert set(card.data.metrics) == set(results)
    for key, kind in (("auroc", "roc_auc"), ("sensitivity", "recall"), ("brier", "brier")):
        assert results[kind].metric_value == pytest.approx(estimates[key]["value"], abs=1e-6)
        low, high = (f"{estimates[key][end]:.3f}" for end in ("low", "high"))
        assert f"[{low}, {high}] (95 % interval" in results[kind].metric_name
        assert results[kind].dataset_split == "test"
        assert results[kind].dataset_type == "malaria"
    assert "patients" in results["roc_auc"].metric_name
    again = ModelCard(str(card))  # as the hub writes it back
    assert again.data.to_dict() == card.data.to_dict()


def test_the_model_card_says_what_was_found_and_what_was_not_said(run):
    text = seen((run / "bundle" / "README.md").read_text("utf-8").split("---\n", 2)[2])
    for one in Run(run).metrics("test")["estimates"].values():
        assert f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" in text
    assert "Not stated." in text
    assert "predicted as parasitized at a probability of 0.5 or more" in text
    assert "Openings of these images: 3." in text
    assert "The probabilities are uncalibrated" in text
    assert "Not a medical device" in text


def test_the_model_card_gives_each_class_its_own_share(tmp_path):
    run = Run(make_run(tmp_path))
    reseal(run.folder / "bundle" / "card.json", prior=[0.7, 0.3])
    assert "uninfected 70.0%, parasitized 30.0%" in seen(model_card(run, {}))


def test_people_state_use_and_licence(tmp_path):
    run = make_run(tmp_path)
    said = {"model_licence": "Apache-2.0", "intended_use": "Triage.\n\nNot for children."}
    (run / ANSWERS).write_text(yaml.safe_dump(said), "utf-8")
    report(run)
    card = ModelCard((run / "bundle" / "README.md").read_text("utf-8"))
    assert card.data.license == "apache-2.0"
    assert "Triage.\n\nNot for children." in card.text
    own = model_card(Run(run), {"model_licence": "Ask\n---\nus: <b>"})
    card = ModelCard(own)
    assert (card.data.license, card.data.license_name) == ("other", "ask-us-b")
    assert "<b>" not in rendered(card.text)


def test_hostile_names_break_neither_front_matter_nor_page(tmp_path):
    classes = ("a\n---\nlicense: mit", '<img src=x onerror="a">', "| x | ](javascript:1)")
    run = Run(make_run(tmp_path, classes=classes))
    facts = run.fingerprint
    facts["card"]["title"] = 'T" : {a: b}\n---\n# <script>alert(1)</script>'
    facts["card"]["modality"] = "- m: [x\n---\n"
    facts["card"]["licence"] = "[free](javascript:alert(1)) <iframe>"
    begin_again(run.folder, fingerprint=facts)
    report(run.folder)
    text = (run.folder / "bundle" / "README.md").read_text("utf-8")
    card = ModelCard(text)
    assert card.data.license == "other"
    assert card.data.eval_results
    data = (run.folder / "data_card.md").read_text("utf-8")
    for page in (rendered(card.text), rendered(data)):
        assert not re.search(r"<(script|img|iframe|a|hr)\b", page)
    head = next(line for line in data.splitlines() if line.startswith("|  |"))
    assert len(re.findall(r"(?<!\\)\|", head)) == len(classes) + 3


def test_a_bundle_is_what_it_was_with_a_card_beside_it(run):
    folder = run / "bundle"
    before = (folder / "card.json").read_bytes()
    first = (folder / "README.md").read_bytes()
    report(run)
    assert (folder / "card.json").read_bytes() == before
    assert (folder / "README.md").read_bytes() == first
    assert Bundle.load(folder).card == Card.load(folder)


def test_figures_of_another_threshold_are_left_out(tmp_path):
    run = Run(make_run(tmp_path))
    card = Card.load(run.network_folders[0])
    point = OperatingPoint("sensitivity", 0.9, 0.95, 0.31, 60, 600, 0.93, "betting")
    moved = card.model_copy(update={"operating_point": point, "threshold": 0.31})
    moved.save(run.network_folders[0])
    text = model_card(run, {})
    assert ModelCard(text).data.eval_results is None
    assert "computed at another threshold" in text
    assert "a mean sensitivity of at least 0.9" in text
    reseal(run.metrics_path("test"), operating_points=[asdict(point)])
    assert ModelCard(model_card(run, {})).data.eval_results


def test_training_lays_a_card_down_and_evaluating_fills_it(trained):
    path = trained.folder / "bundle" / "README.md"
    card = ModelCard(path.read_text("utf-8"))
    assert card.data.eval_results is None
    assert "has not been evaluated on test images" in card.text
    evaluate(trained)
    card = ModelCard(path.read_text("utf-8"))
    assert card.data.eval_results
    metrics = trained.metrics("test")
    found = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert found["accuracy"] == pytest.approx(metrics["estimates"]["accuracy"]["value"], abs=1e-6)
    assert "fitted on" in card.text


def test_bad_answers_stop_an_evaluation_before_test_is_opened(trained, home):
    (trained.folder / ANSWERS).write_text("fundng: x", "utf-8")
    with pytest.raises(SettingsError, match="is it funding"):
        evaluate(trained)
    assert not (home / "ledger").exists()


def test_a_cross_validation_gets_a_data_card_and_no_model_card(tmp_path):
    run = make_run(tmp_path, n_groups=20, n_folds=4)
    report(run)
    assert not list(run.rglob("README.md"))
    text = (run / "data_card.md").read_text("utf-8")
    assert "| fold 4 | 30 / 5 | 15 / 5 | 15 / 5 |" in text
    assert "4 folds by patient" in text


def test_the_data_card_counts_and_names_no_patient(run):
    text = (run / "data_card.md").read_text("utf-8")
    manifest = pl.read_parquet(run / "manifest.parquet")
    part = manifest.filter(pl.col("split") == "test")
    n_positive = (part["label"] == "parasitized").sum()
    n_groups = part["group"].n_unique()
    assert f"| test | {part.height} / {n_groups} | {part.height - n_positive} / {n_groups}" in text
    assert "Zebulon" not in text
    assert "truncated: 2 files" in text
    assert "90 of 27,558 images" in text
    assert "These data were not audited" in text
    assert "Rajaraman" in text


def test_one_sided_groups_are_a_trap(run):
    card = Run(run).dataset
    kinds = {"uninfected and parasitized": 39, "uninfected only": 17}
    facts = {**Run(run).fingerprint, "group_kinds": kinds, "n_tiny": 3}
    found = " ".join(known_problems(card, facts))
    assert "17 patients of 56 have images of one class only" in found
    assert "3 images under 8 px" in found
    all_sided = {**facts, "group_kinds": {"a only": 5, "b only": 6}}
    assert "of one class only" not in " ".join(
        known_problems(card, all_sided)
    )  # a lesion has one class
    alone = replace(card, group_kind="image")
    assert "may lie in several parts" in " ".join(known_problems(alone, facts))


@pytest.mark.slow
def test_an_audit_is_told_by_the_data_card_and_the_report_of_the_same_data(
    evaluated, cells, tmp_path
):
    page = report(evaluated).read_text("utf-8")
    assert 'id="audit"' not in page
    _, facts = audit("malaria", out=tmp_path / "audit")
    beside = (tmp_path / "audit" / "data_card.md").read_text("utf-8")
    assert "72 of 72 images were examined" in beside
    page = html.unescape(report(evaluated).read_text("utf-8"))
    assert 'id="audit"' in page
    text = (evaluated.folder / "data_card.md").read_text("utf-8")
    assert "72 of 72 images were examined" in text
    for headline in facts["headlines"]:
        assert headline in page
        assert headline in seen(text)
    prepared = load_prepared("malaria")
    assert find_audit(prepared.dataset, prepared.manifest) is not None
    other = prepared.manifest.with_columns(label=pl.col("label").shuffle(seed=1))
    assert find_audit(prepared.dataset, other) is None
    prepare("malaria", source=cells, seed=5)  # another split of the same images and labels
    assert find_audit(prepared.dataset, load_prepared("malaria").manifest) is not None


def test_a_card_of_data_without_groups_says_so(run):
    card = replace(Run(run).dataset, group_kind="image")
    manifest = Run(run).manifest
    text = data_card(card, Run(run).fingerprint, manifest)
    assert "not known which of them are from one patient" in text
    assert " / " not in text.split("## Counts")[1].split("##")[0]
