"""Files of strangers are decoded elsewhere, to the same pixels, and cannot take the server down."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diascope.data.decoder_child import write_frame
from diascope.data.decoder_processes import CRASHED, DecoderProcesses
from diascope.data.pixels import Pixels
from diascope.data.value_range import ValueRange
from diascope.errors import ImageError

PIXELS = Pixels(32, "pad", "white", ValueRange(100, 4195))
LARGE = Pixels(2048, "pad", "black")


@pytest.fixture(scope="module")
def processes():
    found = DecoderProcesses(2, seconds=30)
    yield found
    found.close()


def noise(mode, size, seed=0):
    n_bytes = size[0] * size[1] * {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2, "I;16": 2}[mode]
    return Image.frombytes(mode, size, np.random.default_rng(seed).bytes(n_bytes))


def encoded(image, kind="png", **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def read_often(processes, content):
    for _ in range(100):
        processes.read(content, LARGE)


def turned():
    exif = Image.Exif()
    exif[274] = 6
    return encoded(noise("RGB", (40, 24)), "jpeg", exif=exif)


FILES = {
    "colours": encoded(noise("RGB", (61, 40))),
    "alpha": encoded(noise("RGBA", (20, 50))),
    "grey": encoded(noise("L", (33, 32))),
    "grey with alpha": encoded(noise("LA", (33, 32))),
    "16 bits": encoded(noise("I;16", (50, 50))),
    "palette": encoded(noise("RGB", (30, 30)).quantize(16)),
    "a turned JPEG": turned(),
    "TIFF": encoded(noise("RGB", (30, 20)), "tiff"),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_pixels_are_those_of_every_other_way(processes, kind):
    found = processes.read(FILES[kind], PIXELS)
    assert found.flags.writeable
    np.testing.assert_array_equal(found, PIXELS.read(FILES[kind]))


@pytest.mark.parametrize("content", [b"", b"no image", FILES["colours"][:200], b"%PDF-1.7\n"])
def test_what_is_refused_has_the_same_reason(processes, content):
    with pytest.raises(ImageError) as here:
        PIXELS.read(content)
    with pytest.raises(ImageError) as there:
        processes.read(content, PIXELS)
    assert there.value.problem == here.value.problem


def test_a_file_that_takes_too_long_is_refused_and_the_next_is_read():
    processes, content = DecoderProcesses(1, seconds=30), encoded(noise("RGB", (2500, 2500)), "bmp")
    try:
        processes.read(content, LARGE)
        began = time.monotonic()
        processes.read(content, LARGE)
        processes._seconds = (time.monotonic() - began) / 10  # on any machine too little
        with pytest.raises(ImageError, match=f"over {processes._seconds:g} s"):
            read_often(processes, content)
        processes._seconds = 30
        assert processes.read(FILES["grey"], PIXELS).shape == (32, 32, 3)
    finally:
        processes.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_file_that_ends_its_process_costs_nobody_else_an_answer():
    processes = DecoderProcesses(2, seconds=30)
    content = encoded(noise("RGB", (2500, 2500)), "bmp")
    victim = processes._idle.queue[-1]._process.pid  # the one that has started is next
    killer = threading.Timer(0.05, lambda: os.kill(victim, signal.SIGKILL))
    try:
        processes.read(FILES["grey"], PIXELS)
        killer.start()
        with pytest.raises(ImageError) as refused:
            read_often(processes, content)
        assert refused.value.problem == CRASHED
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: processes.read(FILES["grey"], PIXELS), range(20)))
        assert len(found) == 20
    finally:
        killer.cancel()
        processes.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_the_processes_have_a_bound_on_memory_and_may_write_no_file(processes):
    processes.read(FILES["grey"], PIXELS)
    decoder = processes._idle.queue[-1]
    limits = Path(f"/proc/{decoder._process.pid}/limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert int(rows["Max address space"]) < 5_000_000_000
    assert rows["Max file size"] == "0"


def test_a_process_starts_when_it_is_needed():
    processes = DecoderProcesses(3, seconds=30)
    try:
        for _ in range(5):
            processes.read(FILES["grey"], PIXELS)
        assert sum(decoder is not None for decoder in processes._idle.queue) == 1
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: processes.read(FILES["colours"], LARGE), range(60)))
        assert all(processes._idle.queue)
    finally:
        processes.close()


def test_closing_ends_the_processes():
    processes = DecoderProcesses(1, seconds=30)
    processes.read(FILES["grey"], PIXELS)
    process = processes._idle.queue[0]._process
    processes.close()
    assert process.returncode is not None


def test_closing_refuses_what_still_waits_and_ends_what_is_decoded():
    processes = DecoderProcesses(1, seconds=60)
    content, refused = encoded(noise("RGB", (2500, 2500)), "bmp"), []

    def read():
        try:
            read_often(processes, content)
        except ImageError as error:
            refused.append(error.problem)

    threads = [threading.Thread(target=read) for _ in range(3)]
    processes.read(FILES["grey"], PIXELS)
    for thread in threads:
        thread.start()
    processes.close()
    for thread in threads:
        thread.join(120)
    assert len(refused) == 3
    assert set(refused) <= {CRASHED, "not decoded: the program ends"}


def test_where_no_process_can_start_files_are_refused_until_one_can(monkeypatch):
    processes = DecoderProcesses(1, seconds=30)
    try:
        processes.read(FILES["grey"], PIXELS)
        processes._idle.queue[0]._process.kill()
        with monkeypatch.context() as patched:
            patched.setattr("diascope.data.decoder_processes.COMMAND", ["/nowhere/python"])
            with pytest.raises(ImageError, match=CRASHED):
                processes.read(FILES["grey"], PIXELS)
            for _ in range(2):
                with pytest.raises(ImageError, match="no process to decode it"):
                    processes.read(FILES["grey"], PIXELS)
        assert processes.read(FILES["grey"], PIXELS).shape == (32, 32, 3)
    finally:
        processes.close()


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="Windows has no alarm")
def test_a_process_whose_parent_is_gone_ends_by_itself():
    code = (
        "import time; from diascope.data import decoder_child as child;"
        "child.ALONE_SECONDS = 1; child._answer = lambda *_: time.sleep(60); child.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    write_frame(process.stdin, b'{"size_px": 32, "fit": "pad", "alpha_background": "black"}')
    write_frame(process.stdin, b"x")
    process.stdin.flush()
    try:
        assert process.wait(300) == -signal.SIGALRM
    finally:
        process.kill()
        process.stdin.close()
