"""With ONNX Runtime a bundle scores as with torch."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from drawn.networks import draw_bundle, draw_images, draw_network
from drawn.served import with_cases, with_detector

from diascope.bundle import onnx_engine
from diascope.bundle.bundle import Bundle
from diascope.bundle.onnx_engine import ENGINES, with_engine
from diascope.bundle.onnx_network import OnnxNetwork
from diascope.bundle.predictions import softmax
from diascope.errors import RunError, SettingsError, UnknownNameError
from diascope.steps.doctor import doctor
from diascope.steps.predict import predict


@pytest.fixture(autouse=True)
def _quiet_torch():
    logging.getLogger("torch").setLevel(logging.WARNING)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a bundle with a detector, four views, prior and temperature."""
    folder = tmp_path_factory.mktemp("bundle")
    facts = {"views": 4, "temperature": 0.6}
    bundle = draw_bundle(draw_network("compact", size_px=32), size_px=32, **facts)
    card = bundle.card.model_copy(update={"logit_offset": (0.3, -0.2, 0.1)})
    with_cases(with_detector(replace(bundle, card=card))).save(folder)
    return folder


@pytest.fixture
def never_made(monkeypatch):
    """Let no graph be made."""

    def made(*_):
        raise AssertionError("a graph was made")

    monkeypatch.setattr(onnx_engine, "onnx_graph", made)


@pytest.mark.parametrize("n_images", [0, 1, 5, 70])
def test_logits_scores_and_features_are_those_of_torch(saved, n_images):
    by_torch = Bundle.load(saved)
    by_onnx = with_engine(by_torch, "onnxruntime")
    images = draw_images(n_images, 32)
    logits, scores = by_torch.predict_with_ood_scores(images)
    found, found_scores = by_onnx.predict_with_ood_scores(images)
    assert found.shape == logits.shape
    np.testing.assert_allclose(found, logits, atol=1e-5)
    if n_images:
        np.testing.assert_allclose(found_scores, scores, rtol=1e-4)
        assert not np.array_equal(found, logits)  # another program computed them
        np.testing.assert_allclose(softmax(by_onnx.predict_logits(images)), softmax(logits), 1e-5)


def test_torch_is_the_default(saved):
    bundle = Bundle.load(saved)
    assert with_engine(bundle, "auto") is bundle
    assert with_engine(bundle, "torch") is bundle


def test_the_graph_is_made_once_and_kept(saved, home, request):
    images = draw_images(3, 32)
    first = with_engine(Bundle.load(saved), "onnxruntime").predict_logits(images)
    assert sorted(path.suffix for path in (home / "onnx").iterdir()) == [".json", ".onnx"]
    request.getfixturevalue("never_made")
    again = with_engine(Bundle.load(saved), "onnxruntime").predict_logits(images)
    assert np.array_equal(again, first)


@pytest.mark.parametrize("what", ["home", "onnx"])
def test_a_graph_that_cannot_be_kept_is_used(saved, home, what, tmp_path, monkeypatch):
    if what == "home":
        home = tmp_path / "file"
        monkeypatch.setenv("DIASCOPE_HOME", str(home / "below"))
        home.write_text("no folder")
    else:
        home.mkdir(exist_ok=True)
        (home / "onnx").write_text("no folder")
    told: list[str] = []
    bundle = with_engine(Bundle.load(saved), "onnxruntime", warn=told.append)
    assert len(told) == 1
    assert "is not kept in" in told[0]
    assert "The file could not be written" in told[0]
    images = draw_images(3, 32)
    expected = Bundle.load(saved).predict_logits(images)
    np.testing.assert_allclose(bundle.predict_logits(images), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "json"])
def test_a_damaged_graph_is_made_again(saved, home, suffix):
    with_engine(Bundle.load(saved), "onnxruntime")
    (kept,) = (home / "onnx").glob(f"*.{suffix}")
    content = kept.read_bytes()
    kept.write_bytes(content[:-9] + b"123456789")
    with_engine(Bundle.load(saved), "onnxruntime")
    assert kept.read_bytes() == content


