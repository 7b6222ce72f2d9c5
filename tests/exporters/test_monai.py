"""The layout of MONAI bundles: MONAI itself parses it, and it answers as the bundle."""

from __future__ import annotations

import json
import pathlib
import pickletools
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn.deep_rgb import png_of, tiff_of
from drawn.networks import draw_bundle, draw_network
from PIL import Image
from safetensors.torch import load_file

from diascope.errors import SettingsError
from diascope.exporters import monai
from diascope.exporters.spec import Sample
from diascope.models.ensemble import Ensemble, Member

SIZE = 32
REQUIRED = {  # https://docs.monai.io/en/latest/mb_specification.html
    **dict.fromkeys(("version", "monai_version", "pytorch_version", "numpy_version"), str),
    **dict.fromkeys(("task", "description", "authors", "copyright"), str),
    **dict.fromkeys(("required_packages_version", "network_data_format", "changelog"), dict),
}
OF_A_TENSOR = {
    **dict.fromkeys(("type", "format", "modality", "dtype"), str),
    **{"num_channels": int, "spatial_shape": list, "value_range": list},
    **{"is_patch_data": bool, "channel_def": dict},
}
BY_TORCH_ALONE = """
import json, sys
import numpy as np, torch
network = torch.export.unflatten(torch.export.load(sys.argv[1])).eval()
x = torch.from_numpy(np.load(sys.argv[2])).permute(0, 3, 1, 2).float()
with torch.inference_mode():
    print(json.dumps([network(x).tolist(), network(x[:1]).tolist()]))
assert "diascope" not in sys.modules
"""


def bundle_of(name="compact", *, module=None, fit="pad", **facts):
    module = module or draw_network(name, size_px=SIZE)
    facts = {"temperature": 1.7, "views": 5, **facts}
    found = draw_bundle(module, size_px=SIZE, model=name, **facts)
    update = {"fit": fit, "logit_offset": (0.3, -0.2, 0.1)}
    return replace(found, card=found.card.model_copy(update=update))


def samples():
    rng = np.random.default_rng(3)
    shapes = [(40, 60), (64, 64), (20, 31), (90, 33), (200, 100), (1, 500), (17, 31)]
    return [Sample(f"{h}x{w}", rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in shapes]


@pytest.mark.slow
def test_a_process_with_torch_alone_gives_the_probabilities_of_the_bundle(tmp_path):
    bundle = bundle_of()
    exported = monai.export(bundle, tmp_path, samples(), "", with_pickle=False)
    squares = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", squares)
    command = [sys.executable, "-c", BY_TORCH_ALONE, str(tmp_path / monai.PROGRAM)]
    done = subprocess.run(
        [*command, str(tmp_path / "x.npy")], capture_output=True, text=True, check=True
    )
    found, first = map(np.array, json.loads(done.stdout))
    expected = bundle.predict_proba(squares)
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(first - expected[:1]).max() < 1e-5
    assert exported.says[0].startswith("Checked on 7 images, loaded by torch: probabilities")


@pytest.mark.slow
def test_nothing_is_pickled_and_the_layout_says_that_it_is_not_complete(tmp_path):
    exported = monai.export(bundle_of(), tmp_path, samples()[:2], "", with_pickle=False)
    assert not (tmp_path / monai.PICKLE).exists()
    assert exported.says[-1].startswith("Not a complete MONAI bundle: ")
    with zipfile.ZipFile(tmp_path / monai.PROGRAM) as program:
        for name in program.namelist():
            content = program.read(name)
            if name.endswith(".json") or "weight" in name or "tensor" in name:
                continue
            assert not content.startswith((b"PK", b"\x80")), name


@pytest.mark.slow
def test_a_pickle_is_written_where_it_is_asked_for_and_holds_tensors_alone(tmp_path):
    exported = monai.export(bundle_of(), tmp_path, samples()[:2], "", with_pickle=True)
    assert "is a pickle, of tensors alone" in exported.says[-1]
    state = torch.load(tmp_path / monai.PICKLE, weights_only=True)
    beside = load_file(tmp_path / monai.WEIGHTS)
    assert set(state) == set(beside)
    assert all(torch.equal(state[name], beside[name]) for name in state)
    network = torch.export.unflatten(torch.export.load(tmp_path / monai.PROGRAM))
    network.load_state_dict(state)
    with zipfile.ZipFile(tmp_path / monai.PICKLE) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".pkl")]
        words = [arg for op, arg, _ in pickletools.genops(file.read(name)) if op.name == "GLOBAL"]
    assert {str(word).split()[0] for word in words} <= {"collections", "torch", "torch._utils"}


def test_metadata_have_every_required_key_of_the_right_kind(tmp_path):
    bundle = bundle_of(class_titles={"a": "Ay"})
    monai.export(bundle, tmp_path, samples()[:2], "", with_pickle=False)
    found = json.loads((tmp_path / monai.METADATA).read_text())
    for key, kind in REQUIRED.items():
        assert isinstance(found[key], kind), key
    formats = found["network_data_format"]
    for tensor in (formats["inputs"]["image"], formats["outputs"]["pred"]):
        for key, kind in OF_A_TENSOR.items():
            assert isinstance(tensor[key], kind), key
        assert len(tensor["channel_def"]) == tensor["num_channels"] == 3
    assert formats["outputs"]["pred"]["channel_def"]["0"] == "Ay"
    assert formats["inputs"]["image"]["spatial_shape"] == [SIZE, SIZE]


