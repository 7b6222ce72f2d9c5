"""What the parts of a job depend on: the files as they are, and not their names alone."""

from __future__ import annotations

import os
import zipfile
from contextlib import ExitStack

from diascope.bundle.image_files import list_image_files
from diascope.serving.bulk import digest_of_files


def digest(*paths):
    with ExitStack() as opened:
        images, _ = list_image_files(paths, opened)
        return digest_of_files(images)


def test_a_changed_file_or_archive_makes_another_job(tmp_path):
    (tmp_path / "inbox").mkdir()
    image, archive = tmp_path / "inbox" / "0001.png", tmp_path / "inbox" / "more.zip"
    image.write_bytes(b"\x89PNG one")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/b.png", b"\x89PNG two")
    first = digest(image.parent, archive)
    assert digest(image.parent, archive) == first
    image.write_bytes(b"\x89PNG 1st")
    os.utime(image, (1, 1))
    second = digest(image.parent, archive)
    assert second != first
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/b.png", b"\x89PNG other")
    assert digest(image.parent, archive) != second
