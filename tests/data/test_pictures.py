"""The reader of one image: unchanged since it was prepared, or an error that names the file."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from diascope.data.image import Decoding, decode_image
from diascope.data.pictures import Pictures
from diascope.data.sources.folder import open_files
from diascope.errors import ImageError, SourceError
from diascope.steps.prepare import prepare


@pytest.fixture
def copied(cells, home, tmp_path):
    """Return the folder of a prepared data set, and its manifest."""
    copy = shutil.copytree(cells, tmp_path / "copy")
    return copy, prepare("malaria", source=copy).manifest


def test_a_row_gives_the_decoded_pixels_of_its_file(copied):
    folder, table = copied
    with open_files(folder) as files:
        pictures = Pictures(files, table, Decoding())
        assert len(pictures) == len(list(pictures)) == table.height
        content = (folder / table["path"][5]).read_bytes()
        assert pictures.content(5) == pictures.read(5)[0] == content
        assert np.array_equal(pictures[5], decode_image(content))
        assert np.array_equal(pictures.of(table[5:7])[0], pictures[5])


def test_a_file_that_has_changed_or_gone_is_an_error_that_names_it(copied):
    folder, table = copied
    first, second = (folder / table["path"][row] for row in (0, 1))
    first.write_bytes(second.read_bytes())
    with open_files(folder) as files:
        second.unlink()
        pictures = Pictures(files, table, Decoding())
        for row in (0, 1):
            with pytest.raises(SourceError) as raised:
                pictures[row]
            assert table["path"][row] in str(raised.value)


def test_an_image_that_cannot_be_decoded_is_named(copied, monkeypatch):
    def refuse(_content):
        raise ImageError("truncated")

    folder, table = copied
    monkeypatch.setattr("diascope.data.image.open_image", refuse)
    with open_files(folder) as files, pytest.raises(ImageError) as raised:
        Pictures(files, table, Decoding())[3]
    assert raised.value.where == table["path"][3]