@pytest.mark.slow
def test_another_card_or_version_has_a_graph_of_its_own(saved, home, monkeypatch):
    bundle = Bundle.load(saved)
    with_engine(bundle, "onnxruntime")
    cooler = replace(bundle, card=bundle.card.model_copy(update={"temperature": 2.0}))
    images = draw_images(4, 32)
    found = with_engine(cooler, "onnxruntime").predict_logits(images)
    np.testing.assert_allclose(found, cooler.predict_logits(images), atol=1e-5)
    assert len(list((home / "onnx").glob("*.onnx"))) == 2
    point = replace(bundle, card=bundle.card.model_copy(update={"citation": "another"}))
    with_engine(point, "onnxruntime")  # what does not change probabilities
    assert len(list((home / "onnx").glob("*.onnx"))) == 2
    monkeypatch.setattr(onnx_engine, "_version", lambda _: "99")
    with_engine(bundle, "onnxruntime")
    assert len(list((home / "onnx").glob("*.onnx"))) == 3


def test_a_graph_never_scores_for_another_network_or_card(saved):
    bundle = with_engine(Bundle.load(saved), "onnxruntime")
    images = draw_images(4, 32)
    other = draw_network("compact", size_px=32, seed=5)
    changed = replace(bundle, module=other)
    expected = replace(changed, onnx_network=None).predict_logits(images)
    assert np.array_equal(changed.predict_logits(images), expected)
    cooler = replace(bundle, card=bundle.card.model_copy(update={"temperature": 1.2}))
    np.testing.assert_allclose(
        cooler.predict_logits(images), bundle.predict_logits(images) / 2, atol=1e-5
    )


def test_a_graph_that_answers_otherwise_is_not_kept(saved, home, monkeypatch):
    monkeypatch.setattr(
        OnnxNetwork, "run", lambda _, images: (np.ones((len(images), 3), np.float32), None)
    )
    with pytest.raises(RunError, match=r"answers otherwise than torch[\s\S]*--engine torch"):
        with_engine(Bundle.load(saved), "onnxruntime")
    assert not (home / "onnx").exists()


def test_what_is_not_there_is_refused_in_words(saved, monkeypatch, never_made):
    bundle = Bundle.load(saved)
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        with_engine(bundle, "onnxruntme")
    monkeypatch.setattr("diascope.system.extras.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"diascope\[onnx\]"):
        with_engine(bundle, "onnxruntime")


def test_a_network_whose_scores_are_not_finite_is_refused_by_both_engines(saved, tmp_path):
    module = draw_network("compact", size_px=32)
    with torch.no_grad():
        module.head.bias[0] = torch.nan
    with pytest.raises(RunError, match="answers otherwise than torch: a probability"):
        with_engine(draw_bundle(module, size_px=32), "onnxruntime")


def test_predict_writes_the_same_table_with_either_engine(trained, cells, tmp_path, call_here):
    tables = []
    for engine in ENGINES[1:]:
        out = tmp_path / f"{engine}.csv"
        words = ("predict", trained.folder, cells, "--engine", engine, "--out", out)
        assert call_here(*words).returncode == 0
        tables.append(pl.read_csv(out))
    numbers = [
        table.select(pl.col("^probability_.*|ood_score$")).cast(pl.Float64) for table in tables
    ]
    assert numbers[0].width >= 2
    assert np.nanmax(np.abs(numbers[0].to_numpy() - numbers[1].to_numpy())) < 1e-5
    kept = set(tables[0].columns) - set(numbers[0].columns)
    assert tables[0].select(sorted(kept)).equals(tables[1].select(sorted(kept)))


def test_predict_refuses_an_unknown_engine(trained, cells, tmp_path):
    with pytest.raises(UnknownNameError, match="no engine named 'tensorrt'"):
        predict(trained, [cells], out=tmp_path / "p.csv", engine="tensorrt")


def test_doctor_names_the_engines():
    (found,) = [one for one in doctor() if one.subject == "engines"]
    assert found.state == "ok"
    assert found.text.startswith("torch, onnxruntime 1.")