@pytest.mark.slow
def test_readme_and_licence_come_from_the_model_card(tmp_path):
    text = (
        "---\nlicense: mit\n---\n\n# A network\n\n## How to use it\n\nx\n\n"
        "## Data\n\n- The bundle holds 9 training images.\n- More.\n\n## Licence\n\nMine\n"
    )
    monai.export(bundle_of(), tmp_path, samples()[:2], text, with_pickle=False)
    page = (tmp_path / monai.README).read_text()
    assert page.startswith("# A network\n\n## How to use it with MONAI\n")
    assert "Not a complete MONAI bundle" in page
    assert "training images" not in page
    assert "in the order of the classes: a, b, c." in page
    assert "Left out" not in page
    assert (tmp_path / monai.WEIGHTS).stat().st_mode == (tmp_path / monai.README).stat().st_mode
    assert (tmp_path / monai.LICENCE).read_text() == "Mine\n"


@pytest.mark.slow
def test_the_same_bundle_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        exported = monai.export(bundle_of(), tmp_path / name, samples()[:2], "", with_pickle=True)
        for path in exported.files:
            if name == "two":
                first = (tmp_path / "one" / path).read_bytes()
                assert (tmp_path / "two" / path).read_bytes() == first, path


def opened(path):
    """Open a file as the first step of ``inference.json`` does."""
    step = monai.inference(bundle_of().card)["preprocessing"]["transforms"][0]["func"]
    return eval(step.removeprefix("$"), {"Image": Image, "pathlib": pathlib})(str(path))  # noqa: S307 - as MONAI does


def test_files_that_pillow_would_convert_otherwise_are_refused_in_words(tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, (9, 8, 3), dtype=np.uint16)
    plain = Image.fromarray((deep >> 8).astype(np.uint8))
    palette = plain.quantize(4)
    for name, image in {"a.png": plain, "b.jpg": plain.convert("L"), "c.tif": plain}.items():
        image.save(tmp_path / name)
        assert opened(tmp_path / name).copy().size == (8, 9)
    plain.convert("RGBA").save(tmp_path / "alpha.png")
    plain.save(tmp_path / "key.png", transparency=(0, 0, 0))
    palette.save(tmp_path / "palette.png")
    Image.fromarray(deep[:, :, 0]).save(tmp_path / "deep.png")
    Image.fromarray(deep[:, :, 0]).save(tmp_path / "deep.tif")
    (tmp_path / "deep_rgb.png").write_bytes(png_of(deep))
    (tmp_path / "deep_rgb.tif").write_bytes(tiff_of(deep))
    for name in ("alpha", "key", "palette", "deep", "deep_rgb"):
        for path in tmp_path.glob(f"{name}.*"):
            with pytest.raises(ValueError, match=rf"{path.name} is not grey or RGB of 8 bits"):
                opened(path)


def test_a_bundle_for_16_bit_files_is_refused(tmp_path):
    bundle = bundle_of()
    card = bundle.card.model_copy(update={"value_range": (0, 4095)})
    with pytest.raises(
        SettingsError, match=r"0-4095 to 0-255, and inference\.json reads files of 8"
    ):
        monai.export(replace(bundle, card=card), tmp_path, samples()[:1], "", with_pickle=False)
    assert not list(tmp_path.iterdir())


def ensemble():
    members = [
        Member(draw_network("compact", size_px=SIZE, seed=seed), (0.4 + seed / 10,) * 3, (0.2,) * 3)
        for seed in range(2)
    ]
    return bundle_of(module=Ensemble(members), members=2, mean=(0.0,) * 3, std=(1.0,) * 3)


BUNDLES = {
    "pad": bundle_of,
    "stretch": lambda: bundle_of(fit="stretch"),
    "ensemble": ensemble,
    "timm": lambda: bundle_of("timm:resnet18", fit="stretch", views=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", BUNDLES.values(), ids=BUNDLES)
def test_monai_parses_and_runs_it_with_the_same_answer(tmp_path, make):
    pytest.importorskip("monai", reason="MONAI is not installed: `make readers`")
    bundle, images = make(), samples()
    exported = monai.export(bundle, tmp_path, images, "", with_pickle=False)
    assert any("8-bit PNG, by inference.json in MONAI" in line for line in exported.says)
    found = monai.run_inference(tmp_path, images)
    assert np.abs(found - bundle.predict_proba([one.image for one in images])).max() < 1e-5


@pytest.mark.slow
def test_the_program_of_the_readme_runs_and_monai_finds_the_shapes_that_it_states(tmp_path):
    pytest.importorskip("monai", reason="MONAI is not installed: `make readers`")
    bundle, images = bundle_of(), samples()[:2]
    monai.export(bundle, tmp_path, images, "", with_pickle=False)
    (tmp_path / "images").mkdir()
    for one in images:
        Image.fromarray(one.image).save(tmp_path / "images" / f"{one.name}.png")
    code = (tmp_path / monai.README).read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("IMAGES", "images") + (
        "from monai.bundle import verify_net_in_out\n"
        f"verify_net_in_out('network_def', meta_file='{monai.METADATA}', "
        f"config_file='{monai.INFERENCE}', device='cpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("images/")]
    expected = bundle.predict_proba([one.image for one in sorted(images, key=lambda o: o.name)])
    assert np.abs(np.array(rows, float) - expected).max() < 1e-5
    assert "verified with no error" in done.stdout + done.stderr
