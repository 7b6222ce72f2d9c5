"""Show: pictures are of what they say, test images stay sealed, same data, same bytes."""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from diascope.cli.app import app
from diascope.data.image import Decoding
from diascope.data.pictures import Pictures
from diascope.data.prepared import Prepared, load_prepared
from diascope.data.sources.folder import FolderFiles
from diascope.datasets import breast_idc, ham10000
from diascope.errors import RunError, SettingsError, SourceError
from diascope.reporting.figures.mosaic import GROUND, Strip, mosaic_figure, tile
from diascope.reporting.figures.style import class_colours, figure_to_png
from diascope.reporting.pseudonyms import true_names
from diascope.reporting.show.page import render_show
from diascope.reporting.show.plates import (
    View,
    brightness_and_contrast,
    draw_plates,
    sample_to_measure,
)
from diascope.steps.prepare import prepare
from diascope.steps.show import show
from diascope.system.progress import silent

EVERYTHING = {"examples", "groups_examples", "balance", "groups", "sizes", "shapes"}
EVERYTHING |= {"brightness", "contrast"}


@pytest.fixture
def own_cells(cells, tmp_path) -> Path:
    """Return a copy of the miniature that a test may change, prepared."""
    source = Path(shutil.copytree(cells, tmp_path / "own"))
    prepare("malaria", source=source)
    return source


def view_of(n_classes: int) -> View:
    """Return a view of as many classes, 6 images of each, of up to 9 groups."""
    classes = tuple(f"class {number:04d}" for number in range(n_classes))
    rows = [
        (f"{number}-{copy}", classes[number], f"{split}-{number % 3}", split, 9, 9)
        for number in range(n_classes)
        for copy, split in enumerate(("train", "train", "train", "val", "test", "test"))
    ]
    schema = ["image_id", "label", "group", "split", "width", "height"]
    manifest = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        path=pl.col("image_id"), sha256=pl.col("image_id")
    )
    return View(manifest, ("train", "val"), classes, "patient", true_names(manifest))


class Grey(Pictures):
    """Grey images in the place of files; ``seen`` lists those that were read."""

    def __init__(self, rows: pl.DataFrame) -> None:
        super().__init__(FolderFiles(Path(__file__).parent), rows, Decoding())
        self.seen: list[str] = []

    def of(self, manifest: pl.DataFrame) -> Grey:
        others = Grey(manifest)
        others.seen = self.seen
        return others

    def read(self, row: int) -> tuple[bytes, np.ndarray]:
        self.seen.append(self.paths[row])
        return b"", np.full((9, 9, 3), 100, np.uint8)


def test_the_page_holds_all_pictures_and_needs_no_network(prepared, tmp_path):
    page = show("malaria", per="group", out=tmp_path / "look")
    text = page.read_text("utf-8")
    assert {path.stem for path in page.parent.glob("*.png")} == EVERYTHING
    assert text.count('src="data:image/png;base64,') == len(EVERYTHING)
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    n_test = prepared.manifest.filter(pl.col("split") == "test").height
    assert f"The {n_test} test images stay sealed" in text
    assert "Only a part of the data set was prepared: 72 of 27,558 images." in text


def test_the_same_data_give_the_same_bytes(prepared, tmp_path):
    first, second = (show("malaria", per="group", out=tmp_path / name) for name in "ab")
    for path in first.parent.iterdir():
        assert path.read_bytes() == (second.parent / path.name).read_bytes()


def test_no_file_of_a_test_image_is_read_unless_it_is_asked_for(own_cells, tmp_path):
    manifest = load_prepared("malaria").manifest
    for path in manifest.filter(pl.col("split") == "test")["path"]:
        (own_cells / path).unlink()
    text = show("malaria", per="group", out=tmp_path / "look").read_text("utf-8")
    assert "pictures of the test images" not in text
    with pytest.raises(SourceError, match="no file named"):
        show("malaria", split="test", out=tmp_path / "test")


def test_a_look_at_test_says_what_it_costs(prepared, tmp_path):
    text = show("malaria", split="test", out=tmp_path / "look").read_text("utf-8")
    assert "These are pictures of the test images" in text
    assert "stay sealed" not in text


