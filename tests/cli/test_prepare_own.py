"""`diascope prepare` and `predict` on the user's own files, as they are typed."""

from __future__ import annotations

import json

import pytest
from drawn.own_images import draw_folder, draw_table, picture

from diascope.steps.predict import predict


@pytest.mark.parametrize(
    "words",
    [
        ["--column", "group=patient_id", "label=dx", "path=file"],
        ["--column", "group=patient_id", "--column", "label=dx", "--column", "path=file"],
    ],
)
def test_columns_are_mapped_in_one_option_or_several(tmp_path, call_here, words):
    table = draw_table(tmp_path / "study", header="file,dx,patient_id,age")
    done = call_here("prepare", table, *words, "--no-near-duplicates", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["group_kind"] == "patient"
    asked = call_here("prepare", table, "--column", "label=dx", "path=file")
    assert asked.returncode == 2
    assert "--column group=patient_id" in asked.stderr


def test_a_folder_for_each_case_is_asked_for_with_the_case_proposed(tmp_path, call_here):
    draw_folder(tmp_path / "cases", pattern="{patient}x/{label}/patch_{patient}_{n}.png")
    asked = call_here("prepare", "cases")
    assert asked.returncode == 2
    assert "--group-from '([^/]+)/[^/]+/[^/]+$'" in asked.stderr
    rule = "([^/]+)/[^/]+/[^/]+$"
    done = call_here("prepare", "cases", "--group-from", rule, "--no-near-duplicates", "--json")
    facts = json.loads(done.stdout)
    assert (facts["n_groups"], sorted(facts["classes"])) == (12, ["benign", "malign"])


def test_options_of_own_data_are_refused_for_published_sets(call_here):
    done = call_here("prepare", "malaria", "--column", "label=x", "--accept-spellings")
    assert done.returncode == 2
    assert "--column, --accept-spellings: only for" in done.stderr


def test_predict_says_what_it_did_not_take_in_one_line(trained, tmp_path):
    root = tmp_path / "new"
    (root / "masks").mkdir(parents=True)
    for name in ("1.png", "2.jfif", "3", "masks/1.png", "1_thumb.png"):
        picture(len(name)).save(root / name, "JPEG" if name == "2.jfif" else "PNG")
    (root / "notes.txt").write_text("a text")
    lines: list[str] = []
    table = predict(trained, [root], out=tmp_path / "p.csv", say=lines.append)
    assert len(table.read_text().splitlines()) == 4
    assert len(lines) == 1
    assert lines[0].startswith("not taken: 3 files")
    predict(trained, [root / "3"], out=tmp_path / "q.csv", say=lines.append)
    assert len(lines) == 1
