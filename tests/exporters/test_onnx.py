"""A bundle in ONNX answers as the bundle, to whoever has ONNX Runtime alone."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from drawn.networks import draw_bundle, draw_network
from drawn.served import with_detector, with_sets_and_verdicts
from PIL import Image

from diascope.bundle.ensemble import Ensemble, Member
from diascope.bundle.onnx_network import onnx_graph
from diascope.bundle.predictions import softmax
from diascope.data.image import fit_image
from diascope.errors import RunError
from diascope.exporters import onnx as exporter
from diascope.exporters.onnx_agreement import agreement
from diascope.exporters.onnx_call import NO_CALL, call_graph
from diascope.exporters.onnx_fit import fit_graph
from diascope.exporters.onnx_models import onnx_models
from diascope.exporters.spec import Sample
from diascope.models.spec import Head
from diascope.models.timm_backbone import timm_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_onnx.py"
ODD = ((200, 100), (31, 17), (1, 500), (5000, 1), (450, 600), (1, 1), (64, 64), (7, 300))
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(['torch', 'diascope', 'onnx', 'timm']))\n"


def samples(n_images=12, *, seed=0):
    """Return images of odd shapes and of any, with shapes in them and grain."""
    rng = np.random.default_rng(seed)
    shapes = [*ODD, *(tuple(rng.integers(1, 200, 2)) for _ in range(n_images))][:n_images]
    drawn = []
    for number, (height, width) in enumerate(shapes):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((int(width), int(height)), Image.Resampling.BICUBIC))
        grainy = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
        drawn.append(Sample(f"image {number}", grainy))
    return drawn


def drawn_bundle(n_classes=3, *, model="compact", module=None, positive=None, **facts):
    """Return a bundle of classes that differ in prior, offset and weight."""
    rng = np.random.default_rng(n_classes)
    if module is None:
        module = network_of(model, n_classes)
    bare = draw_bundle(module, size_px=64, model=model)
    numbers = {
        "classes": tuple(f"class {k}" for k in range(n_classes)),
        "prior": tuple(rng.dirichlet(np.ones(n_classes)).tolist()),
        "logit_offset": tuple(rng.normal(0, 0.5, n_classes).tolist()),
        "decision_weights": tuple(rng.uniform(0.5, 2, n_classes).tolist()),
        "temperature": 0.7,
        "positive": positive,
        "threshold": None if positive is None else 0.37,
    }
    return replace(bare, card=bare.card.model_copy(update={**numbers, **facts}))


def calling_each(bundle, images):
    """Return the bundle with a rule by which every class has a chance in these images."""
    probabilities = bundle.predict_proba([one.image for one in images])
    middle = np.sort(probabilities, axis=0)[len(images) // 2 - 1 :][:2].mean(axis=0)
    changes = {"decision_weights": tuple((1 / middle).tolist())}
    if bundle.card.positive:
        changes["threshold"] = float(middle[bundle.classes.index(bundle.card.positive)])
    return replace(bundle, card=bundle.card.model_copy(update=changes))


def network_of(model, n_classes, *, seed=0):
    """Return a network as if it were trained, with a head of so many classes."""
    module = draw_network(model, size_px=64, seed=seed)
    head = [one for one in module.modules() if isinstance(one, torch.nn.Linear)][-1]
    for name, module_of_head in list(module.named_modules()):
        if module_of_head is head:
            torch.manual_seed(seed)
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, torch.nn.Linear(head.in_features, n_classes))
    return module.eval()


def ensemble_of_two():
    """Return a bundle of two networks with normalisations of their own."""
    networks = [network_of("compact", 7, seed=seed) for seed in (1, 2)]
    members = [
        Member(networks[0], (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
        Member(networks[1], (0.1, 0.2, 0.3), (0.4, 0.3, 0.2)),
    ]
    facts = {"members": 2, "views": 2, "fit": "stretch", "mean": (0.0,) * 3, "std": (1.0,) * 3}
    return drawn_bundle(7, module=Ensemble(members), **facts)


def with_frozen_head():
    """Return a bundle of a network of timm under a head with a dense layer."""
    torch.manual_seed(0)
    module = timm_model("timm:resnet18", Head(pool="max", dense_units=16)).build(2, 64)
    module.freeze()
    return drawn_bundle(2, model="timm:resnet18", module=module.eval(), positive="class 1")


BUNDLES = {
    "two classes, eight views": lambda: drawn_bundle(2, positive="class 0", views=8),
    "seven classes": lambda: drawn_bundle(7, views=3),
    "two classes, none of them positive": lambda: drawn_bundle(2, fit="stretch"),
    "another network": lambda: drawn_bundle(3, model="reference_cnn", views=4),
    "an ensemble": ensemble_of_two,
    "a frozen backbone": with_frozen_head,
}
LONGER = ("two classes, eight views", "a frozen backbone")


def run(session, **inputs):
    """Return the outputs of a graph by name."""
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.fixture
def _graph_once(monkeypatch):
    """Write the network of a test once for all rules and fits: that takes a second or more."""
    made = {}

    def once(network, card):
        if card.temperature not in made:
            made[card.temperature] = onnx_graph(network, card)
        return copy.deepcopy(made[card.temperature])

    monkeypatch.setattr("diascope.exporters.onnx_models.onnx_graph", once)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("side", [8, 64, 127, 128])
def test_an_image_of_any_shape_is_resized_to_the_same_bytes(side, fit):
    graph = fit_graph(side, fit=fit)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    rng = np.random.default_rng(side)
    for shape in [*ODD, *rng.integers(1, 400, (60, 2)).tolist()]:
        noise = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        (found,) = session.run(None, {"image": noise})
        assert np.array_equal(found, fit_image(noise, side, fit=fit)), shape


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LONGER else []) for name in BUNDLES],
)
def test_both_files_answer_as_the_bundle(name, tmp_path):
    images = samples()
    bundle = calling_each(BUNDLES[name](), images)
    exported = exporter.export(bundle, tmp_path, images, "")
    assert sorted(exported.files) == sorted(path.name for path in tmp_path.iterdir())
    probabilities = bundle.predict_proba([one.image for one in images])
    predicted = bundle.decide(probabilities)
    assert len(set(predicted.tolist())) > 1
    of_image, of_pixels = (
        onnxruntime.InferenceSession(tmp_path / name) for name in ("image.onnx", "pixels.onnx")
    )
    for number, one in enumerate(images):
        found = run(of_image, image=one.image)
        fitted = fit_image(one.image, 64, fit=bundle.card.fit)
        assert np.array_equal(found["pixels"], fitted[None])
        np.testing.assert_allclose(found["probabilities"][0], probabilities[number], atol=1e-5)
        assert found["predicted"].tolist() == [predicted[number]]
    fitted = np.stack([fit_image(one.image, 64, fit=bundle.card.fit) for one in images])
    for part in (fitted, fitted[:1]):
        found = run(of_pixels, pixels=part)
        np.testing.assert_allclose(found["probabilities"], probabilities[: len(part)], atol=1e-5)
        np.testing.assert_allclose(found["logits"], bundle.predict_logits(part), atol=1e-4)
        assert found["predicted"].tolist() == predicted[: len(part)].tolist()


def test_the_files_are_valid_stand_alone_and_say_what_they_are(tmp_path):
    bundle = drawn_bundle(2, positive="class 1")
    exported = exporter.export(bundle, tmp_path, samples(), "# The card\n")
    for name in ("image.onnx", "pixels.onnx"):
        onnx.checker.check_model(tmp_path / name, full_check=True)
        model = onnx.load(tmp_path / name, load_external_data=False)
        assert not any(one.external_data for one in model.graph.initializer)
        assert {one.domain for one in model.opset_import} == {""}
        facts = {one.key: one.value for one in model.metadata_props}
        assert json.loads(facts["diascope.classes"]) == ["class 0", "class 1"]
        assert json.loads(facts["diascope.threshold"]) == 0.37
        assert len(json.loads(facts["diascope.decision_weights"])) == 2
        assert facts["diascope.positive"] == "class 1"
        assert facts["diascope.card"] == bundle.card.digest
        assert facts["diascope.version"] == version("diascope")
        assert (
            "upright RGB" in facts["diascope.begins_at"] or "squares" in facts["diascope.begins_at"]
        )
        assert "Not a medical device" in facts["diascope.intended_use"]
        content = (tmp_path / name).read_bytes()
        assert not re.search(rb"site-packages|\.py\b|/home|/tmp", content)  # code, or a machine
    assert (tmp_path / "MODEL_CARD.md").read_text() == "# The card\n"
    readme = (tmp_path / "README.md").read_text()
    assert all(word in readme for word in ("`class 0`", "0.37", "(1, 64, 64, 3)", "12 images"))
    code = readme.split("```python\n")[1].split("```")[0]
    Image.fromarray(samples()[3].image).save(tmp_path / "image.png")
    code = re.sub(r'"(image\.\w+)"', lambda found: repr(str(tmp_path / found[1])), code)
    names: dict = {}
    exec(code, names)  # noqa: S102 - what it tells people to run
    expected = bundle.predict_proba([samples()[3].image])
    np.testing.assert_allclose(names["probabilities"], expected, atol=1e-5)
    assert re.search(r"12 images.*pixels are equal.*1e-05 is allowed", exported.says[0])


def test_the_same_bundle_gives_the_same_bytes():
    bundle = drawn_bundle(2, views=2)
    assert onnx_models(bundle) == onnx_models(bundle)


def test_a_process_without_torch_and_diascope_gives_the_same_answers(tmp_path):
    bundle, images = drawn_bundle(3), samples()
    exporter.export(bundle, tmp_path, images, "")
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for path, one in zip(paths, images, strict=True):
        Image.fromarray(one.image).save(path)
    code = f"{WITHOUT}import runpy; runpy.run_path(sys.argv.pop(1))"
    words = [sys.executable, "-c", code, str(EXAMPLE), str(tmp_path), *map(str, paths)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    probabilities = bundle.predict_proba(paths)
    classes = [bundle.classes[k] for k in bundle.decide(probabilities)]
    for line, path, row, name in zip(lines, paths, probabilities, classes, strict=True):
        assert line.startswith(f"{path} {name} ")
        numbers = line.removeprefix(f"{path} {name} ").split()
        np.testing.assert_allclose(np.array(numbers, float), row, atol=1.1e-5)


@pytest.mark.usefixtures("_graph_once")
def test_it_says_what_the_graph_leaves_out(tmp_path):
    plain = drawn_bundle(3)
    assert not any("Not in the graphs" in line for line in exported_says(plain, tmp_path / "a"))
    said = exported_says(with_sets_and_verdicts(with_detector(plain)), tmp_path / "b")
    assert "prediction sets and out-of-distribution scores" in " ".join(said)
    assert "out-of-distribution scores" in (tmp_path / "b" / "README.md").read_text()


def exported_says(bundle, folder):
    folder.mkdir()
    return exporter.export(bundle, folder, samples(2), "").says


@pytest.mark.slow
@pytest.mark.usefixtures("_graph_once")
def test_a_model_that_answers_otherwise_is_not_written():
    bundle, images = drawn_bundle(3), samples()
    assert agreement(bundle, onnx_models(bundle), images).n_images == len(images)
    for changes, said in (
        ({"temperature": 0.72}, r"a probability differs by 0\.0"),
        ({"fit": "stretch"}, "resizes otherwise"),
        ({"decision_weights": (1e-3, 1.0, 1.0)}, "calls another class"),
    ):
        other = replace(bundle, card=bundle.card.model_copy(update=changes))
        with pytest.raises(RunError, match=said):
            agreement(bundle, onnx_models(other), images)
    with pytest.raises(RunError, match="no image to check"):
        agreement(bundle, onnx_models(bundle), [])
    with pytest.raises(RunError, match="ONNX Runtime does not run the graph"):
        agreement(bundle, {"image.onnx": b"no graph"}, images)


@pytest.mark.usefixtures("_graph_once")
def test_an_image_so_near_the_limit_that_rounding_decides_is_named():
    bundle, images = drawn_bundle(2, positive="class 1"), samples()
    nearest = bundle.predict_proba([images[3].image])[0, 1]
    calls = []
    for shift in (-3e-6, 3e-6):
        card = bundle.card.model_copy(update={"threshold": nearest + shift})
        other = onnx_models(replace(bundle, card=card))
        here = replace(bundle, card=card.model_copy(update={"threshold": nearest - shift}))
        found = agreement(here, other, images)
        calls.append(found.at_edge)
        assert "image 3" in " ".join(exporter._says(here, found))
    assert calls == [("image 3",), ("image 3",)]


class Undecided(torch.nn.Module):
    """A network that asks its numbers which way to go."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 64)

    def forward(self, x):
        """Map (B, 3, 64, 64) to (B, 2)."""
        logits = self.layer(x).flatten(1)
        return logits if logits.sum() > 0 else -logits