def test_a_set_of_test_images_alone_is_looked_at_when_asked(prepared, tmp_path):
    sealed = prepared.manifest.with_columns(split=pl.lit("test"))
    Prepared(prepared.dataset, sealed, prepared.fingerprint).save()
    with pytest.raises(SettingsError, match=r"no images of train or val(.|\n)*--split"):
        show("malaria", out=tmp_path / "look")
    assert show("malaria", split="test", out=tmp_path / "look").is_file()


def test_no_patient_is_named_unless_asked(prepared, tmp_path):
    text = show("malaria", per="group", out=tmp_path / "look").read_text("utf-8")
    without_pictures = re.sub(r'src="data:[^"]*"', "", text)
    assert not re.search(r"\bC\d+P?\d*\b", without_pictures)
    named = show("malaria", per="group", show_ids=True, out=tmp_path / "named")
    pictures = [
        page.with_name("groups_examples.png").read_bytes()
        for page in (tmp_path / "look" / "index.html", named)
    ]
    assert pictures[0] != pictures[1]


def test_what_else_is_in_the_folder_is_left_alone(prepared, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "examples.png").write_bytes(b"old")
    show("malaria", out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "examples.png").read_bytes().startswith(b"\x89PNG")


def test_an_image_that_changed_is_an_error(own_cells, tmp_path):
    for path in (own_cells / "cell_images").rglob("*.png"):
        Image.new("RGB", (50, 50), "red").save(path)
    with pytest.raises(SourceError, match="has changed"):
        show("malaria", out=tmp_path / "look")


def test_options_and_names_that_are_wrong_are_errors(prepared, tmp_path):
    with pytest.raises(SettingsError, match="--per is class or group"):
        show("malaria", per="patient", out=tmp_path)
    with pytest.raises(SettingsError, match="--split is train, val or test"):
        show("malaria", split="all", out=tmp_path)
    with pytest.raises(RunError, match="has not been prepared"):
        show("ham10000", out=tmp_path)


def test_images_that_are_each_a_group_have_no_examples_by_group(prepared, tmp_path):
    alone = prepared.manifest.with_columns(group=pl.col("image_id"))
    Prepared(prepared.dataset, alone, prepared.fingerprint).save()
    with pytest.raises(SettingsError, match="a group of its own"):
        show("malaria", per="group", out=tmp_path)
    assert not show("malaria", out=tmp_path).with_name("groups.png").exists()


def test_the_last_line_printed_is_the_page(prepared, tmp_path):
    done = CliRunner().invoke(app, ["show", "malaria", "--out", str(tmp_path / "look")])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(tmp_path / "look" / "index.html")


def test_patches_of_one_pixel_and_seven_classes_are_drawn(tmp_path):
    breast_idc.fake(tmp_path / "idc")
    prepare("breast_idc", source=tmp_path / "idc")
    text = show("breast_idc", per="group", out=tmp_path / "a").read_text("utf-8")
    assert "groups_examples" in text
    ham10000.fake(tmp_path / "ham")
    prepare("ham10000", source=tmp_path / "ham")
    text = show("ham10000", out=tmp_path / "b").read_text("utf-8")
    assert "All images have 40 x 30 px." in text
    assert "One row per class" in text


@pytest.mark.parametrize("n_classes", [2, 5, 30, pytest.param(2000, marks=pytest.mark.slow)])
def test_many_classes_are_cut_with_a_note(n_classes):
    view = view_of(n_classes)
    plates = list(draw_plates(view, Grey(view.rows), has_groups=True, progress=silent))
    assert {plate.name for plate in plates} == EVERYTHING - {"sizes", "shapes"}
    about = {"title": "t", "licence": "l", "citation": ""}
    text = render_show(view, plates, name="n", about=about, notes=[])
    assert (f"{n_classes - 20:,} more are not." in text) == (n_classes > 20)
    sizes = [Image.open(io.BytesIO(plate.png)).size for plate in plates]
    assert max(max(size) for size in sizes) < 5000


