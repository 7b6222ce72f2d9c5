"""`diascope tune`: real trainings, Optuna on SQLite and PostgreSQL, workers that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from drawn.ports import reserved_port

from diascope.data.prepared import load_prepared
from diascope.errors import RunError, SettingsError, UnknownNameError
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train
from diascope.steps.tune import tune
from diascope.training.recipe import make_recipe
from diascope.training.search_record import MIXED, TOO_GOOD
from diascope.training.trial import validation_of

FIXED = ["max_epochs=2", "batch_size=16", "precision=fp32", "threads=1"]
QUICK = {"models": ["compact"], "sizes": [16, 24], "settings": FIXED}
WORKER = """
import sys
import diascope.training.search as search

search.HEARTBEAT_SECONDS, search.GRACE_SECONDS = 1, %d
sys.argv[0] = "diascope"
from diascope.__main__ import main
main()
"""
DIES_IN_A_TRIAL = """
import os, signal, time
from dataclasses import replace
from pathlib import Path
import diascope.steps.tune as tune

run_trial = tune.run_trial

def run_until_another_has_begun(*given, watch, **named):
    def die(_part, _value):
        while len(list(Path("search/checkpoints").glob("*"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return run_trial(*given, watch=replace(watch, report=die), **named)

tune.run_trial = run_until_another_has_begun
"""
GRACE_SECONDS, SECONDS = 10, 600
WORDS = [*(f"--set={setting}" for setting in FIXED), "--model=compact", "--size=16", "--size=24"]
SLOWER = [word.replace("max_epochs=2", "max_epochs=12") for word in WORDS]


@pytest.fixture
def unread_tests(home, tmp_path, cells):
    """Prepare a copy of the miniature, and remove the files of its test images."""
    source = shutil.copytree(cells, tmp_path / "cells")
    prepare("malaria", source=source)
    prepared = load_prepared("malaria")
    for path in prepared.manifest.filter(pl.col("split") == "test")["path"]:
        (source / path).unlink()
    return prepared


def test_a_search_reads_no_test_image_and_ends_in_a_recipe_that_train_takes(unread_tests, tmp_path):
    outcome = tune("malaria", trials=2, out=tmp_path / "search", **QUICK)
    assert [trial.state for trial in outcome.trials] == ["finished"] * 2
    assert outcome.trials[0].values["learning_rate_factor"] == 1.0
    recipe = make_recipe("malaria", recipe=str(outcome.recipe))
    assert recipe.base["max_epochs"] == 2
    assert recipe.base["size_px"] in (16, 24)
    assert recipe.search == outcome.record
    assert recipe.search.trials == 2
    assert recipe.search.images == 6
    table = json.loads(outcome.table.read_text())
    assert [row["number"] for row in table["trials"]] == [0, 1]
    assert not (tmp_path / "search" / "checkpoints").exists()


@pytest.mark.slow
def test_the_report_says_how_many_trials_chose_the_recipe_on_what_and_by_which(prepared, tmp_path):
    outcome = tune("malaria", trials=1, out=tmp_path / "search", **QUICK)
    small = ["precision=fp32", "threads=1"]
    run = train("malaria", recipe=str(outcome.recipe), out=tmp_path / "run", settings=small)
    assert run.recipe.search == outcome.record
    assert TOO_GOOD not in evaluate(run)["warnings"]
    page = report(run).read_text()
    assert "The settings are the best of 1 trial of a search by AUROC on 6 images" in page
    assert "a search chose the settings on validation images" in page
    assert TOO_GOOD in evaluate(run, split="val")["warnings"]
    assert "--recipe malaria-tuned.yaml" in page


def test_another_split_than_that_of_the_search_makes_all_figures_suspect(prepared, tmp_path):
    outcome = tune("malaria", trials=1, out=tmp_path / "search", **QUICK)
    small = ["precision=fp32", "threads=1"]
    folds = train(
        "malaria", recipe=str(outcome.recipe), out=tmp_path / "run", settings=small, folds=2
    )
    assert MIXED in evaluate(folds)["warnings"]
    record = outcome.record
    assert not record.cautions(data="ham10000", test_sha256="", split="val")
    assert not record.cautions(data="malaria", test_sha256="", split="on-ham10000")


def test_validation_images_are_of_other_groups_than_those_trained_on(prepared):
    for folds in (0, 3):
        validation = validation_of(prepared, folds=folds, calibration=None)
        assert not (validation.table["split"] == "test").any()
        for table, rows in validation.folds:
            trained = set(table.filter(pl.col("split") == "train")["group"])
            assert trained
            assert not trained & set(table["group"].gather(rows))
    assert len(validation.rows) == validation.table.height  # folds: each image outside test


def test_folds_judge_every_image_outside_test(prepared, tmp_path):
    outcome = tune("malaria", trials=1, folds=2, out=tmp_path / "search", **QUICK)
    assert outcome.record.images == (prepared.manifest["split"] != "test").sum()
    assert "2 folds" in outcome.record.sentence
    assert "calibration" not in make_recipe("malaria", recipe=str(outcome.recipe)).base


def test_trials_that_a_search_has_are_not_run_again(prepared, tmp_path):
    first = tune("malaria", trials=1, out=tmp_path / "search", **QUICK)
    again = tune("malaria", trials=1, out=tmp_path / "search", **QUICK)
    assert list(again.trials) == list(first.trials)
    with pytest.raises(RunError, match="differs in: metric"):
        tune("malaria", trials=1, metric="balanced_accuracy", out=tmp_path / "search", **QUICK)


def test_a_search_whose_time_is_over_has_one_finished_trial(prepared, tmp_path):
    outcome = tune("malaria", minutes=1e-6, out=tmp_path / "search", **QUICK)
    assert [trial.state for trial in outcome.trials] == ["finished"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"minutes": 0.0}, SettingsError, "above 0"),
        ({"minutes": float("nan")}, SettingsError, "above 0"),
        ({"trials": 0}, SettingsError, "1 or more"),
        ({"folds": 1}, SettingsError, "2 or more"),
        ({"metric": "f1"}, SettingsError, "not by 'f1'"),
        ({"models": ["compcat"]}, UnknownNameError, "compcat"),
        ({"sizes": [8]}, SettingsError, "8 px"),
        ({"settings": ["learning_rat=1"]}, UnknownNameError, "learning_rat"),
        ({"settings": ["learning_rate=99"]}, SettingsError, "learning_rate"),
        (
            {
                "models": ["compact"],
                "settings": ["learning_rate=0.1", "flips=none", "size_px=16"],
            },
            SettingsError,
            "Nothing is left",
        ),
    ],
)
def test_an_impossible_search_is_refused_before_it_begins(
    options, error, words, prepared, tmp_path
):
    with pytest.raises(error, match=words):
        tune("malaria", out=tmp_path / "search", **options)
    assert not (tmp_path / "search").exists()


def test_the_command_prints_the_table_and_the_recipe(prepared, call_here):
    done = call_here("tune", "malaria", "--trials", 1, *WORDS)
    assert done.returncode == 0, done.stderr
    assert "the best of 1 finished trial" in done.stdout
    assert "diascope train malaria --recipe searches/malaria/malaria-tuned.yaml" in done.stdout
    as_json = call_here("tune", "malaria", "--trials", 1, *WORDS, "--json")
    assert json.loads(as_json.stdout)["search"]["trials"] == 1
    assert not [line for line in done.stderr.splitlines() if "[I " in line or "Trial 0" in line]


def test_a_search_keeps_to_a_folder_of_its_own(prepared, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "plan.json").write_text("{}")
    with pytest.raises(SettingsError, match="something other than a search"):
        tune("malaria", trials=1, out=run, **QUICK)
    assert [path.name for path in run.iterdir()] == ["plan.json"]


def start_worker(folder, home, *words, before=""):
    worker = before + WORKER % GRACE_SECONDS
    return subprocess.Popen(
        [sys.executable, "-c", worker, "tune", "malaria", *SLOWER, "--out", "search", *words],
        cwd=folder,
        env={**os.environ, "DIASCOPE_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(what, seconds, *, failing=()):
    """Wait until something is so; show at once what a process says that fails meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        for process in failing:
            assert not process.poll(), process.communicate()
        time.sleep(0.1)
    raise TimeoutError


def with_two_workers_of_which_one_is_killed(folder, home, *words):
    """Return what a search of five trials tells, one of whose workers died in the middle of one."""
    killed, other = (
        start_worker(folder, home, "--trials", "5", *words, before=before)
        for before in (DIES_IN_A_TRIAL, "")
    )
    wait_for(lambda: killed.poll() is not None, SECONDS, failing=[other])
    assert killed.returncode == -signal.SIGKILL, killed.communicate()
    killed.communicate()
    _, err = other.communicate(timeout=SECONDS)
    assert other.returncode == 0, err
    time.sleep(GRACE_SECONDS + 1)
    last = start_worker(folder, home, "--trials", "5", *words)  # what died last is tried again
    out, err = last.communicate(timeout=SECONDS)
    assert last.returncode == 0, err
    return json.loads((folder / "search" / "trials.json").read_text())["trials"], out


@pytest.mark.slow
def test_a_killed_worker_loses_one_trial_which_another_tries_again(prepared, home, tmp_path):
    trials, out = with_two_workers_of_which_one_is_killed(tmp_path, home)
    states = [trial["state"] for trial in trials]
    assert states.count("killed") == 1, states
    assert len(states) - 1 - states.count("waiting") == 5, states
    lost = next(trial for trial in trials if trial["state"] == "killed")
    again = [t for t in trials if t["values"] == lost["values"] and t["number"] > lost["number"]]
    assert again, trials
    assert "1 trial killed or interrupted" in out
    recipe = yaml.safe_load((tmp_path / "search" / "malaria-tuned.yaml").read_text())
    assert recipe["search"]["trials"] == 5


@pytest.fixture
def postgresql():
    """Start a server of PostgreSQL on 127.0.0.1; return the address of a database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    # Not below pytest's folder: whoever starts pytest meanwhile closes that to other users
    port, folder = reserved_port(), Path(tempfile.mkdtemp(prefix="postgresql-"))
    user = None
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        shutil.chown(folder, "postgres")
        user = "postgres"
    data, programs = folder / "data", Path(initdb).parent
    subprocess.run(
        [initdb, "-D", data, "-U", "diascope", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
        user=user,
    )
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [
                *(str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1"),
                *("-p", str(port), "-k", str(folder), "-F"),
            ],
            stdout=log,
            stderr=log,
            cwd=folder,
            user=user,
        )
    import psycopg

    def answers():
        assert server.poll() is None, (folder / "log").read_text()
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="diascope", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    wait_for(answers, SECONDS)
    yield f"postgresql+psycopg://diascope@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)
    server.wait(SECONDS)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_workers_share_a_search_in_postgresql(postgresql, prepared, home, tmp_path):
    trials, _ = with_two_workers_of_which_one_is_killed(tmp_path, home, "--storage", postgresql)
    states = [trial["state"] for trial in trials]
    assert states.count("killed") == 1, states
    assert len(states) - 1 - states.count("waiting") == 5, states
    assert not (tmp_path / "search" / "study.db").exists()
