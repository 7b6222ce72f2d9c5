"""The pack: made once, whole or not at all, and never from a file that has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from diascope.data.fingerprint import channel_statistics
from diascope.data.image import RULES, decode_image, fit_image
from diascope.data.pack import pack_folder, pack_images
from diascope.data.pixels import Pixels
from diascope.data.sources.folder import open_files
from diascope.errors import ImageError, SourceError
from diascope.steps.prepare import prepare
from diascope.system.files import write_bytes

PIXELS = Pixels(16, "pad", "black")


def test_the_pack_holds_what_decoding_gives_in_the_order_of_the_manifest(prepared, cells, home):
    with open_files(cells) as files:
        images = pack_images(files, prepared.manifest, PIXELS, home=home)
    assert images.shape == (72, 16, 16, 3)
    for row in (0, 17, 71):
        content = (cells / prepared.manifest["path"][row]).read_bytes()
        expected = fit_image(decode_image(content, alpha_background="black"), 16, fit="pad")
        assert np.array_equal(images[row], expected)


def test_a_second_call_reads_no_file(prepared, cells, home, tmp_path):
    copy = shutil.copytree(cells, tmp_path / "copy")
    with open_files(copy) as files:
        first = pack_images(files, prepared.manifest, PIXELS, home=home)
        shutil.rmtree(copy)
        again = pack_images(files, prepared.manifest, PIXELS, home=home)
    assert np.array_equal(first, again)


def test_other_settings_or_images_are_another_pack(prepared, home):
    table = prepared.manifest
    folders = {
        pack_folder(home, table, pixels)
        for pixels in (PIXELS, Pixels(17, "pad", "black"), Pixels(16, "stretch", "black"))
    }
    folders.add(pack_folder(home, table[1:], PIXELS))
    assert len(folders) == 4


def test_other_rules_of_decoding_are_another_pack(prepared, home, monkeypatch):
    before = pack_folder(home, prepared.manifest, PIXELS)
    monkeypatch.setattr("diascope.data.pack.RULES", RULES + 1)
    assert pack_folder(home, prepared.manifest, PIXELS) != before


def test_an_image_that_cannot_be_packed_is_named(prepared, cells, home, monkeypatch):
    def refuse(_content):
        raise ImageError("truncated")

    monkeypatch.setattr("diascope.data.image.open_image", refuse)
    with open_files(cells) as files, pytest.raises(ImageError) as raised:
        pack_images(files, prepared.manifest, PIXELS, home=home)
    assert raised.value.where == prepared.manifest["path"][0]


def test_a_file_that_changed_since_preparing_is_an_error(home, cells, tmp_path):
    copy = shutil.copytree(cells, tmp_path / "copy")
    table = prepare("malaria", source=copy).manifest
    (first, second) = (copy / table["path"][n] for n in (0, 1))
    first.write_bytes(second.read_bytes())
    with open_files(copy) as files, pytest.raises(SourceError, match="has changed"):
        pack_images(files, table, PIXELS, home=home)
    assert not pack_folder(home, table, PIXELS).joinpath("shard-00000.npy").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are a Unix thing")
def test_files_have_the_permissions_that_the_user_asks_for(tmp_path):
    before = os.umask(0o077)
    try:
        write_bytes(tmp_path / "private.csv", b"a")
    finally:
        os.umask(before)
    assert (tmp_path / "private.csv").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "private.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files is a Unix thing")
@pytest.mark.parametrize(
    ("limit", "size_px"),
    [
        pytest.param(300_000, 64, id="while packing", marks=pytest.mark.slow),
        pytest.param(60_000, 16, id="at a checkpoint", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_an_error_and_a_later_call_completes(
    prepared, home, tmp_path, limit, size_px
):
    script = (
        "import resource, sys; from diascope.cli.app import main;"
        "sys.argv = ['diascope', 'train', 'malaria', '--out', 'run',"
        f" '--set', 'size_px={size_px}',"
        " '--set', 'max_epochs=1', '--set', 'precision=fp32', '--set', 'threads=1'];"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); main()"
    )

    def call(code):
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"DIASCOPE_HOME": str(home), "PATH": "", "COLUMNS": "200"},
            check=False,
        )

    full = call(script)
    assert full.returncode == 2, full.stderr
    assert "could not be written" in full.stderr
    assert "Traceback" not in full.stderr
    assert not [path for folder in (home, tmp_path) for path in folder.rglob(".*.*")]
    later = call(script.replace(f"({limit}, {limit})", "(10**9, 10**9)"))
    assert later.returncode == 0, later.stderr
    assert (tmp_path / "run" / "bundle" / "card.json").is_file()


def test_statistics_are_those_of_the_pixels():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (600, 4, 4, 3), dtype=np.uint8)
    mean, std = channel_statistics(images, np.arange(0, 600, 2))
    assert mean == pytest.approx(images[::2].mean(axis=(0, 1, 2)) / 255)
    assert std == pytest.approx(images[::2].std(axis=(0, 1, 2)) / 255)


def test_statistics_of_many_images_need_little_memory():
    images = np.broadcast_to(np.uint8(7), (4096, 64, 64, 3))
    tracemalloc.start()
    try:
        channel_statistics(images, np.arange(4096))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
