"""Headers of many DICOM files: what beginnings tell, and memory that does not grow by threads."""

from __future__ import annotations

import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager, suppress

import numpy as np
import pydicom
import pytest
from drawn.dicom_files import NATIVE, SYNTAXES, dicom, element, end_of_meta
from pydicom.filebase import DicomBytesIO

from diascope.data.budget import MAX_DECODED_BYTES
from diascope.data.dicom import heads
from diascope.data.dicom.frames import HEAD_BYTES
from diascope.data.dicom.groups import groups_from_tag
from diascope.data.dicom.structure import before_element_behind
from diascope.data.dicom.tags import columns_from_tags
from diascope.data.image import decode_image, open_image
from diascope.data.sources.dicom import frames_in

PIXELS = np.full((400, 400), 7, np.uint8)  # more than the beginning of a file
TAGS = {"PatientID": "P1", "KVP": "90", "PatientSex": "F", "WindowCenter": "40", "WindowWidth": "9"}
KVP, WINDOW_WIDTH = 0x00180060, 0x00281051
MANY = 8  # threads


def bomb(n_bytes: int, tag: int) -> bytes:
    """Return deflated DICOM with a value of so many zeros before or behind the patient's."""
    base = dicom(PIXELS[:8, :8], syntax=NATIVE["deflated"], **TAGS)
    at = end_of_meta(base)
    dataset = zlib.decompress(base[at:], -zlib.MAX_WBITS)
    cut = 0 if tag < 0x00100000 else dataset.index(b"\xe0\x7f\x10\0")  # the pixels
    whole = dataset[:cut] + element(tag, b"OB", bytes(n_bytes)) + dataset[cut:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base[:at] + packer.compress(whole) + packer.flush()


def no_more() -> bytes:
    raise AssertionError("the whole file was read")


@pytest.mark.parametrize("name", SYNTAXES)
def test_the_beginning_of_a_file_is_enough(name):
    content = dicom(PIXELS, syntax=SYNTAXES[name], SourceImageSequence=[pydicom.Dataset()], **TAGS)
    images, asked = {"a": no_more, "b#frame=2": no_more}, []

    def read_start(path, n_bytes):
        asked.append(path)
        return content[:n_bytes]

    table, remarks = columns_from_tags(images, ["KVP", "WindowWidth"], read_start=read_start)
    assert table.rows() == [(90.0, "9")] * 2
    assert not remarks
    assert asked == ["a", "b"]
    groups, _ = groups_from_tag(images, "PatientID", read_start=read_start)
    assert groups == groups_from_tag({"c": lambda: content}, "PatientID").groups * 2


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("last", [KVP, WINDOW_WIDTH])
def test_what_is_cut_off_is_the_same_as_of_the_whole_file(name, last):
    content = dicom(PIXELS, syntax=SYNTAXES[name], SourceImageSequence=[pydicom.Dataset()], **TAGS)
    start = before_element_behind(content[:HEAD_BYTES], last, most_bytes=HEAD_BYTES)
    assert start is not None
    assert len(start) < 2000
    whole, cut = (pydicom.dcmread(DicomBytesIO(one)) for one in (content, start))
    assert [e for e in whole if e.tag <= last] == list(cut)
    assert max(e.tag for e in cut) == last


def test_of_a_deflated_file_no_more_is_inflated_than_is_needed():
    content = bomb(30_000_000, tag=0x00410010)
    start = before_element_behind(content, KVP, most_bytes=HEAD_BYTES)
    assert start is not None
    assert len(start) < 1000


def test_frames_of_a_deflated_file_are_counted_by_its_beginning():
    single = dicom(PIXELS, syntax=NATIVE["deflated"])
    assert frames_in("a.dcm", lambda n: single[:n], no_more) == ["a.dcm"]
    several = dicom(np.stack([PIXELS] * 2), syntax=NATIVE["deflated"], n_frames=2)
    assert len(frames_in("a.dcm", lambda n: several[:n], lambda: several)) == 2


def test_files_that_must_be_inflated_whole_are_so_one_at_a_time(monkeypatch):
    content, at_once, most = bomb(100_000, tag=0x00090010), [], []
    lock = threading.Lock()
    barrier = threading.Barrier(2)

    def read_dataset(*given, **named):
        with lock:
            at_once.append(1)
            most.append(len(at_once))
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.2)  # gives another the time to come
        found = whole(*given, **named)
        at_once.pop()
        return found

    whole = heads.read_dataset
    monkeypatch.setattr(heads, "read_dataset", read_dataset)
    monkeypatch.setattr("os.cpu_count", lambda: MANY)
    images = {str(number): lambda: content for number in range(4)}
    assert columns_from_tags(images, ["KVP"])[0]["KVP"].to_list() == [90.0] * 4
    groups_from_tag(images, "PatientID")
    assert most == [1] * 8


def test_memory_is_reserved_before_a_deflated_file_is_opened(monkeypatch):
    taken = []

    class Room:
        @contextmanager
        def taken(self, n_bytes):
            taken.append(n_bytes)
            yield

    whole = open_image
    monkeypatch.setattr("diascope.data.image.ROOM", Room())
    monkeypatch.setattr(
        "diascope.data.image.open_image", lambda content: taken.append("opened") or whole(content)
    )
    decode_image(dicom(PIXELS, syntax=NATIVE["deflated"]))
    assert taken == [MAX_DECODED_BYTES, "opened"]


MEASURED = """
import os, resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
n_threads, path = int(sys.argv[1]), Path(sys.argv[2])
os.cpu_count = lambda: n_threads
from diascope.data.dicom.groups import groups_from_tag
from diascope.data.dicom.opened import states_window_of
from diascope.data.dicom.tags import columns_from_tags
images = {str(number): path.read_bytes for number in range(8)}
assert len(set(groups_from_tag(images, "PatientID").groups)) == 1
assert columns_from_tags(images, ["KVP"])[0]["KVP"].to_list() == [90.0] * 8
with ThreadPoolExecutor(n_threads) as pool:
    assert list(pool.map(lambda read: states_window_of(read()), images.values())) == [True] * 8
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_threads(tmp_path):
    path = tmp_path / "bomb.dcm"
    path.write_bytes(bomb(100_000_000, tag=0x00090010))
    assert path.stat().st_size < 200_000
    megabytes = [
        int(
            subprocess.run(
                [sys.executable, "-c", MEASURED, str(n_threads), str(path)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n_threads in (1, MANY)
    ]
    assert megabytes[1] < megabytes[0] + 100
