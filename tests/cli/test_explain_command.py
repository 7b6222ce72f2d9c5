"""The command line of explain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from drawn.run_folders import make_run
from drawn.verdicts import Judge


@pytest.fixture(autouse=True)
def judge(monkeypatch):
    one = Judge()
    one.take_over(monkeypatch)
    return one


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def image(tmp_path):
    return sorted((tmp_path / "source").rglob("*.png"))[0]


def test_explain_prints_the_layer_and_the_page(call_here, run, tmp_path):
    done = call_here("explain", run, image(tmp_path), "--method", "grad-cam", "--out", "why")
    assert done.returncode == 0
    *lines, path = done.stdout.splitlines()
    layer, warning = lines
    assert re.fullmatch(r"layer of Grad-CAM: body\.\d, \d x \d places, found automatically", layer)
    assert "the network learned from 1" in warning
    assert (tmp_path / path).is_file()
    assert Path(path) == Path("why/index.html")


def test_explain_ends_with_2_where_a_file_could_not_be_read(call_here, run, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    words = ("--method", "grad-cam", "--method", "hires-cam", "--out", "why")
    done = call_here("explain", run, image(tmp_path), tmp_path / "text.png", *words)
    assert done.returncode == 2
    assert "1 of 2 files could not be explained" in done.stderr
    assert "not an image (text)" in done.stderr
    assert (tmp_path / "why" / "index.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "grad"), "There is no method named 'grad'."),
        (("--layer", "body.99"), "The network has no layer 'body.99'."),
        (("--target", "parasitised"), "Did you mean 'parasitized'?"),
        (("--out", "source"), "holds something else than explanations"),
    ],
)
def test_explain_says_what_is_wrong_without_a_traceback(call_here, run, tmp_path, words, message):
    done = call_here("explain", run, image(tmp_path), *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_says_what_there_is_not(call_here, run, tmp_path):
    done = call_here("explain", run, "missing.png")
    assert done.returncode == 2
    assert "There is nothing at missing.png" in done.stderr
    done = call_here("explain", "no-run", image(tmp_path))
    assert done.returncode == 2
    assert "There is no bundle here." in done.stderr


def test_predict_takes_explain(call_here, run, tmp_path):
    done = call_here("predict", run, image(tmp_path), "--explain", "why", "--out", "p.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "p.csv"
    assert (tmp_path / "why" / "index.html").is_file()
