"""The pack: made once, whole or not at all, and never from a file that has changed."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

from diascope.data.files import open_files
from diascope.data.image import decode_image, fit_image
from diascope.data.pack import Pixels, pack_folder, pack_images
from diascope.errors import SourceError
from diascope.steps.prepare import prepare

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


def test_a_file_that_changed_since_preparing_is_an_error(home, cells, tmp_path):
    copy = shutil.copytree(cells, tmp_path / "copy")
    table = prepare("malaria", source=copy).manifest
    (first, second) = (copy / table["path"][n] for n in (0, 1))
    first.write_bytes(second.read_bytes())
    with open_files(copy) as files, pytest.raises(SourceError, match="has changed"):
        pack_images(files, table, PIXELS, home=home)
    assert not pack_folder(home, table, PIXELS).joinpath("images.npy").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files is a Unix thing")
def test_a_full_disk_while_packing_is_an_error_and_a_later_call_completes(prepared, home, tmp_path):
    script = (
        "import resource, sys; from diascope.cli import main;"
        "sys.argv = ['diascope', 'train', 'malaria', '--out', 'run', '--set', 'size_px=64',"
        " '--set', 'max_epochs=1', '--set', 'precision=fp32'];"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); main()"
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
    assert not list((home / "packs").rglob("*.npy*"))
    later = call(script.replace("(300_000, 300_000)", "(10**9, 10**9)"))
    assert later.returncode == 0, later.stderr
    assert (tmp_path / "run" / "bundle" / "card.json").is_file()
