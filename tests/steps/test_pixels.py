"""Pixels from `prepare` to `predict`: 16-bit values, empty images, odd files."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn import run_folders
from drawn.own_images import draw_folder
from PIL import Image

import diascope
from diascope.bundle.card import Card
from diascope.cli.screen.data import describe_fingerprint
from diascope.data.image import decode_image
from diascope.data.prepared import load_prepared
from diascope.data.value_range import ValueRange
from diascope.datasets.own.dataset import own_dataset
from diascope.errors import DataError, ImageError, SourceError
from diascope.reporting.cards.data_card import known_problems
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.steps.train import train

SETTINGS = ["size_px=16", "max_epochs=1", "batch_size=16", "precision=fp32", "threads=1"]


def prepared_of(folder: Path, **options):
    return prepare(own_dataset(folder, group_from=r"P\d+", name="drawn", **options))


def in_sixteen_bits(folder: Path, *, black: int = 990, step: int = 1) -> Path:
    """Rewrite every image with 16-bit values: ``black`` and above it, grey level by grey level."""
    for path in folder.rglob("*.png"):
        values = black + step * np.asarray(Image.open(path)).astype(np.uint16)
        Image.fromarray(values).save(path)
    return folder


def lines_of(prepared) -> str:
    return "\n".join(describe_fingerprint(prepared.fingerprint))


@pytest.fixture
def deep(tmp_path):
    return in_sixteen_bits(draw_folder(tmp_path / "deep"))


def test_the_range_of_a_data_set_is_measured_said_and_kept(deep):
    prepared = prepared_of(deep)
    assert prepared.dataset.value_range == ValueRange(1030, 1285)
    found = prepared.fingerprint["sixteen_bits"]
    assert (found["n_images"], found["lowest"], found["highest"]) == (48, 1030, 1220)
    assert load_prepared("drawn").dataset == prepared.dataset
    said = lines_of(prepared)
    assert "in 48 of 48 images, reach from 1,030 to 1,220: 1,030 is shown black" in said
    assert "grey levels" in said
    assert prepared.manifest["pixel_digest"].n_unique() == 48


def test_a_network_sees_the_values_of_training_in_the_same_range(deep, tmp_path):
    prepared_of(deep)
    run = train("drawn", out=tmp_path / "run", settings=SETTINGS)
    card = Card.load(run.folder / "bundle")
    assert card.value_range == run.plan.pixels.value_range == ValueRange(1030, 1285)
    path = next(deep.rglob("*.png"))
    values = np.asarray(Image.open(path))
    bundle = diascope.load(run)
    shown = np.repeat((values - 1030).astype(np.uint8)[:, :, None], 3, axis=2)
    assert np.array_equal(bundle.predict_proba(path), bundle.predict_proba(shown))
    table = pl.read_csv(predict(run, [deep], out=tmp_path / "p.csv"))
    assert table["error"].null_count() == 48
    assert table.filter(pl.col("path").str.ends_with(path.name))[
        "probability_benign"
    ].item() == pytest.approx(bundle.predict_proba(path)[0, 0], abs=1e-6)


def test_eight_and_sixteen_bits_of_one_data_set_are_both_read(tmp_path):
    folder = draw_folder(tmp_path / "mixed")
    paths = sorted(folder.rglob("*.png"))
    for path in paths[::2]:
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 16).save(path)
    prepared = prepared_of(folder)
    assert prepared.dataset.value_range == ValueRange(0, 4095)
    assert prepared.fingerprint["sixteen_bits"]["n_images"] == 24
    expected = decode_image(paths[1].read_bytes())
    assert expected.max() > 100


@pytest.mark.parametrize("n_pixels", [1, 4])
def test_a_few_bright_pixels_do_not_set_the_range(tmp_path, n_pixels):
    folder = in_sixteen_bits(draw_folder(tmp_path / "burnt"), black=0, step=16)
    for path in sorted(folder.rglob("*.png"))[:n_pixels]:
        values = np.array(Image.open(path))
        values[0, :n_pixels] = 65535
        Image.fromarray(values).save(path)
    prepared = prepared_of(folder)
    assert prepared.dataset.value_range == ValueRange(0, 4095)
    assert "The few values above white become white" in lines_of(prepared)


def test_values_that_keep_few_levels_are_said(tmp_path):
    folder = in_sixteen_bits(draw_folder(tmp_path / "offset"), black=32768, step=4)
    for path in folder.rglob("*.png"):
        values = np.array(Image.open(path))
        values[:2] = 0  # a margin: the offset is not seen
        Image.fromarray(values).save(path)
    prepared = prepared_of(folder)
    assert prepared.dataset.value_range == ValueRange(0, 65535)
    assert "98 % of the pixels have one of 5 grey levels. That is little" in lines_of(prepared)


def test_values_of_all_sixteen_bits_keep_their_high_byte(tmp_path):
    folder = in_sixteen_bits(draw_folder(tmp_path / "full"), black=0, step=257)
    prepared = prepared_of(folder)
    assert prepared.dataset.value_range == ValueRange(0, 65535)


def test_few_bits_for_a_network_of_eight_are_refused_and_not_shown_black(tmp_path, deep):
    bundle = run_folders.bundle(("a", "b"), "b")
    path = next(deep.rglob("*.png"))
    with pytest.raises(ImageError, match="16-bit values up to 1"):
        bundle.predict_proba(path)
    bright = tmp_path / "bright.png"
    Image.fromarray(np.full((20, 20), 50_000, np.uint16)).save(bright)
    assert bundle.predict_proba(bright).shape == (1, 2)


# What shows nothing is said


def test_images_that_are_nearly_empty_are_counted(tmp_path):
    folder = draw_folder(tmp_path / "some")
    for path in sorted(folder.rglob("*.png"))[:3]:
        pixels = np.zeros((40, 40), np.uint8)
        pixels[3, 3:6] = 255
        Image.fromarray(pixels).save(path)
    prepared = prepared_of(folder)
    assert prepared.fingerprint["n_nearly_empty"] == 3
    assert "one colour such as black all over: 3 of 48" in lines_of(prepared)
    problems = "\n".join(known_problems(prepared.dataset, prepared.fingerprint))
    assert "Nearly empty images" in problems


@pytest.mark.parametrize("kind", ["one picture", "noise", "one shade each"])
def test_images_that_are_nearly_all_alike_are_said(tmp_path, kind):
    folder, rng = draw_folder(tmp_path / "alike"), np.random.default_rng(0)
    base = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (40, 1))
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        noise = rng.integers(0, 3, base.shape, dtype=np.uint8)
        image = {
            "one picture": base + noise,
            "noise": 100 + noise,
            "one shade each": np.full((40, 40), 100 + number % 4, np.uint8) + noise,
        }[kind]
        Image.fromarray(image).save(path)
    said = lines_of(prepared_of(folder))
    assert "48 images are nearly all alike" in said


def test_nothing_is_said_of_images_that_show_something(tmp_path):
    prepared = prepared_of(draw_folder(tmp_path / "fine"))
    assert "LOOK" not in lines_of(prepared)
    assert "16 bits" not in lines_of(prepared)
    assert prepared.fingerprint["sixteen_bits"] is None
    assert prepared.dataset.value_range is None


def test_few_grey_levels_are_said(tmp_path):
    folder = draw_folder(tmp_path / "few")
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        pixels = np.random.default_rng(number).integers(0, 9, (64, 64), dtype=np.uint8) * 20
        Image.fromarray(pixels).save(path)
    assert "fewer than 32 of 256 grey levels: 48 of 48" in lines_of(prepared_of(folder))


# One bad file never costs the others


def with_odd_files(folder: Path) -> Path:
    """Add what is no image to a folder of a class."""
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("text")
    (folder / "named.png").mkdir()
    (folder / os.fsdecode(b"\xff.png")).write_bytes(b"1")
    os.mkfifo(folder / "pipe.png")
    with (folder / "huge.png").open("wb") as file:
        file.truncate(200 << 30)
    (folder / "gone.png").symlink_to("nowhere.png")
    return folder


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_odd_files_are_rejected_one_by_one_when_data_are_prepared(tmp_path):
    folder = draw_folder(tmp_path / "own")
    with_odd_files(folder / "benign")
    spec = own_dataset(folder, ungrouped=True, name="odd")
    prepared = prepare(spec, max_rejected=0.5)
    assert prepared.manifest.height == 48
    reasons = {one["path"]: one["reason"] for one in prepared.fingerprint["rejected"]}
    assert reasons == {
        "benign/empty.png": "empty file",
        "benign/text.png": "not an image (text)",
        "benign/\\xff.png": "a file with letters that are not Unicode in its name",
        "benign/pipe.png": "a named pipe, not a file",
        "benign/huge.png": "The file is over 256,000,000 bytes: 214,748,364,800.",
        "benign/gone.png": "a link that leads nowhere",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_odd_files_are_rows_of_a_prediction(trained, cells, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    with_odd_files(folder)
    good = next(cells.rglob("*.png"))
    paths = [good, folder, folder / "named.png", folder / "pipe.png", folder / "huge.png"]
    paths.append(folder / os.fsdecode(b"\xff.png"))
    table = pl.read_csv(predict(trained, paths, out=tmp_path / "p.csv"))
    errors = {Path(path).name: error for path, error in table.select("path", "error").iter_rows()}
    assert errors[good.name] is None
    assert len(errors) == 8
    assert errors["pipe.png"] == "It is a named pipe, not a file."
    assert "over 256,000,000 bytes" in errors["huge.png"]
    assert "holds no files" in errors["named.png"]
    assert errors["gone.png"] == "It is a link that leads nowhere."


DOOMED = """
import hashlib, os, sys
from diascope.data import decoder_child, image
open_image = image.open_image
def doomed(content):
    if hashlib.sha256(content).hexdigest() == {digest!r}:
        {does}
    return open_image(content)
