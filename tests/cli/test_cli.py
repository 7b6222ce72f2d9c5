"""The command line: what a user types and sees, and the errors that a user can fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import SMALL
from drawn.own_images import draw_folder

from diascope.cli import VERBS
from diascope.datasets import ham10000
from diascope.system.environment import SPINS, settle_torch

SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture
def call(home, tmp_path):
    """Return a function that runs diascope in an empty folder."""

    def run(*words, timeout=600, env=None):
        return subprocess.run(
            [sys.executable, "-m", "diascope", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=timeout,
            check=False,
            env={**os.environ, "DIASCOPE_HOME": str(home), "COLUMNS": "200", **(env or {})},
        )

    return run


def refused(result, *parts):
    """Check for one clear message, exit code 2 and no traceback."""
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr
    return True


def last_line(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def test_the_whole_path_from_files_to_predictions(call, call_here, cells, home, tmp_path):
    in_a_process, call = call, call_here
    result = call("prepare", "malaria", "--source", cells)
    assert last_line(result) == str(home / "datasets" / "malaria")
    assert "INCOMPLETE: 72 of 27558 images" in result.stdout
    assert last_line(call("train", "malaria", *SETTINGS)) == "runs/malaria-compact"
    result = call("evaluate", "runs/malaria-compact")
    assert last_line(result) == "runs/malaria-compact/metrics/test.json"
    assert "classification report" in result.stdout
    assert "test set: 1 opening, by 1 network; 0 openings" in result.stdout
    assert "mean AUROC within a patient" in result.stdout
    assert last_line(call("report", "runs/malaria-compact")) == "runs/malaria-compact/report.html"
    assert last_line(call("predict", "runs/malaria-compact", cells)) == "predictions.csv"
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    columns = "path,predicted,probability_uninfected,probability_parasitized"
    columns += ",prediction_set,ood_score,refer,refer_reason"
    assert lines[0] == f"{columns},group,split,threshold,operating_point,model,error"
    assert len(lines) == 73
    (tmp_path / "bad.png").write_text("no image")
    result = in_a_process("predict", "runs/malaria-compact", cells, "bad.png", "--out", "b.csv")
    assert refused(result, "1 of 73 files could not be predicted", "bad.png: not an image (text)")
    assert result.stdout.splitlines()[-1] == "b.csv"
    assert "to refer to a human: " in result.stdout
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 74


def test_json_is_for_machines(call_here, cells):
    call = call_here
    facts = json.loads(call("prepare", "malaria", "--source", cells, "--json").stdout)
    assert facts["n_images"] == 72
    assert {row["name"] for row in json.loads(call("datasets", "--json").stdout)} >= {"malaria"}
    assert {row["name"] for row in json.loads(call("models", "--json").stdout)} >= {"compact"}
    assert "malaria" in call("datasets").stdout


def test_lists_and_tables_can_be_read_at_80_columns(call, tmp_path):
    narrow = {"COLUMNS": "80"}
    listed = call("datasets", env=narrow).stdout
    assert max(map(len, listed.splitlines())) <= 80
    assert "27,558 images of 200 patients, 353 MB to download" in listed
    ham10000.fake(tmp_path / "ham")
    table = call("prepare", "ham10000", "--source", tmp_path / "ham", env=narrow).stdout
    rows = [line.split() for line in table.splitlines() if line.startswith("│")]
    assert [row[1] for row in rows] == ["all", *ham10000.CLASSES]
    assert all(row.count("/") == 4 for row in rows)


@pytest.mark.parametrize(
    ("given", "waits", "spins"), [(None, "passive", SPINS), ("active", "active", None)]
)
def test_idle_threads_soon_sleep_unless_the_user_says_how_they_wait(
    monkeypatch, given, waits, spins
):
    monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": given} if given else {})
    settle_torch()
    assert os.environ["OMP_WAIT_POLICY"] == waits
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_help_comes_without_torch(call):
    script = (
        "import sys; from diascope.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'polars', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_every_verb_has_a_help_text(call_here):
    for verb in VERBS:
        assert "Usage:" in call_here(verb.__name__, "--help").stdout


def test_names_that_do_not_exist_are_refused(call, call_here):
    refused(call("prepare", "malria"), "'malria'", "Did you mean 'malaria'")
    call = call_here
    refused(call("train", "malria"), "Did you mean 'malaria'")
    refused(call("train", "malaria"), "diascope prepare malaria")
    refused(
        call("train", "malaria", "--model", "nope"),
        "diascope prepare malaria",
        "model named 'nope'",
    )
    refused(call("evaluate", "nowhere"), "no run here")
    refused(call("report", "nowhere"))
    refused(call("predict", "nowhere", "x.png"))
    refused(call("nonsense"))


def test_an_empty_word_is_not_taken_for_the_current_folder(call_here, tmp_path):
    call = call_here
    refused(call("prepare", "malaria", "--source", ""), "empty path", "after --source")
    refused(call("prepare", "malaria", "--source="), "empty path", "--source")
    refused(call("demo", "--out", " "), "empty path", "after --out")
    refused(call("train", "malaria", "--out", ""), "empty path", "after --out")
    refused(call("predict", "run", "", "--out", "x.csv"), "empty path", "after run")
    assert not list(tmp_path.iterdir())


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def test_hostile_and_broken_archives_are_refused(call_here, tmp_path, cells):
    call = call_here
    refused(call("prepare", "malaria", "--source", tmp_path / "none.zip"), "no such file")
    (tmp_path / "empty").mkdir()
    refused(call("prepare", "malaria", "--source", tmp_path / "empty"), "holds no files")
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    refused(call("prepare", "malaria", "--source", text), "text.zip")
    whole = archive(
        tmp_path / "whole.zip",
        [(p.relative_to(cells).as_posix(), p.read_bytes()) for p in sorted(cells.rglob("*.png"))],
    )
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-500])
    refused(call("prepare", "malaria", "--source", cut), "cut.zip")
    evil = archive(tmp_path / "evil.zip", [("../evil.png", b"x")])
    refused(call("prepare", "malaria", "--source", evil), "evil")
    assert not (tmp_path.parent / "evil.png").exists()
    zeros = archive(tmp_path / "bomb.zip", [("Parasitized/a.png", bytes(300_000_000))])
    refused(call("prepare", "malaria", "--source", zeros), "bomb.zip")


def test_own_images_from_a_folder_to_class_folders_and_predictions(call_here, tmp_path):
    call = call_here
    draw_folder(tmp_path / "My cells")
    refused(call("prepare", "My cells"), "--group-from", "--group none", "12 groups of 4")
    rule = ("--group-from", r"^P\d+", "--group-kind", "patient", "--positive", "malign")
    result = call("prepare", "My cells", *rule)
    assert Path(last_line(result)).name.startswith("my-cells-")
    assert "12 patients benign and malign" in result.stdout
    refused(call("folders", "nowhere", "out"), "nowhere")
    assert last_line(call("folders", "My cells", "out")) == "out"
    assert (tmp_path / "out" / "train" / "benign").is_dir()
    refused(call("folders", "My cells", "out"), "not empty")
    assert last_line(call("train", "My cells", *SETTINGS, "--out", "run")) == "run"
    assert last_line(call("evaluate", "run")) == "run/metrics/test.json"
    listed = json.loads(call("datasets", "--json").stdout)
    assert [row["images"] for row in listed if row["name"].startswith("my-cells-")] == [48]


def test_options_for_own_images_and_random_splits_are_checked(call_here, cells, tmp_path):
    call = call_here
    draw_folder(tmp_path / "own")
    refused(call("prepare", "malaria", "--positive", "x"), "--positive", "not for malaria")
    refused(call("prepare", "own", "--group", "some"), "--group accepts only none")
    refused(call("prepare", "./nowhere"), "no such file or folder")
    refused(call("prepare", "malaria", "--source", cells, "--split", "random"), "--i-know-this")
    refused(call("prepare", "malaria", "--source", cells, "--split", "official"), "No official")
    refused(call("train", "own"), "has not been prepared", "diascope prepare own")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix terminal")
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 2)])
def test_at_a_terminal_the_groups_are_asked_for(home, tmp_path, answer, code):
    import pty

    draw_folder(tmp_path / "own")
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "diascope", "prepare", "own"],
        cwd=tmp_path,
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DIASCOPE_HOME": str(home)},
    )
    os.write(here, f"{answer}\n".encode())
    shown, _ = process.communicate(timeout=600)
    os.close(here)
    os.close(there)
    assert process.returncode == code
    assert "Use --group-from" in shown


def test_option_values_out_of_range_are_refused(call_here, cells):
    call = call_here
    assert call("prepare", "malaria", "--source", cells).returncode == 0
    refused(call("prepare", "malaria", "--source", cells, "--max-rejected", "3"), "--max-rejected")
    refused(call("prepare", "malaria", "--source", cells, "--seed", "-1"), "seed")
    refused(call("train", "malaria", "--folds", "13"), "12 groups for 13 folds")
    refused(call("train", "malaria", "--folds", "-1"), "folds")
    refused(call("train", "malaria", "--seed", "-1"), "seed")
    refused(call("train", "malaria", "--set", "epochs=3"), "Did you mean 'max_epochs'")
    refused(
        call("train", "malaria", "--set", "batch_size=0", "--set", "learning_rate=nan"),
        "batch_size must be a whole number from 2 up to 65536, and 0 is not",
        "learning_rate must be a number above 0 up to 10, and 'nan' is not",
    )
    refused(call("train", "malaria", "--set", "flips=x"), "none, horizontal, both or dihedral")


def test_a_run_folder_that_exists_is_refused(call_here, trained, tmp_path):
    call = call_here
    assert trained.folder == tmp_path / "run"
    refused(call("train", "malaria", *SETTINGS, "--out", "run"), "exists and is trained", "--out")
    (tmp_path / "file").write_text("x")
    refused(call("train", "malaria", "--out", "file"), "file")


def test_a_source_that_has_gone_is_refused(call_here, cells, tmp_path):
    import shutil

    call = call_here
    copy = shutil.copytree(cells, tmp_path / "copy")
    call("prepare", "malaria", "--source", copy)
    shutil.rmtree(copy)
    refused(call("train", "malaria", *SETTINGS), "no such file or folder")
