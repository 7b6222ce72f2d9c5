"""The dossier: checklists as data, evidence that is really there, and what people say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from drawn.facts import facts_of, with_parts
from drawn.run_folders import make_run
from typer.testing import CliRunner

from diascope.cli.app import app
from diascope.errors import SettingsError
from diascope.reporting.dossier.checklists import Item, asked_by, find_checklists, find_questions
from diascope.reporting.dossier.dossier import (
    AUTHOR_INPUT,
    LOCATED,
    NOT_APPLICABLE,
    NOT_LOCATED,
    PARTIAL,
    judge,
    section,
)
from diascope.reporting.dossier.pieces import EVIDENCE
from diascope.reporting.dossier.questions import (
    ANSWERS,
    empty_answers,
    open_questions,
    read_answers,
    reason_not_applicable,
)
from diascope.reporting.dossier.told import told_without_asking
from diascope.steps.report import open_questions_of, report
from diascope.training.run import Run

ROWS = {"CLAIM 2024": 44, "TRIPOD+AI": 52, "STARD-AI": 48}  # 8a, 8b and 8c are three


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("binary"))


@pytest.fixture(scope="module")
def facts(run):
    return facts_of(run)


def state_of(facts, name: str, number: str, **answers: str) -> dict:
    checklist = next(one for one in find_checklists() if one.name == name)
    item = next(one for one in checklist.items if one.number == number)
    return judge(item, facts, answers)


def n_answered(facts) -> int:
    tables = section(facts)["checklists"]
    return sum(dict(one["counts"])[LOCATED] for one in tables)


@pytest.mark.parametrize("checklist", find_checklists(), ids=lambda one: one.name)
def test_a_checklist_has_all_its_items_in_order_and_only_keys_that_exist(checklist):
    numbers = [item.number for item in checklist.items]
    parts = [re.fullmatch(r"(\d+)([a-z]?)", number).groups() for number in numbers]
    assert [(int(n), letter) for n, letter in parts] == sorted({(int(n), a) for n, a in parts})
    assert [int(n) for n in dict.fromkeys(n for n, _ in parts)] == [
        *range(1, checklist.n_items + 1)
    ]
    assert len(numbers) == ROWS[checklist.name]
    for item in checklist.items:
        assert {*item.evidence, *item.see} <= set(EVIDENCE)
        assert set(item.human) <= set(find_questions())
        assert not item.not_applicable or item.not_applicable.unless in {"", *EVIDENCE}
        assert len(item.text) <= 80  # in words of our own, and short


def test_every_question_is_asked_by_an_item_but_that_of_the_model_card():
    assert [key for key in find_questions() if not asked_by(key)] == ["model_licence"]
    assert asked_by("funding") == "CLAIM 2024 44; STARD-AI 38; TRIPOD+AI 18a"


def test_whatever_is_linked_to_is_in_the_page(run, facts):
    page = report(run).read_text("utf-8")
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= ids
    assert {one.anchor for one in EVIDENCE.values() if one.is_there(facts)} <= ids
    assert len(re.findall(r'\bid="', page)) == len(ids)


def test_what_was_not_tested_is_not_answered(tmp_path, facts):
    only_val = facts_of(make_run(tmp_path, only_val=True))
    assert n_answered(only_val) < n_answered(facts)
    for number in ("28", "32", "38", "39"):
        assert state_of(facts, "CLAIM 2024", number)["state"] == LOCATED
        row = state_of(only_val, "CLAIM 2024", number)
        assert row["state"] in (PARTIAL, NOT_LOCATED)
        assert "The run was not evaluated on test: run diascope evaluate." in row["notes"]


def test_evidence_that_a_run_lacks_is_not_claimed(facts):
    assert state_of(facts, "CLAIM 2024", "23")["state"] == NOT_LOCATED  # python, torch unknown
    known = {**facts.provenance, "python": "3.12", "torch": "2.9"}
    assert state_of(with_parts(facts, provenance=known), "CLAIM 2024", "23")["state"] == LOCATED
    assert state_of(with_parts(facts, epochs=[]), "CLAIM 2024", "26")["state"] == NOT_LOCATED
    assert state_of(facts, "TRIPOD+AI", "12e")["state"] == PARTIAL  # no calibration in these
    alone = with_parts(facts, metrics={**facts.metrics, "group_kind": "image"})
    assert state_of(alone, "CLAIM 2024", "35")["state"] == PARTIAL
    bare = {key: {**one, "low": None} for key, one in facts.metrics["estimates"].items()}
    unsure = with_parts(facts, metrics={**facts.metrics, "estimates": bare})
    assert state_of(unsure, "STARD-AI", "31")["state"] == PARTIAL


def test_an_external_test_is_said_not_to_be_done_until_it_is(tmp_path):
    run = make_run(tmp_path)
    row = state_of(facts_of(run), "CLAIM 2024", "33")
    assert (row["state"], row["links"]) == (NOT_LOCATED, [])
    assert "diascope evaluate RUN --on DATA" in row["notes"][0]
    assert row["notes"][1] == "Or to be answered: external_data."
    Run(run).predictions("test").save(Run(run).predictions_path("on-elsewhere"))
    Run(run).save_metrics("on-elsewhere", Run(run).metrics("test"))
    row = state_of(facts_of(run), "CLAIM 2024", "33")
    assert row["state"] == LOCATED
    assert row["links"] == [{"anchor": "external", "title": "external data"}]
    assert 'id="external"' in report(run).read_text("utf-8")


def test_what_is_there_besides_is_linked_to_and_not_asked_for(facts):
    row = state_of(facts, "CLAIM 2024", "28")
    assert (row["state"], [link["anchor"] for link in row["links"]]) == (LOCATED, ["results"])
    judged = {**facts.metrics, "controls": {"network": {}}}
    row = state_of(with_parts(facts, metrics=judged), "CLAIM 2024", "28")
    assert [link["anchor"] for link in row["links"]] == ["results", "controls"]
    none = {**facts.metrics, "controls": {"why_not": "too few"}}
    assert len(state_of(with_parts(facts, metrics=none), "CLAIM 2024", "28")["links"]) == 1
    own = with_parts(
        facts, dataset=replace(facts.dataset, citation="", homepage="")
    )  # of one's own data
    said = {"data_collection": "Routine."}
    assert state_of(own, "STARD-AI", "11", **said)["state"] == LOCATED
    assert state_of(own, "CLAIM 2024", "7", **said)["state"] == LOCATED
    assert state_of(own, "CLAIM 2024", "7")["state"] == NOT_LOCATED


def test_people_answer_what_they_are_asked(facts):
    row = state_of(facts, "CLAIM 2024", "44")
    assert (row["state"], row["notes"]) == (AUTHOR_INPUT, ["To be answered: funding."])
    row = state_of(facts, "CLAIM 2024", "44", funding="A grant.")
    assert (row["state"], row["links"][0]["anchor"]) == (LOCATED, "answer-funding")
    row = state_of(facts, "CLAIM 2024", "44", funding="Not applicable: nobody paid.")
    assert row["state"] == NOT_APPLICABLE
    both = {"background": "Malaria.", "intended_use": "Triage."}
    assert state_of(facts, "CLAIM 2024", "3", background="Malaria.")["state"] == PARTIAL
    assert state_of(facts, "CLAIM 2024", "3", **both)["state"] == LOCATED
    reason = {"external_data": "There are none of this stain."}
    assert state_of(facts, "CLAIM 2024", "33", **reason)["state"] == LOCATED
    spared = state_of(facts, "CLAIM 2024", "33", external_data="not applicable: none there")
    assert spared["state"] == LOCATED  # an item that wants evidence is not waved away


def test_an_ensemble_is_not_applicable_where_there_is_none(facts):
    assert state_of(facts, "CLAIM 2024", "27")["state"] == NOT_APPLICABLE
    joined = with_parts(facts, plan=facts.run.plan.changed("a test", members=3))
    assert state_of(joined, "CLAIM 2024", "27")["state"] == LOCATED


def test_an_item_that_nothing_can_answer_is_refused():
    with pytest.raises(ValueError, match="nothing answers item 3"):
        Item(number="3", text="Something")


def test_the_file_of_questions_is_written_once_and_never_again(tmp_path):
    run = make_run(tmp_path)
    first = report(run).read_text("utf-8")
    assert (run / ANSWERS).read_text("utf-8") == empty_answers(told_without_asking(facts_of(run)))
    assert report(run).read_text("utf-8") == first
    said = 'funding: "A grant of the university."\n# mine\n'
    (run / ANSWERS).write_text(said, "utf-8")
    page = report(run).read_text("utf-8")
    assert (run / ANSWERS).read_text("utf-8") == said
    assert '<a href="#answer-funding">Funding</a>' in page
    assert "A grant of the university." in page


def test_the_file_of_questions_can_be_read_and_has_no_answers(tmp_path):
    path = tmp_path / ANSWERS
    path.write_text(empty_answers(), "utf-8")
    assert list(yaml.safe_load(empty_answers())) == list(find_questions())
    assert read_answers(path) == {}
    assert open_questions({}) == list(find_questions())
    path.write_text(empty_answers().replace('funding: ""', "funding: |\n  A.\n\n  B."), "utf-8")
    assert read_answers(path) == {"funding": "A.\n\nB."}
    assert len(open_questions(read_answers(path))) == len(find_questions()) - 1
    path.write_text("funding:\nethics: 'x\0'\n".replace("'x\0'", '"x\\0y"'), "utf-8")
    assert read_answers(path) == {"ethics": "xy"}
    for empty in ("", "# nothing\n", "{}"):
        path.write_text(empty, "utf-8")
        assert read_answers(path) == {}
    assert read_answers(tmp_path / "none.yaml") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fundng: x", r"'fundng' is not a question \(is it funding\?\)"),
        ("funding: 3\nethics: [a]", r"funding is not text: .*; the answer to ethics is not text"),
        ("setting: 2020-01-02", "setting is not text: put it in quotes"),
        ("funding: a\nfunding: b", "funding is there twice"),
        ("ethics: 'not applicable'", "ethics is marked not applicable without a reason"),
        ("- funding", "not a list of `key: answer`"),
        ("funding: 'x", "not valid YAML, in line"),
        ("funding: a: b", "not valid YAML, in line 1"),
        ("funding: !!python/object/apply:os.system ['touch pwned']", "not valid YAML"),
        ("? [a]\n: b", "not valid YAML|not a question"),
        ("[" * 5000, "not valid YAML|cannot be read"),
    ],
)
def test_bad_answers_give_one_message(tmp_path, content, words):
    path = tmp_path / ANSWERS
    path.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=words) as error:
        read_answers(path)
    assert f"where: {path}" in str(error.value)
    assert "do: " in str(error.value)


def test_answers_that_are_no_text_file_give_one_message(tmp_path):
    (tmp_path / ANSWERS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_answers(tmp_path / ANSWERS)
    (tmp_path / ANSWERS).write_bytes(b"#" * 1_000_001)
    with pytest.raises(SettingsError, match="too large"):
        read_answers(tmp_path / ANSWERS)
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        read_answers(tmp_path / "folder.yaml")


def test_the_command_says_how_many_are_open_and_refuses_bad_answers(tmp_path):
    run = make_run(tmp_path)
    done = CliRunner().invoke(app, ["report", str(run)])
    n_questions = len(open_questions_of(run))
    assert f"{n_questions} questions of the dossier open" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == str(run / "report.html")
    (run / ANSWERS).write_text("funding: a grant\n", "utf-8")
    said = CliRunner().invoke(app, ["report", str(run)]).stdout
    assert f"{n_questions - 1} questions of the dossier open" in " ".join(said.split())
    (run / ANSWERS).write_text("fundng: a grant\n", "utf-8")
    with pytest.raises(SettingsError, match="is it funding"):
        report(run)


def test_what_people_say_stays_words_and_names_no_patient(tmp_path):
    run = make_run(tmp_path)
    hostile = '</p><script>alert(1)</script>{{ 7 * 7 }} " onclick=x Zebulon004 said so'
    (run / ANSWERS).write_text(yaml.safe_dump({"funding": hostile}), "utf-8")
    page = report(run).read_text("utf-8")
    assert "<script" not in page
    assert "{{ 7 * 7 }}" in page
    assert "Zebulon" not in page
    assert "Zebulon" in report(run, show_ids=True).read_text("utf-8")


def test_a_cross_validation_has_a_dossier_and_says_that_it_yields_no_network(tmp_path):
    run = make_run(tmp_path, n_groups=20, n_folds=4)
    facts = facts_of(run)
    assert state_of(facts, "CLAIM 2024", "32")["state"] == LOCATED
    row = state_of(facts, "TRIPOD+AI", "22")
    assert row["state"] == PARTIAL
    assert "yields no network" in row["notes"][0]
    page = report(run).read_text("utf-8")
    assert 'id="dossier"' in page
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'\bid="([^"]+)"', page))


def test_a_run_that_was_really_evaluated_answers_more(evaluated):
    facts = facts_of(evaluated.folder)
    for name, number in (("TRIPOD+AI", "12e"), ("CLAIM 2024", "23"), ("STARD-AI", "40b")):
        assert state_of(facts, name, number)["state"] == LOCATED
    page = report(evaluated).read_text("utf-8")
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert {one.anchor for one in EVIDENCE.values() if one.is_there(facts)} <= ids
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    assert json.loads(evaluated.metrics_path("test").read_text())["split"] == "test"


def test_reasons_are_asked_for_where_something_does_not_apply():
    assert reason_not_applicable("NOT APPLICABLE : cells") == "cells"
    assert reason_not_applicable("not applicable:") == ""
    assert reason_not_applicable("It is not applicable: no") == ""
