"""The ledger: no opening is lost, torn or counted by looking, and damage is said."""

from __future__ import annotations

import json

import pytest

from diascope.data.ledger import Head, count_openings, is_continued, read_head, record_opening
from diascope.data.manifest import images_digest
from diascope.errors import RunError

OURS, THEIRS = ["a" * 64, "b" * 64], ["a" * 64, "c" * 64]
OPENED = {"run": "runs/r", "weights": "w", "moment": "2026-01-01"}


@pytest.fixture
def journal(tmp_path):
    """Return the journal of a ledger with two openings of the same images."""
    for weights in ("v", "w"):
        record_opening(tmp_path, OURS, **{**OPENED, "weights": weights})
    return tmp_path / "openings.jsonl"


@pytest.mark.parametrize(
    ("n_lost", "n_same", "n_models"),
    [(1, 3, 2), (2, 3, 2), (30, 3, 2), (100, 2, 2)],
    ids=["line end", "brace", "weights", "images"],
)
def test_a_torn_last_line_goes_on_counting_where_its_images_are_known(
    journal, n_lost, n_same, n_models
):
    journal.write_bytes(journal.read_bytes()[:-n_lost])
    for n_more in (0, 1):
        found = record_opening(journal.parent, OURS, **OPENED)
        assert (found.same_images, found.models) == (n_same + n_more, n_models)
    assert len(journal.read_text().splitlines()) == 4


@pytest.mark.parametrize("damage", [b"{\n", b"\xff\x00\n", b"[]\n", b'{"images": 1}\n'])
def test_a_damaged_line_is_an_error_that_names_it_and_nothing_is_recorded(journal, damage):
    journal.write_bytes(damage + journal.read_bytes())
    before = journal.read_bytes()
    with pytest.raises(RunError, match=r"Line 1 .*\n.*openings.jsonl\n.*do:"):
        record_opening(journal.parent, OURS, **OPENED)
    assert journal.read_bytes() == before


def test_a_missing_list_of_images_is_an_error_and_nothing_is_recorded(journal):
    (journal.parent / f"{images_digest(OURS)}.images").unlink()
    before = journal.read_bytes()
    with pytest.raises(RunError, match=r"missing or damaged.*\n.*images\n.*manifest of runs/r"):
        record_opening(journal.parent, THEIRS, **OPENED)
    assert journal.read_bytes() == before
    assert record_opening(journal.parent, OURS, **OPENED).same_images == 3


def test_counting_is_no_opening(journal):
    before = journal.read_bytes()
    found = count_openings(journal.parent, OURS, run="runs/r")
    assert found is not None
    assert found.as_dict() == {"this_run": 2, "same_images": 2, "models": 2, "overlapping": 0}
    some = count_openings(journal.parent, THEIRS, run="runs/r")
    assert some is not None
    assert (some.same_images, some.overlapping) == (0, 2)
    assert journal.read_bytes() == before
    assert count_openings(journal.parent, ["d" * 64], run="runs/r") is None
    assert count_openings(journal.parent / "none", OURS, run="runs/r") is None


def test_a_head_tells_a_ledger_that_went_on_from_one_that_was_cut_or_written_anew(journal):
    folder, content = journal.parent, journal.read_bytes()
    head = read_head(folder)
    assert head.n_lines == 2
    assert Head.from_dict(json.loads(json.dumps(head.as_dict()))) == head
    assert is_continued(folder, head)
    record_opening(folder, THEIRS, **OPENED)
    assert is_continued(folder, head)
    for forged in (content.splitlines(keepends=True)[0], content.replace(b'"v"', b'"x"'), b""):
        journal.write_bytes(forged)
        assert not is_continued(folder, head)
    journal.unlink()
    assert not is_continued(folder, head)
    assert is_continued(folder, read_head(folder))


def test_a_head_that_was_taken_of_a_torn_ledger_holds_when_the_line_is_completed(journal):
    journal.write_bytes(journal.read_bytes()[:-2])
    head = read_head(journal.parent)
    assert head.n_lines == 1
    record_opening(journal.parent, OURS, **OPENED)
    assert is_continued(journal.parent, head)


def test_a_changed_line_breaks_the_chain_and_nothing_is_recorded(journal):
    journal.write_bytes(journal.read_bytes().replace(b'"weights": "v"', b'"weights": "u"'))
    before = journal.read_bytes()
    with pytest.raises(RunError, match=r"line 2 does not follow.*\n.*openings.jsonl\n.*do:"):
        record_opening(journal.parent, OURS, **OPENED)
    with pytest.raises(RunError, match="line 2 does not follow"):
        count_openings(journal.parent, OURS, run="runs/r")
    assert journal.read_bytes() == before


def test_the_openings_say_by_which_run_and_command(tmp_path):
    record_opening(tmp_path, OURS, **OPENED)
    found = record_opening(tmp_path, OURS, **OPENED, command="diascope evaluate runs/r")
    assert [(one.run, one.command) for one in found.by] == [
        ("runs/r", ""),
        ("runs/r", "diascope evaluate runs/r"),
    ]


def test_a_line_without_a_link_to_those_before_is_damaged(journal):
    first, second = map(json.loads, journal.read_text().splitlines())
    del second["previous"]
    journal.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    with pytest.raises(RunError, match="Line 2 of the ledger is damaged"):
        record_opening(journal.parent, OURS, **OPENED)