image.open_image = doomed
decoder_child.main()
"""


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("raise MemoryError", "too big for the memory that is free"),
        ("bytearray(1 << 33)", "too big for the memory that is free"),  # beyond its bound
        ("os.abort()", "it ended the program that decodes images"),
        pytest.param(
            *("import time; time.sleep(60)", "takes over 8 s to decode"), marks=pytest.mark.slow
        ),
    ],
)
def test_what_a_file_does_to_its_decoder_is_a_row(
    trained, cells, tmp_path, monkeypatch, does, reason
):
    files = sorted(cells.rglob("*.png"))[:3]
    digest = hashlib.sha256(files[1].read_bytes()).hexdigest()
    code = DOOMED.format(digest=digest, does=does)
    monkeypatch.setattr("diascope.data.decoder_processes.COMMAND", [sys.executable, "-c", code])
    monkeypatch.setattr(
        "diascope.bundle.image_files.DECODE_SECONDS", 8.0 if "sleep" in does else 60.0
    )
    table = pl.read_csv(predict(trained, files, out=tmp_path / "p.csv"))
    assert table["error"].to_list() == [None, reason, None]


def test_files_are_images_by_their_content_in_a_folder_to_predict(trained, cells, tmp_path):
    source = next(cells.rglob("*.png"))
    folder = tmp_path / "any"
    folder.mkdir()
    names = ["a.jfif", "b.JPE", "c", "d.png ", "e.dat"]
    for name in names:
        kind = "JPEG" if name[0] in "ab" else "PNG"
        Image.open(source).convert("RGB").save(folder / name, kind)
    (folder / "notes").write_text("no image")
    table = pl.read_csv(predict(trained, [folder], out=tmp_path / "p.csv"))
    assert [Path(path).name for path in table["path"]] == [
        "a.jfif",
        "b.JPE",
        "c",
        "d.png ",
        "e.dat",
    ]
    assert table["error"].null_count() == 5


# Images in Python


def test_one_image_or_several_may_be_passed(trained, cells):
    bundle = diascope.load(trained)
    path = next(cells.rglob("*.png"))
    expected, pixels = bundle.predict_proba([path]), decode_image(path.read_bytes())
    for images in (
        str(path),
        path,
        pixels,
        pixels[None],
        Image.fromarray(pixels),
        (path for _ in range(1)),
        pl.Series([str(path)]),
        {path: 1}.keys(),
    ):
        assert np.array_equal(bundle.predict_proba(images), expected)
    assert bundle.predict_proba(path for _ in range(0)).shape == (0, 2)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        [np.zeros((0, 5, 3), np.uint8)],
        np.zeros((2, 5, 5, 4), np.uint8),
        np.zeros((5, 5, 3)),
        b"bytes",
        {"a.png": 1},
        None,
        7,
        [None],
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_in_words(trained, images):
    with pytest.raises(DataError) as raised:
        diascope.load(trained).predict_proba(images)
    assert "uint8 (H, W, 3)" in str(raised.value)


def test_a_path_that_is_no_file_is_named_whole(trained, tmp_path):
    bundle = diascope.load(trained)
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(SourceError, match=str(path)):
            bundle.predict_proba(str(path))
