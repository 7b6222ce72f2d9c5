"""Titles of classes: shown to people, while tables that are read again keep the keys."""

from __future__ import annotations

import html
import re

import polars as pl
import pytest
from drawn.facts import facts_of, with_parts
from drawn.run_folders import make_run

from diascope.data.prepared import load_prepared
from diascope.datasets import ham10000
from diascope.datasets.isic_tables import CLASS_TITLES, CLASSES
from diascope.reporting.class_titles import titled_fingerprint
from diascope.reporting.dossier.told import THIS_RUN, told_without_asking
from diascope.reporting.report import data
from diascope.reporting.report.characteristics import characteristics
from diascope.reporting.template import fill_template
from diascope.steps import show
from diascope.steps.audit import audit
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.system.plugins import find
from diascope.training.run import Run


@pytest.fixture
def lesions(tmp_path):
    """Prepare the miniature of HAM10000."""
    ham10000.fake(tmp_path / "ham")
    return prepare("ham10000", source=tmp_path / "ham", near_duplicates=False)


def words_of(page: str) -> set[str]:
    """Return the words outside of code, pictures and style."""
    text = re.sub(r"(?s)<(style|script|svg|code).*?</\1>|<[^>]*>", " ", page)
    return set(re.findall(r"[\w/']+", html.unescape(text)))


def test_the_report_says_melanoma_and_gives_the_key_once(tmp_path):
    run = make_run(tmp_path, data="ham10000", classes=CLASSES)
    page = report(run).read_text("utf-8")
    for key, title in CLASS_TITLES.items():
        assert html.escape(title, quote=False).replace("'", "&#39;") in page
        assert f"<code>{key}</code>" in page
        assert key not in words_of(page)
    facts = facts_of(run)
    assert set(facts.metrics["per_class"]) == set(CLASS_TITLES.values()) == set(facts.classes)
    assert set(Run(run).metrics("test")["per_class"]) == set(CLASSES)  # the file keeps the keys


def test_the_cards_give_both(tmp_path):
    run = make_run(tmp_path, data="ham10000", classes=CLASSES)
    report(run)
    card = (run / "data_card.md").read_text("utf-8")
    assert "- mel: melanoma" in card
    head = next(line for line in card.splitlines() if line.startswith("|  |"))
    assert "melanocytic naevus" in head
    assert " nv " not in head


def test_a_binary_positive_class_has_its_title(tmp_path):
    run = make_run(tmp_path, data="breast_idc", classes=("no_idc", "idc"))
    page = report(run).read_text("utf-8")
    assert "labelled invasive ductal carcinoma were predicted as invasive ductal carcinoma" in page
    assert "no_idc" not in words_of(page)


def test_an_audit_shows_titles_and_its_table_of_suspects_keeps_keys(lesions, tmp_path):
    page, facts = audit("ham10000", out=tmp_path / "audit")
    text = page.read_text("utf-8")
    assert "melanoma" in text
    assert not {"mel", "nv", "akiec"} & words_of(text)
    assert facts["classes"] == list(CLASSES)
    if (tmp_path / "audit" / "suspects.csv").is_file():
        table = pl.read_csv(tmp_path / "audit" / "suspects.csv")
        assert set(table["label"]) | set(table["suggested"]) <= set(CLASSES)
    assert "- mel: melanoma" in (tmp_path / "audit" / "data_card.md").read_text("utf-8")


def test_show_draws_the_classes_by_their_titles(lesions):
    view = show._view(load_prepared("ham10000"), ("train", "val"), show_ids=False)
    assert set(view.classes) == set(CLASS_TITLES.values())
    assert set(view.rows["label"]) <= set(CLASS_TITLES.values())


def test_age_and_sex_are_listed_by_split(tmp_path):
    facts = facts_of(make_run(tmp_path))
    n_images = facts.manifest.height
    sexes = [("female", "male", "unknown")[row % 3] for row in range(n_images)]
    ages = [None if row % 10 == 0 else f"{20 + row % 50}.0" for row in range(n_images)]
    known = with_parts(
        facts,
        manifest=facts.manifest.with_columns(sex=pl.Series(sexes), age=pl.Series(ages)),
    )
    columns, rows = characteristics(known.manifest, "image")
    assert columns == ["train", "val", "test", "all"]
    of_all = {row.name: row.texts[-1] for row in rows if row.texts}
    assert of_all["female"] == "30 (50.0 %)"
    assert re.fullmatch(r"\d+ \[\d+, \d+\], 2\d to 69", of_all["median [quartiles], range"])
    assert [row.texts[-1] for row in rows if row.name == "missing"] == ["9 (10.0 %)", "30 (33.3 %)"]
    assert characteristics(facts.manifest, "patient")[1] == []
    page = fill_template("report/data.html.j2", facts=known, **data.section(known))
    assert "age, years" in page
    assert told_without_asking(known)["characteristics"].source == THIS_RUN
    assert not told_without_asking(facts)["characteristics"].is_reported


def test_kinds_of_group_and_corrections_bear_titles():
    card = find("datasets", "ham10000").card
    facts = {
        "group_kinds": {"mel only": 3, "mel and nv": 1, "every class": 2},
        "labels": {
            "tables": [],
            "changed": [{"split": "train", "label": "mel", "new_label": "nv", "n_images": 1}],
            "excluded": [{"split": "val", "label": "df", "n_images": 1}],
        },
    }
    titled = titled_fingerprint(facts, card)
    assert titled["group_kinds"] == {
        "melanoma only": 3,
        "melanoma and melanocytic naevus": 1,
        "every class": 2,
    }
    assert titled["labels"]["changed"][0]["new_label"] == "melanocytic naevus"
    assert titled["labels"]["excluded"][0]["label"] == "dermatofibroma"
