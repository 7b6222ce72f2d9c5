"""Golden images: another machine that reads, fits or scores images otherwise is noticed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from drawn import run_folders
from drawn.seals import reseal
from PIL import Image

from diascope.bundle import golden as module
from diascope.bundle.bundle import Bundle
from diascope.bundle.card import Card
from diascope.bundle.golden import FILE, NAMES, Golden, draw_files
from diascope.data.image import RULES, decode_image
from diascope.errors import RunError
from diascope.steps.doctor import doctor
from diascope.steps.predict import predict
from diascope.steps.serve import server_settings


@pytest.fixture
def folder(tmp_path):
    """Write the bundle of an untrained network that tells a from b."""
    return save_bundle(tmp_path / "bundle")


def save_bundle(folder):
    run_folders.bundle(("a", "b"), "b").save(folder)
    return folder


def change_weights(folder, change):
    """Save a bundle whose network was changed, and which still expects what it answered before."""
    bundle = Bundle.load(folder)
    with torch.no_grad():
        change(bundle.module.head.bias)
    bundle.save(folder)
    return Bundle.load(folder)


def test_the_machine_that_saved_a_bundle_answers_as_expected(folder):
    bundle = Bundle.load(folder)
    check = bundle.check_golden(n_scored=99)
    assert check.is_equal
    assert check.words() == "8 of 8 golden images as expected."
    assert check.largest < 1e-6
    assert (folder / FILE).stat().st_size < 200_000


def test_the_same_network_gives_the_same_file(folder, tmp_path):
    again = save_bundle(tmp_path / "again")
    assert (folder / FILE).read_bytes() == (again / FILE).read_bytes()


def test_the_images_have_odd_shapes_and_kinds():
    shapes = [decode_image(content).shape for content in draw_files()]
    assert len(shapes) == len(NAMES) == 8
    assert {(100, 200, 3), (17, 31, 3), (500, 1, 3)} < set(shapes)
    assert sum(content.startswith(b"\xff\xd8") for content in draw_files()) == 1


@pytest.mark.parametrize("name", ["size_px", "fit"])
def test_another_resize_is_named(folder, name):
    changes = {"size_px": 48} if name == "size_px" else {"fit": "stretch"}
    reseal(folder / "card.json", **changes)
    check = Bundle.load(folder).check_golden()
    assert not check.has_equal_pixels
    assert "noise" in check.fitted_otherwise
    assert check.decoded_otherwise == ()
    assert "resized to other pixels" in check.words()


def test_another_decoder_is_named_with_its_version(folder, monkeypatch):
    bundle = Bundle.load(folder)

    def one_brighter(content):
        decoded, fitted = read(content, bundle.card.pixels)
        is_jpeg = content.startswith(b"\xff\xd8")
        return (decoded + is_jpeg, fitted + is_jpeg) if is_jpeg else (decoded, fitted)

    read = module._read
    monkeypatch.setattr(module, "_read", lambda content, _pixels: one_brighter(content))
    check = bundle.check_golden()
    assert check.decoded_otherwise == ("jpeg",)
    assert not check.is_equal
    assert check.is_usable
    assert f"1 decoded to other pixels (jpeg; Pillow {Image.__version__}" in check.words()


def test_another_network_is_measured_and_other_calls_are_a_warning(folder):
    slightly = change_weights(folder, lambda bias: bias[0].add_(0.01)).check_golden()
    assert slightly.has_equal_pixels
    assert not slightly.is_equal
    assert slightly.is_usable
    assert 1e-4 < slightly.largest < 0.01
    assert "probabilities of the 3 scored differ by up to 0.00" in slightly.words()
    wrong = change_weights(folder, lambda bias: bias[1].add_(50)).check_golden()
    assert wrong.n_called_otherwise
    assert wrong.words().startswith("WARNING: This machine answers otherwise")


def test_recalibration_and_thresholds_move_what_is_expected(folder):
    reseal(folder / "card.json", temperature=2.0, logit_offset=[0.4, -0.4], threshold=0.9)
    assert Bundle.load(folder).check_golden(n_scored=99).is_equal


def test_saving_elsewhere_keeps_the_answers_of_the_first_machine(folder, tmp_path):
    bundle = change_weights(folder, lambda bias: bias[0].add_(0.5))
    bundle.save(tmp_path / "copy")
    assert not Bundle.load(tmp_path / "copy").check_golden().is_equal


def test_a_bundle_without_golden_images_is_told_so_by_doctor_alone(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    reseal(folder / "card.json", golden_sha256="")
    (folder / FILE).unlink()
    assert Bundle.load(folder).check_golden() is None
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    predict(folder, [tmp_path / "x.png"], out=tmp_path / "p.csv")  # a warning would fail the test
    assert (doctor(folder)[0].state, doctor(folder)[0].fix) == ("missing", "")
    assert "holds none" in doctor(folder)[0].text


def test_predict_serve_and_doctor_say_it(folder, tmp_path, call_here, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    equal = call_here("predict", folder, tmp_path / "x.png")
    assert equal.returncode == 0
    assert "golden" not in equal.stdout + equal.stderr
    assert "8 of 8 golden images as expected" in call_here("doctor", folder).stdout
    table = (tmp_path / "predictions.csv").read_text().splitlines()[0]

    change_weights(folder, lambda bias: bias[1].add_(50))
    done = call_here("predict", folder, tmp_path / "x.png", "--overwrite")
    assert done.returncode == 0
    for stream in (done.stdout, done.stderr):
        assert sum("WARNING: This machine" in line for line in stream.splitlines()) == 1
    assert (tmp_path / "predictions.csv").read_text().splitlines()[0] == table
    with pytest.warns(UserWarning, match="This machine answers otherwise"):
        predict(folder, [tmp_path / "x.png"], out=tmp_path / "again.csv")
    told: list[str] = []
    server_settings([folder], say=told.append)
    assert ": WARNING: This machine" in told[0]
    assert call_here("doctor", folder).returncode == 2


def test_images_that_may_be_passed_on_are_among_them():
    examples = [np.full((64, 64, 3), value, np.uint8) for value in (10, 200, 90)]
    bundle = run_folders.bundle(("a", "b"), "b")
    made = module.make_golden(bundle.card, bundle.predict_logits, examples)
    assert made is not None
    assert made.names()[8:] == ["example 1", "example 2"]
    assert np.array_equal(decode_image(made.contents[8]), examples[0])
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    large = module.make_golden(bundle.card, bundle.predict_logits, [noise])
    assert large is not None
    assert len(large.contents) == 8


def test_a_training_notes_its_pixel_rules_and_golden_images(trained):
    card = Card.load(trained.folder / "bundle")
    assert card.pixel_rules == RULES
    assert card.golden_sha256
    without = card.model_copy(update={"golden_sha256": ""})
    assert without.digest == card.digest
    assert Bundle.load(trained.folder / "bundle").check_golden().is_equal


CHANGES = {
    "no images": lambda g: {"contents": (), "decoded_sha256": g.decoded_sha256[:0]},
    "other lengths": lambda g: {"decoded_sha256": g.decoded_sha256[:3]},
    "other classes": lambda _: {"raw_logits": np.zeros((8, 3), np.float32)},
    "not finite": lambda _: {"raw_logits": np.full((8, 2), np.nan, np.float32)},
    "another kind": lambda _: {"raw_logits": np.zeros((8, 2), np.int32)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_of_other_arrays_is_refused(folder, change):
    whole = Bundle.load(folder).golden
    sha256 = dataclasses.replace(whole, **change(whole)).save(folder)
    reseal(folder / "card.json", golden_sha256=sha256)
    with pytest.raises(RunError, match=r"golden\.safetensors"):
        Bundle.load(folder)


def test_a_damaged_or_missing_file_is_one_message(folder):
    (folder / FILE).write_bytes(b"x" * 50)
    with pytest.raises(RunError, match=r"golden\.safetensors is not the file that the card names"):
        Bundle.load(folder)
    (folder / FILE).unlink()
    with pytest.raises(RunError, match=r"golden\.safetensors is missing"):
        Bundle.load(folder)


def test_a_hostile_image_is_not_decoded_but_named(folder):
    whole = Bundle.load(folder).golden
    bomb = module._file(Image.new("L", (10_000, 10_000)), "PNG")
    check = with_files(folder, bomb, whole.contents[1][:60], *whole.contents[2:]).check_golden()
    assert check.unread == ("noise", "gradient")
    assert not check.is_usable
    assert "2 cannot be read (noise, gradient); no call differs among the 3 sc" in check.words()
    for kind in ("TIFF", "GIF"):
        other = module._file(Image.new("L", (9, 9)), kind)
        with pytest.raises(RunError, match="not all PNG and JPEG files"):
            with_files(folder, other, *whole.contents[1:])


def with_files(folder, *contents):
    """Load a bundle whose golden images are other files."""
    other = dataclasses.replace(Bundle.load(folder).golden, contents=contents)
    reseal(folder / "card.json", golden_sha256=other.save(folder))
    return Bundle.load(folder)


def test_where_nothing_can_be_scored_a_machine_is_not_usable(folder):
    whole = Bundle.load(folder).golden
    jpeg = NAMES.index("jpeg")
    broken = [*whole.contents]
    broken[jpeg] = broken[jpeg][:30]
    check = with_files(folder, *broken).check_golden()
    assert (check.unread, check.is_usable, check.is_equal) == (("jpeg",), True, False)
    check = with_files(folder, *[content[:30] for content in whole.contents]).check_golden()
    assert not check.is_usable
    assert check.words().startswith("WARNING")
    assert "none could be scored" in check.words()
    assert "no call differs" not in check.words()


def test_a_machine_that_gives_nan_is_not_usable(folder):
    bundle = Bundle.load(folder)
    check = module.check_golden(
        bundle.golden, bundle.card, lambda x: np.full((len(x), 2), np.nan, np.float32), n_scored=3
    )
    assert not check.is_usable
    assert "3 without a finite score; none could be scored." in check.words()
    assert "up to" not in check.words()


def test_a_network_that_gives_no_finite_score_gets_none():
    bundle = run_folders.bundle(("a", "b"), "b")
    nothing = module.make_golden(bundle.card, lambda x: np.full((len(x), 2), np.nan), [])
    assert nothing is None
    assert isinstance(module.make_golden(bundle.card, bundle.predict_logits, []), Golden)
