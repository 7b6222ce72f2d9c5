"""The drawn set: same bytes from the same seed, true places of parasites, no easy way out."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from diascope.data.sources.folder import open_files
from diascope.datasets import synthetic
from diascope.datasets.drawing.camera import photograph
from diascope.datasets.drawing.parasites import MIMICS, add_parasite
from diascope.datasets.drawing.red_cell import grow_cell
from diascope.datasets.drawing.smear import stain_smear
from diascope.errors import DataError

CONTROLS = Path(__file__).parents[2] / "benchmarks" / "honesty" / "synthetic_controls.py"


def digest(folder: Path) -> str:
    """Digest of all names and bytes below a folder."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    synthetic.fake(folder)
    return folder


@contextmanager
def fewer_cells() -> Iterator[None]:
    """Let all patients be drawn with 120 cells in all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "N_CELLS", 120)
        patch.setattr(synthetic, "N_PARASITIZED", 50)
        patch.setattr(synthetic, "FEWEST_CELLS", 1)
        yield


@pytest.fixture
def few_cells() -> Iterator[None]:
    with fewer_cells():
        yield


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    with fewer_cells():
        synthetic.draw(folder, 0, lambda *_: None)
    return folder


def test_same_seed_draws_the_same_bytes_and_another_seed_others(
    few_cells: None, drawn: Path, tmp_path: Path
) -> None:
    synthetic.draw(tmp_path / "again", 0, lambda *_: None)
    synthetic.draw(tmp_path / "other", 1, lambda *_: None)
    assert digest(tmp_path / "again") == digest(drawn)
    assert digest(tmp_path / "other") != digest(drawn)


def test_progress_ends_at_the_total(few_cells: None, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    synthetic.draw(tmp_path, 0, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (120, 120)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_drawing_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - that is what is tested
    synthetic.fake(tmp_path)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_index_lists_every_drawn_cell_with_its_patient(drawn: Path) -> None:
    with open_files(drawn) as files:
        table = synthetic.index(files)
    assert table.height == 120
    assert table["image_id"].is_unique().all()
    assert table["group"].n_unique() == synthetic.N_PATIENTS
    assert (table["label"] == "parasitized").sum() == 50
    assert all((drawn / path).is_file() for path in table["path"])
    folder_is_infected = table["path"].str.contains("/Parasitized/")
    assert (folder_is_infected == (table["label"] == "parasitized")).all()
    assert table["path"].str.contains(r"/S\d\d_cell_\d{4}\.png$").all()


def test_index_reads_the_miniature(miniature: Path) -> None:
    with open_files(miniature) as files:
        table = synthetic.index(files)
    assert table.columns == ["image_id", "path", "label", "group", "stage"]
    assert set(table["label"]) == {"uninfected", "parasitized"}
    assert table["group"].n_unique() == 3


def test_ten_patients_have_no_parasite(drawn: Path) -> None:
    table = pl.read_csv(drawn / "cells.csv")
    infected = table.group_by("patient").agg((pl.col("label") == "parasitized").sum())
    assert (infected["label"] == 0).sum() == synthetic.N_CLEAR_PATIENTS


def test_full_plan_has_uneven_patients_and_the_declared_totals() -> None:
    counts = np.array(synthetic._cells_per_patient(np.random.default_rng(3)))
    assert counts.sum() == synthetic.N_CELLS == synthetic.DATASETS[0].n_images
    assert counts[:, 1].sum() == synthetic.N_PARASITIZED
    assert (counts[:, 0] >= synthetic.FEWEST_CELLS).all()
    assert counts.sum(axis=1).max() > 2 * counts.sum(axis=1).min()


def test_parasites_lie_inside_the_crop_and_on_the_cell(drawn: Path) -> None:
    table = pl.read_csv(drawn / "cells.csv")
    for row in table.filter(pl.col("label") == "parasitized").iter_rows(named=True):
        mask = np.asarray(Image.open(drawn / row["file"])).any(axis=2)
        x, y = int(row["parasite_x_px"]), int(row["parasite_y_px"])
        assert 0 <= x < mask.shape[1]
        assert 0 <= y < mask.shape[0]
        assert mask[y, x]
        assert 5 < row["parasite_radius_px"] < min(mask.shape) / 2
        assert row["stage"] in {"ring", "trophozoite"}


def test_cells_without_a_parasite_have_no_place_and_no_stage(drawn: Path) -> None:
    table = pl.read_csv(drawn / "cells.csv")
    clean = table.filter(pl.col("label") == "uninfected")
    for column in ("parasite_x_px", "parasite_y_px", "parasite_radius_px", "stage"):
        assert clean[column].null_count() == clean.height
    assert table.filter(pl.col("label") == "parasitized")["stage"].null_count() == 0


def test_dye_of_the_parasite_is_where_the_table_says() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        cell = grow_cell(stain_smear(rng), rng)
        parasite = add_parasite(cell, rng)
        axis = (np.arange(len(cell.dye)) + 0.5) * 2
        away = np.hypot(axis[None, :] - parasite.x_px, axis[:, None] - parasite.y_px)
        within = cell.dye[away <= parasite.radius_px].sum()
        assert within > 0.93 * cell.dye.sum()


@pytest.mark.parametrize("draw_mimic", list(MIMICS), ids=lambda mimic: mimic.__name__)
def test_every_mimic_leaves_a_mark(draw_mimic) -> None:
    marks = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        cell = grow_cell(stain_smear(rng), rng)
        draw_mimic(cell, rng)
        marks.append(cell.dye_px())
        assert np.isfinite(cell.dye).all()
    assert np.median(marks) > 10


def test_crops_are_black_outside_a_stair_stepped_mask() -> None:
    rng = np.random.default_rng(4)
    image, _ = photograph(grow_cell(stain_smear(rng), rng), rng)
    mask = np.asarray(image).any(axis=2)
    assert image.mode == "RGB"
    assert image.width % 3 == 1
    assert 0.4 < mask.mean() < 0.95
    blocks = mask[:-1, :-1].reshape(image.height // 3, 3, image.width // 3, 3)
    assert (blocks.min(axis=(1, 3)) == blocks.max(axis=(1, 3))).all()


def test_missing_table_is_refused_with_a_way_out(tmp_path: Path) -> None:
    synthetic.fake(tmp_path)
    (tmp_path / "cells.csv").unlink()
    with open_files(tmp_path) as files, pytest.raises(DataError, match=r"no cells\.csv") as caught:
        synthetic.index(files)
    assert caught.value.fix


def test_cell_that_is_not_in_the_table_is_refused(tmp_path: Path) -> None:
    synthetic.fake(tmp_path)
    Image.new("RGB", (40, 40)).save(tmp_path / "cells" / "Uninfected" / "S99_cell_0001.png")
    with open_files(tmp_path) as files, pytest.raises(DataError, match="1 cells are not in"):
        synthetic.index(files)


def test_damaged_table_is_refused(tmp_path: Path) -> None:
    synthetic.fake(tmp_path)
    (tmp_path / "cells.csv").write_text("file,label\na,b,c,d,e,f,g\n")
    with open_files(tmp_path) as files, pytest.raises(DataError, match="cannot be read"):
        synthetic.index(files)


@pytest.mark.slow
def test_size_silhouette_and_colours_alone_stay_below_070(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("synthetic_controls", CONTROLS)
    assert spec is not None
    assert spec.loader is not None
    controls = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(controls)
    synthetic.draw(tmp_path, 0, lambda *_: None)
    for control, classifiers in controls.control_aurocs(tmp_path).items():
        for classifier, aurocs in classifiers.items():
            assert aurocs.mean() < 0.7, f"{control} by {classifier}"