def test_examples_come_from_as_many_groups_as_possible(prepared):
    names = true_names(prepared.manifest)
    classes = prepared.dataset.task.classes
    view = View(prepared.manifest, ("train", "val"), classes, "patient", names)
    pictures = Grey(view.rows)
    next(draw_plates(view, pictures, has_groups=False, progress=silent))
    rows = view.rows.filter(pl.col("path").is_in(pictures.seen))
    for name in view.classes:
        of_class = view.rows.filter(pl.col("label") == name)
        assert set(rows.filter(pl.col("label") == name)["group"]) == set(of_class["group"])


def test_the_sample_to_measure_has_as_many_of_each_class_and_fewer_of_large_images():
    view = view_of(3)
    rows = view.manifest.sample(30_000, with_replacement=True, seed=0).with_row_index("n")
    rows = rows.with_columns(image_id=pl.col("n").cast(pl.String)).drop("n")
    large = rows.with_columns(width=pl.lit(20_000), height=pl.lit(5_000))
    for manifest, n_wanted in ((rows, 2000), (large, 100)):
        sample = sample_to_measure(View(manifest, ("train",), view.classes, "x", view.names))
        assert sample.height == n_wanted
        counts = sample["label"].value_counts()["count"]
        assert counts.max() - counts.min() <= 1


def test_brightness_and_contrast_are_those_of_the_luminance():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = (0, 255, 0)
    mean, deviation = brightness_and_contrast(image)
    assert mean == pytest.approx(0.7152 * 255 / 2, abs=0.01)
    assert deviation == pytest.approx(0.7152 * 255 / 2, abs=0.01)
    assert brightness_and_contrast(np.full((5000, 3, 3), 7, np.uint8))[0] == pytest.approx(7)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 50), (50, 50), (100, 100), (101, 7)])
def test_a_tile_keeps_shape_and_pixels(shape):
    image = np.arange(shape[0] * shape[1] * 3, dtype=np.uint32).astype(np.uint8)
    image = image.reshape(*shape, 3) // 2
    square = tile(image, 100)
    assert square.shape == (100, 100, 3)
    times = 100 // max(shape)
    if times:
        top, left = (100 - times * shape[0]) // 2, (100 - times * shape[1]) // 2
        shown = square[top : top + times * shape[0], left : left + times * shape[1]]
        assert (shown[::times, ::times] == image).all()
        assert (shown[times - 1 :: times, times - 1 :: times] == image).all()
    n_ground = (square == np.array(GROUND, np.uint8)).all(axis=2).sum()
    assert n_ground == 100 * 100 - (times or 1) ** 2 * shape[0] * shape[1] or not times


def test_a_huge_image_is_reduced_and_a_line_stays_visible():
    square = tile(np.zeros((20_000, 10, 3), np.uint8), 100)
    assert (square == 0).all(axis=2).sum() == 100


def test_a_mosaic_shows_each_pixel_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (50, 50, 3), dtype=np.uint8) for _ in range(3)]
    strips = [Strip("a", "", images, ["x", "y", "x"])]
    figure = mosaic_figure(strips, colours=class_colours(["x", "y"]), n_columns=2, has_frames=True)
    path = tmp_path / "mosaic.png"
    path.write_bytes(figure_to_png(figure, dots_per_inch=100))
    drawn = np.asarray(Image.open(path).convert("RGB"))
    place = [(36 + row * 108, 176 + column * 108) for row, column in ((0, 0), (0, 1), (1, 0))]
    for (top, left), image in zip(place, images, strict=True):
        assert (drawn[top : top + 100 : 2, left : left + 100 : 2] == image).all()
    assert drawn[36, 176 - 2].tolist() == [0x00, 0x72, 0xB2]
    assert drawn[36, 176 + 108 - 2].tolist() == [0xD5, 0x5E, 0x00]


@pytest.mark.slow
def test_real_patches_are_shown(tmp_path):
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    prepare("breast_idc", source=Path(folder) / "idc", near_duplicates=False)
    page = show("breast_idc", per="group", out=tmp_path / "look")
    assert "have 50 x 50 px; the sides of the other" in page.read_text("utf-8")