def test_a_network_that_onnx_cannot_express_is_refused_in_words(tmp_path):
    bundle = drawn_bundle(2, module=Undecided(), model="a_plugin")
    with pytest.raises(RunError, match="a_plugin cannot be written as an ONNX graph") as refused:
        exporter.export(bundle, tmp_path, samples(), "")
    assert "\n" not in refused.value.problem
    assert "\x1b" not in refused.value.problem
    assert not list(tmp_path.iterdir())


class WithoutLinear(torch.nn.Module):
    """A network whose head is a convolution: it has no features."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 3, 64)

    def forward(self, x):
        """Map (B, 3, 64, 64) to (B, 3)."""
        return self.layer(x).flatten(1)


def test_a_network_without_a_linear_layer_is_exported(tmp_path):
    bundle = drawn_bundle(3, module=WithoutLinear(), model="a_plugin")
    assert len(exporter.export(bundle, tmp_path, samples(), "").files) == 3


def test_a_network_of_nan_is_refused_and_nothing_is_written(tmp_path):
    module = network_of("compact", 3)
    with torch.no_grad():
        module.head.bias[1] = torch.nan
    with pytest.raises(RunError, match="no finite score for 12 images"):
        exporter.export(drawn_bundle(3, module=module), tmp_path, samples(), "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("positive", [None, "class 1"])
def test_scores_that_are_not_finite_get_no_class(positive):
    card = drawn_bundle(2, positive=positive).card
    session = onnxruntime.InferenceSession(call_graph(card).SerializeToString())
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (200, 2)).astype(np.float32)
    logits[:4] = [[np.nan, 0], [0, np.inf], [-np.inf, 0], [np.nan, np.nan]]
    probabilities, predicted = session.run(None, {"logits": logits})
    assert predicted[:4].tolist() == [NO_CALL] * 4
    np.testing.assert_allclose(probabilities[4:], softmax(logits[4:]), rtol=1e-12)
    assert np.array_equal(predicted[4:], card.decide(softmax(logits[4:])))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "side"),
    [
        ("timm:tf_efficientnet_lite0", 64),
        ("timm:efficientnet_lite0", 128),
        ("timm:resnet18", 64),
        ("timm:convnext_atto", 64),
        ("timm:densenet121", 64),
        ("timm:mobilenetv3_small_100", 64),
        ("timm:vit_tiny_patch16_224", 224),
        ("timm:swin_tiny_patch4_window7_224", 224),
        ("timm:levit_128s", 224),
        ("timm:mobilevit_xxs", 64),
    ],
)
def test_networks_of_timm_answer_as_the_bundle(model, side, tmp_path):
    module = draw_network(model, size_px=side)
    bundle = draw_bundle(module, size_px=side, model=model, views=2)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    assert exporter.export(bundle, tmp_path, samples(), "").files
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())


@pytest.mark.slow
def test_the_oldest_onnxruntime_gives_the_same_answers(tmp_path):
    bundle, images = drawn_bundle(7, views=2), samples()
    exporter.export(bundle, tmp_path, images, "")
    oldest = tmp_path / "oldest"
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    number = re.search(r'"onnxruntime>=([\d.]+)"', project)[1]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", oldest]
    if subprocess.run([*install, f"onnxruntime=={number}.*"], check=False).returncode:
        pytest.skip(f"onnxruntime {number} cannot be installed here")
    np.savez(tmp_path / "images.npz", *[one.image for one in images])
    code = f"""
import sys; sys.path.insert(0, {str(oldest)!r})
import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(tmp_path / "image.onnx")!r})
images = numpy.load({str(tmp_path / "images.npz")!r})
found = [session.run(["probabilities"], {{"image": images[name]}})[0] for name in images.files]
numpy.save({str(tmp_path / "found.npy")!r}, numpy.concatenate(found))
print(onnxruntime.__version__)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(number)
    wanted = bundle.predict_proba([one.image for one in images])
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), wanted, atol=1e-5)
