"""The layout of timm: loaded by timm alone it answers as the bundle, or is refused in words."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from drawn.networks import draw_bundle, draw_network
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image
from safetensors.numpy import load_file

from diascope.bundle.bundle import Bundle
from diascope.bundle.predictions import softmax
from diascope.errors import SettingsError
from diascope.exporters.hub import export
from diascope.exporters.spec import Sample
from diascope.models.compact import Compact
from diascope.models.ensemble import Ensemble, Member
from diascope.models.spec import Head

SIZE = 32
BY_TIMM_ALONE = """
import json, sys
import timm, torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
network = timm.create_model("local-dir:" + sys.argv[1], pretrained=True).eval()
transform = create_transform(**resolve_data_config(model=network), is_training=False)
x = torch.stack([transform(Image.open(path).convert("RGB")) for path in sys.argv[2:]])
with torch.inference_mode():
    print(json.dumps(network(x).softmax(dim=1).tolist()))
assert "diascope" not in sys.modules
"""


def bundle_of(name="timm:resnet18", *, module=None, size_px=SIZE, fit="stretch", **facts):
    module = module or draw_network(name, size_px=size_px)
    facts = {"temperature": 1.7, "mean": (0.48, 0.45, 0.4), "std": (0.2, 0.25, 0.3), **facts}
    found = draw_bundle(module, size_px=size_px, model=name, **facts)
    update = {"fit": fit, "logit_offset": (0.3, -0.2, 0.1)}
    return replace(found, card=found.card.model_copy(update=update))


def samples(n_images=6):
    rng = np.random.default_rng(3)
    shapes = [(40, 60), (64, 64), (20, 31), (33, 90), (200, 100), (1, 50)][:n_images]
    return [Sample(f"{h}x{w}", rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in shapes]


@pytest.mark.slow
def test_a_process_with_timm_alone_gives_the_probabilities_of_the_bundle(tmp_path):
    bundle, images = bundle_of(), samples()[:4]
    exported = export(bundle, tmp_path, images, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(exported.files)
    paths = [str(tmp_path / f"{one.name}.png") for one in images]
    for path, one in zip(paths, images, strict=True):
        Image.fromarray(one.image).save(path)
    command = [sys.executable, "-c", BY_TIMM_ALONE, str(tmp_path), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    expected = bundle.predict_proba([one.image for one in images])
    assert np.abs(np.array(json.loads(done.stdout)) - expected).max() < 1e-5
    assert exported.says[0].startswith("Checked on 4 images, loaded by timm: on the same pixels")
    assert exported.says[1] == "timm's transform gives the same pixels for all 4 images."


def test_other_pixels_are_counted(tmp_path):
    images = [*samples()[:2], samples()[4]]
    exported = export(bundle_of(), tmp_path, images, "")
    found = [line for line in exported.says if "images differ" in line]
    exact = [line for line in exported.says if "same pixels for all 3" in line]
    assert len(found) + len(exact) == 1  # by the version of Pillow
    if found:
        assert "the pixels of 1 of 3 images differ, by at most" in found[0]
        assert any("From file to probability" in line for line in exported.says)


@pytest.mark.parametrize(
    ("name", "size_px", "head"),
    [
        ("timm:tf_efficientnet_lite0", SIZE, None),
        ("timm:resnet18", SIZE, Head(pool="max", dropout=0.2)),
        ("timm:resnetv2_50", SIZE, None),
    ],
)
def test_other_layers_and_pooling_are_mapped(tmp_path, name, size_px, head):
    from diascope.models.find import find_model

    module = find_model(name, head).build(3, size_px) if head else None
    bundle = bundle_of(name, module=module, size_px=size_px, **({"head": head} if head else {}))
    exported = export(bundle, tmp_path, samples(3), "")
    assert float(exported.says[0].split()[-1].rstrip(".")) < 1e-5
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["global_pool"] == (head.pool if head else "avg")


def test_several_views_are_told_and_the_card_shows_how_to_average_them(tmp_path):
    bundle = bundle_of(views=6)
    exported = export(bundle, tmp_path, samples(4), "")
    (views,) = [line for line in exported.says if "averages 6 views" in line]
    assert "timm sees one: probabilities differ by up to" in views
    code = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    image = samples(2)[1]
    Image.fromarray(image.image).save(tmp_path / "image.png")
    code = code.replace("FOLDER", str(tmp_path)).replace("image.png", str(tmp_path / "image.png"))
    names: dict = {}
    exec(code, names)  # noqa: S102 - what the card tells people to run
    expected = bundle.predict_proba(image.image)
    assert np.abs(names["probabilities"].numpy() - expected).max() < 1e-5
    assert names["called"].tolist() == bundle.decide(expected).tolist()


def test_padding_with_black_is_kept_where_nothing_is_subtracted(tmp_path):
    bundle = bundle_of(fit="pad", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    exported = export(bundle, tmp_path, samples(4), "")
    assert "same pixels for all 4" in exported.says[1]
    assert json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]["crop_mode"] == (
        "border"
    )


@pytest.mark.slow
def test_padding_is_kept_where_the_first_layer_can_subtract_the_mean_itself(tmp_path):
    bundle = bundle_of("timm:vit_tiny_patch16_224", size_px=224, fit="pad")
    exported = export(bundle, tmp_path, samples(3), "")
    assert float(exported.says[0].split()[-1].rstrip(".")) < 1e-5
    assert "same pixels for all 3" in exported.says[1]
    written = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    assert (written["crop_mode"], written["mean"], written["std"]) == ("border", [0] * 3, [1] * 3)


def test_the_folder_says_what_it_is(tmp_path):
    bundle = bundle_of(class_titles={"a": "Ay"})
    text = (
        "---\nlicense: mit\ntags:\n- medical-imaging\n- smears\nlibrary_name: diascope\n---\n\n"
        "# A network\n\n## How to use it\n\ndiascope.load\n\n## Licence\n\nMine\n"
    )
    export(bundle, tmp_path, samples(2), text)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["label_names"] == ["a", "b", "c"]
    assert written["label_descriptions"]["a"] == "Ay"
    assert written["diascope"]["decision_weights"] == [1.0, 1.0, 1.0]
    card = ModelCard((tmp_path / "README.md").read_text())
    assert isinstance(card.data, ModelCardData)
    assert (card.data.license, card.data.library_name) == ("mit", "timm")
    assert card.data.tags == ["medical-imaging", "smears", "timm"]
    assert "diascope.load" not in card.text
    assert card.text.index("# A network") < card.text.index("with timm") < card.text.index("Mine")
    weights = load_file(tmp_path / "model.safetensors")
    assert weights["fc.weight"].shape == (3, 512)
    modes = {(tmp_path / name).stat().st_mode for name in ("model.safetensors", "README.md")}
    assert len(modes) == 1


@pytest.mark.parametrize("front", ["tags: [a\n", "- a list\n", "tags: 5\n7: x\n", "a: b: c\n"])
def test_a_broken_front_matter_is_left_out(tmp_path, front):
    export(bundle_of(), tmp_path, samples(1), f"---\n{front}---\n\n# A network\n\nThe text.\n")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict()["library_name"] == "timm"
    assert "The text." in card.text


def ensemble():
    members = [Member(draw_network("timm:resnet18", size_px=SIZE), (0.5,) * 3, (0.2,) * 3)] * 2
    return bundle_of(module=Ensemble(members), members=2, mean=(0.0,) * 3, std=(1.0,) * 3)


def dense():
    from diascope.models.find import find_model

    head = Head(dense_units=16)
    return bundle_of(module=find_model("timm:resnet18", head).build(3, SIZE), head=head)


REFUSED = {
    "compact": (
        lambda: bundle_of("compact", module=Compact(3)),
        r"no architecture called compact[\s\S]*--model timm:NAME --set fit=stretch",
    ),
    "ensemble": (ensemble, "ensemble of 2 networks"),
    "dense": (dense, "dense layer of 16 units"),
    "pad": (lambda: bundle_of(fit="pad"), r"pads with the mean colour[\s\S]*--set fit=stretch"),
    "norm": (lambda: bundle_of("timm:convnext_atto"), "such as a normalisation"),
    "layers": (lambda: bundle_of("timm:mobilenetv3_small_050"), "other layers before the last"),
    "two heads": (lambda: bundle_of("timm:levit_128s", size_px=224), "does not end in one linear"),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED)
def test_what_timm_cannot_hold_is_refused_with_the_reason(tmp_path, make, why):
    with pytest.raises(SettingsError, match=rf"cannot be laid out for timm[\s\S]*{why}"):
        export(make(), tmp_path, samples(2), "")
    assert list(tmp_path.iterdir()) == []


def test_the_export_of_a_changed_network_is_noticed(tmp_path, monkeypatch):
    bundle = bundle_of()

    def other(self, images):
        logits = predict(self, images)
        return logits + np.float32(0.5) * (np.arange(3) == 0) * (len(images) == 2)

    predict = Bundle.predict_logits
    monkeypatch.setattr(Bundle, "predict_logits", other)
    with pytest.raises(SettingsError, match="differ by"):
        export(bundle, tmp_path, samples(2), "")


def test_the_same_bundle_gives_the_same_bytes(tmp_path):
    bundle = bundle_of()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        export(bundle, tmp_path / name, samples(2), "")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert softmax(np.zeros((1, 3))).sum() == pytest.approx(1)
