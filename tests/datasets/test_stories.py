"""The stories of published data sets: known questions, each answer with its source, titles."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from drawn.facts import facts_of, with_parts
from drawn.run_folders import make_run

from diascope.data.spec import DatasetCard
from diascope.data.story import NOT_REPORTED, find_questions
from diascope.datasets.isic_tables import CLASSES
from diascope.errors import DataError
from diascope.reporting.dossier.dossier import LOCATED, NOT_APPLICABLE, section
from diascope.reporting.dossier.questions import ANSWERS
from diascope.steps.report import open_questions_of, report
from diascope.system.plugins import find, find_all

PUBLISHED = {name: spec for name, spec in find_all("datasets").items() if name != "synthetic"}
REFERENCE = {
    "malaria": ("uninfected", "parasitized"),
    "breast_idc": ("no_idc", "idc"),
    "ham10000": CLASSES,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_answer_is_to_a_question_and_has_its_source(name):
    story = PUBLISHED[name].story
    assert set(story) <= set(find_questions())
    for key, one in story.items():
        assert re.search(r"https?://\S+\.\S+", one.source), key
        assert one.text == NOT_REPORTED or one.text.endswith("."), key
    wanted = {"acquisition", "reference_standard", "deidentification", "missing_data"}
    wanted |= {"data_selection", "study_design"}
    short = {"isic2018_test": {"data_selection"}, "tissuemnist": {"acquisition"}}
    assert wanted - short.get(name, set()) <= set(story)


@pytest.mark.parametrize("name", REFERENCE)
def test_a_card_with_a_story_survives_its_file(name):
    card = find("datasets", name).card
    assert {"eligibility", "annotators", "annotation_agreement"} <= set(card.story)
    assert DatasetCard.from_dict(card.as_dict()) == card
    for damaged in ({"story": {"ethics": "x"}}, {"story": {"ethics": {"text": 3}}}):
        with pytest.raises(DataError, match="damaged"):
            DatasetCard.from_dict({**card.as_dict(), **damaged})


def test_titles_are_of_classes_and_differ():
    for spec in PUBLISHED.values():
        titles = [spec.title_of(name) for name in spec.task.classes]
        assert set(spec.class_titles) <= set(spec.task.classes)
        assert len(set(titles)) == len(titles)
    assert find("datasets", "ham10000").title_of("mel") == "melanoma"
    assert find("datasets", "breast_idc").title_of("idc") == "invasive ductal carcinoma"


@pytest.mark.parametrize(("name", "classes"), REFERENCE.items())
def test_the_report_of_a_reference_problem_answers_most_of_claim_by_itself(name, classes, tmp_path):
    facts = facts_of(make_run(tmp_path, data=name, classes=classes))
    facts = with_parts(facts, provenance={**facts.provenance, "python": "3", "torch": "2"})
    claim = next(one for one in section(facts)["checklists"] if one["name"] == "CLAIM 2024")
    counts = dict(claim["counts"])
    assert counts[LOCATED] >= 0.6 * (44 - counts[NOT_APPLICABLE])


def test_what_is_not_reported_answers_nothing_and_is_said(tmp_path):
    run = make_run(tmp_path, data="breast_idc", classes=REFERENCE["breast_idc"])
    claim = next(one for one in section(facts_of(run))["checklists"] if one["name"] == "CLAIM 2024")
    rows = {row["number"]: row for part in claim["sections"] for row in part["rows"]}
    assert rows["18"]["state"] == "author input"
    assert "Not reported by the publisher of the data: annotation_agreement." in rows["18"]["notes"]
    assert "annotation_agreement" in open_questions_of(run)
    assert "acquisition" not in open_questions_of(run)
    (run / ANSWERS).write_text('annotation_agreement: "Kappa 0.8."\n', "utf-8")
    assert "annotation_agreement" not in open_questions_of(run)


def test_the_report_and_the_card_tell_the_story_with_its_sources(tmp_path):
    run = make_run(tmp_path)
    page = report(run).read_text("utf-8")
    assert "Source: Rajaraman et al., PeerJ" in page
    assert 'id="answer-acquisition"' in page
    card = (run / "data_card.md").read_text("utf-8")
    assert "**Acquisition.** Giemsa-stained thin blood smears" in card
    assert "https://doi.org/10.7717/peerj.4568" in card
    assert "**Recruitment.** Not reported. (Source: Rajaraman" in card
    assert "# Known: Giemsa-stained" in (run / ANSWERS).read_text("utf-8")
    (run / ANSWERS).write_text('acquisition: "With our own microscope."\n', "utf-8")
    page = report(run).read_text("utf-8")
    assert "With our own microscope." in page
    assert "Giemsa-stained thin blood smears on" not in page


def test_a_run_of_data_without_a_story_claims_none(tmp_path):
    facts = facts_of(make_run(tmp_path))
    own = with_parts(facts, dataset=replace(facts.dataset, story={}))
    assert section(own)["answered"] == []
