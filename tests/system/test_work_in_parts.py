"""Work in parts: whoever begins again does what is left, and nothing twice."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from filelock import FileLock

from diascope.errors import RunError
from diascope.system.parts import LOCK, Parts, open_parts, read_parts


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path / "parts", {"images": "abc", "model": "m"}, n_items=10, size=4)


def finish(parts, number):
    parts.path(number).write_text(f"part {number}")
    parts.seal(number, ".parquet", facts={"n_errors": number})


def left(parts):
    return [number for number in parts.numbers if parts.facts(number) is None]


def test_every_item_is_in_one_part(parts):
    items = list(range(10))
    cut = [items[parts.items(number)] for number in parts.numbers]
    assert cut == [items[:4], items[4:8], items[8:]]


def test_what_is_finished_is_not_left(parts):
    with open_parts(parts):
        finish(parts, 1)
        assert left(parts) == [0, 2]
        assert parts.facts(1) == {"n_errors": 1}
    with open_parts(parts):
        assert left(parts) == [0, 2]


@pytest.mark.parametrize("name", ["part-00001.parquet", "part-00001.json"])
def test_a_damaged_part_is_left_to_do(parts, name):
    with open_parts(parts):
        finish(parts, 1)
        path = parts.folder / name
        path.write_bytes(path.read_bytes().replace(b"1", b"2"))
        assert left(parts) == [0, 1, 2]
        path.unlink()
        assert left(parts) == [0, 1, 2]


def test_a_part_under_the_name_of_another_is_left_to_do(parts):
    with open_parts(parts):
        finish(parts, 1)
        for suffix in (".parquet", ".json"):
            parts.path(2, suffix).write_bytes(parts.path(1, suffix).read_bytes())
        assert left(parts) == [0, 2]


def test_a_part_of_another_job_is_left_to_do(parts, tmp_path):
    other = replace(parts, folder=tmp_path / "other", about={"images": "abd", "model": "m"})
    for one in (parts, other):
        with open_parts(one):
            finish(one, 0)
    parts.path(0, ".json").write_bytes(other.path(0, ".json").read_bytes())
    assert left(parts) == [0, 1, 2]


def test_the_folder_of_another_job_is_refused_until_it_may_be_replaced(parts):
    with open_parts(parts):
        finish(parts, 0)
    other = replace(parts, about={**parts.about, "images": "abd"}, n_items=11)
    with pytest.raises(RunError, match="another job: other n_items, images"), open_parts(other):
        pass
    assert left(parts) == [1, 2]
    with open_parts(other, overwrite=True):
        assert left(other) == [0, 1, 2]
    assert sorted(path.name for path in parts.folder.iterdir()) == [LOCK, "parts.json"]


def test_a_job_that_finished_no_part_is_in_nobodys_way(parts):
    with open_parts(parts):
        pass
    other = replace(parts, about={**parts.about, "images": "abd"})
    with open_parts(other):
        other.check_seen()


def test_a_folder_of_something_else_is_never_touched(parts):
    parts.folder.mkdir()
    (parts.folder / "precious.txt").write_text("mine")
    for overwrite in (False, True):
        with (
            pytest.raises(RunError, match="not a folder of parts"),
            open_parts(parts, overwrite=overwrite),
        ):
            pass
    assert [path.name for path in parts.folder.iterdir()] == ["precious.txt"]
    is_file = replace(parts, folder=parts.folder / "precious.txt")
    with pytest.raises(RunError, match="a file where"), open_parts(is_file):
        pass


def test_files_of_others_stay_where_parts_are_removed(parts):
    with open_parts(parts):
        finish(parts, 0)
        (parts.folder / "notes.txt").write_text("mine")
    parts.remove()
    assert [path.name for path in parts.folder.iterdir()] == ["notes.txt"]
    (parts.folder / "notes.txt").unlink()
    parts.remove()
    assert not parts.folder.exists()


def test_only_one_process_works_in_a_folder(parts):
    parts.folder.mkdir()
    with (
        FileLock(parts.folder / LOCK),
        pytest.raises(RunError, match="Another process is at work"),
        open_parts(parts),
    ):
        pass
    with open_parts(parts):
        pass


def test_what_a_killed_process_left_half_written_goes(parts):
    with open_parts(parts):
        pass
    (parts.folder / ".part-00001.parquet.0a1b2c3d").write_text("half")
    with open_parts(parts):
        assert not list(parts.folder.glob(".part-*"))


def test_a_changed_plan_is_refused(parts):
    with open_parts(parts):
        pass
    path = parts.folder / "parts.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "n_items": 9}))
    with pytest.raises(RunError, match="damaged"), open_parts(parts):
        pass


def test_a_process_that_sees_another_folder_says_so(parts, tmp_path):
    with open_parts(parts):
        parts.check_seen()
        with pytest.raises(RunError, match="Another job is in this folder"):
            replace(parts, n_items=11).check_seen()
        with pytest.raises(RunError, match=r"parts\.json is missing"):
            replace(parts, folder=tmp_path / "elsewhere").check_seen()


def test_to_overwrite_goes_on_with_the_same_job_and_begins_a_finished_one_anew(parts):
    with open_parts(parts, overwrite=True):
        finish(parts, 0)
    with open_parts(parts, overwrite=True):
        assert left(parts) == [1, 2]
        finish(parts, 1)
        finish(parts, 2)
    with open_parts(parts, overwrite=True):
        assert left(parts) == [0, 1, 2]


def test_a_finished_job_is_read_and_another_is_refused(parts):
    with open_parts(parts):
        for number in (0, 2):
            finish(parts, number)
        with pytest.raises(RunError, match="1 of 3 parts are missing or damaged"):
            read_parts(parts.folder)
        finish(parts, 1)
    assert read_parts(parts.folder) == [parts.path(number) for number in range(3)]
    with pytest.raises(RunError, match="not a folder of parts"):
        read_parts(parts.folder.parent)
