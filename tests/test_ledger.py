"""The ledger: no opening is lost, torn or counted by looking, and damage is said."""

from __future__ import annotations

import json

import pytest

from diascope.data.manifest import images_digest
from diascope.errors import RunError
from diascope.ledger import Head, count_openings, is_continued, read_head, record_opening

OURS, THEIRS = ["a" * 64, "b" * 64], ["a" * 64, "c" * 64]
WISHES = {"run": "runs/r", "weights": "w", "moment": "2026-01-01"}


@pytest.fixture
def journal(tmp_path):
    """Return the journal of a ledger with two openings of the same images."""
    for weights in ("v", "w"):
        record_opening(tmp_path, OURS, **{**WISHES, "weights": weights})
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
        found = record_opening(journal.parent, OURS, **WISHES)
        assert (found.same_images, found.models) == (n_same + n_more, n_models)
    assert len(journal.read_text().splitlines()) == 4


@pytest.mark.parametrize("damage", [b"{\n", b"\xff\x00\n", b"[]\n", b'{"images": 1}\n'])
def test_a_damaged_line_is_an_error_that_names_it_and_nothing_is_recorded(journal, damage):
    journal.write_bytes(damage + journal.read_bytes())
    before = journal.read_bytes()
    with pytest.raises(RunError, match=r"Line 1 .*\n.*openings.jsonl\n.*do:"):
        record_opening(journal.parent, OURS, **WISHES)
    assert journal.read_bytes() == before


def test_a_missing_list_of_images_is_an_error_and_nothing_is_recorded(journal):
    (journal.parent / f"{images_digest(OURS)}.images").unlink()
    before = journal.read_bytes()
    with pytest.raises(RunError, match=r"missing or damaged.*\n.*images\n.*manifest of runs/r"):
        record_opening(journal.parent, THEIRS, **WISHES)
    assert journal.read_bytes() == before
    assert record_opening(journal.parent, OURS, **WISHES).same_images == 3


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
    record_opening(folder, THEIRS, **WISHES)
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
    record_opening(journal.parent, OURS, **WISHES)
    assert is_continued(journal.parent, head)


def test_a_changed_line_breaks_the_chain_and_nothing_is_recorded(journal):
    journal.write_bytes(journal.read_bytes().replace(b'"weights": "v"', b'"weights": "u"'))
    before = journal.read_bytes()
    with pytest.raises(RunError, match=r"line 2 does not follow.*\n.*openings.jsonl\n.*do:"):
        record_opening(journal.parent, OURS, **WISHES)
    with pytest.raises(RunError, match="line 2 does not follow"):
        count_openings(journal.parent, OURS, run="runs/r")
    assert journal.read_bytes() == before


def test_lines_from_before_the_chain_are_taken_in_and_protected_from_then_on(tmp_path):
    journal = tmp_path / "openings.jsonl"
    old = {"moment": "2025", "images": images_digest(OURS), "run": "runs/old", "weights": "v"}
    journal.write_text(json.dumps(old) + "\n")
    (tmp_path / f"{images_digest(OURS)}.images").write_text("a" * 16 + "\n" + "b" * 16 + "\n")
    found = record_opening(tmp_path, OURS, **WISHES, command="diascope evaluate runs/r")
    assert [(one.run, one.command) for one in found.by] == [
        ("runs/old", ""),
        ("runs/r", "diascope evaluate runs/r"),
    ]
    journal.write_text(journal.read_text().replace("runs/old", "runs/new"))
    with pytest.raises(RunError, match="line 2 does not follow"):
        record_opening(tmp_path, OURS, **WISHES)
