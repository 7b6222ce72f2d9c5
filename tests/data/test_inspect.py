"""Images are inspected in parts, here or in other processes: what is found is the same."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from diascope.data import inspect
from diascope.data.duplicates.described import DescribedPictures, describe_picture
from diascope.data.image import decode_image
from diascope.data.inspect import Inspected, inspect_images
from diascope.data.inspect_part import Part, PartTask, inspect_part
from diascope.data.sources.folder import open_files
from diascope.errors import SourceError

N_IMAGES = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images of 8 and of 16 bits, a featureless one, and two that cannot be read."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(3)
    for number in range(N_IMAGES):
        noise = cv2.GaussianBlur(rng.normal(size=(60, 50)), (0, 0), 2)
        image = np.clip(128 + 900 * noise, 0, 255).astype(np.uint8)
        if number % 5 == 1:
            image = image.astype(np.uint16) * 13
        if number == 9:
            image[:] = 7
        cv2.imwrite(str(root / f"{number:02d}.png"), image)
    for name in ("04.png", "11.png"):  # one of 8 bits, one of 16
        path = root / name
        path.write_bytes(path.read_bytes()[:60])
    return root


def inspected(folder: Path, spill: Path, **options) -> Inspected:
    with open_files(folder) as files:
        table = pl.DataFrame({"path": files.names(), "nr": range(N_IMAGES)})
        return inspect_images(files, table, alpha_background="black", spill=spill, **options)


def _in_another_process(task: PartTask) -> Part:
    with open_files(task.root) as files:
        return inspect_part(files, task, n_threads=1)


def features_of(found: Inspected) -> list[tuple]:
    assert found.features is not None
    described = DescribedPictures(found.features.paths)
    pictures = [described[number] for number in found.features.numbers.tolist()]
    return [
        (one.shape, one.features.geometry.tolist(), one.features.descriptors.tolist())
        for one in pictures
    ]


def test_parts_of_any_size_give_the_same(folder, tmp_path, monkeypatch):
    whole = inspected(folder, tmp_path / "whole")
    assert [one.path for one in whole.rejected] == ["04.png", "11.png"]
    assert whole.table["nr"].to_list() == [n for n in range(N_IMAGES) if n not in (4, 11)]
    assert whole.facts["sixteen_bits"]["n_images"] == 4
    assert len(features_of(whole)) == whole.table.height
    for size in (1, 4, 7):
        monkeypatch.setattr(inspect, "PART_IMAGES", size)
        parts = inspected(folder, tmp_path / str(size))
        assert parts.table.equals(whole.table)
        assert (parts.rejected, parts.decoding, parts.facts) == (
            whole.rejected,
            whole.decoding,
            whole.facts,
        )
        assert features_of(parts) == features_of(whole)


@pytest.mark.slow  # a new process loads the libraries, and there are two
def test_other_processes_find_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(inspect, "PART_IMAGES", 4)
    here = inspected(folder, tmp_path / "here")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        there = inspected(
            folder,
            tmp_path / "there",
            map_parts=lambda tasks: pool.map(_in_another_process, tasks),
        )
    assert there.table.equals(here.table)
    assert (there.rejected, there.decoding, there.facts) == (
        here.rejected,
        here.decoding,
        here.facts,
    )
    written = [[path.read_bytes() for path in one.features.paths] for one in (here, there)]
    assert written[0] == written[1]


def test_features_are_those_of_the_pixels(folder, tmp_path):
    found = inspected(folder, tmp_path)
    row = found.table["path"].to_list().index("05.png")
    wanted = describe_picture(decode_image((folder / "05.png").read_bytes()))
    shape, geometry, descriptors = features_of(found)[row]
    assert shape == wanted.shape == (60, 50)
    assert len(geometry) > 10
    assert np.array_equal(geometry, wanted.features.geometry)
    assert np.array_equal(descriptors, wanted.features.descriptors)


def test_a_file_of_features_that_was_cut_off_is_an_error(folder, tmp_path):
    found = inspected(folder, tmp_path)
    path = found.features.paths[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SourceError, match="gone or damaged"):
        DescribedPictures([path])
    path.unlink()
    with pytest.raises(SourceError, match="gone or damaged"):
        DescribedPictures([path])
