"""`diascope serve` as people start it: processes, signals, and what it refuses to do."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
import requests
from drawn.run_folders import BINARY, bundle
from PIL import Image

COMMAND = [sys.executable, "-m", "diascope", "serve"]
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("served") / "bundle"
    bundle(BINARY, BINARY[1]).save(found)
    return found


def picture(seed):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


@contextmanager
def served(*words):
    process = subprocess.Popen(
        [*COMMAND, *map(str, words), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        yield process, address
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def workers_of(process):
    """The processes that answer: children that serve, not those that decode."""
    found = psutil.Process(process.pid).children()
    return [one for one in found if "spawn_main" in " ".join(one.cmdline())]


def refused(*words, **environment):
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.slow
@needs_signals
def test_a_worker_that_is_killed_is_started_anew_and_the_next_request_works(folder):
    with served(folder) as (process, address):
        assert requests.post(f"{address}v1/predict", data=picture(0), timeout=120).ok
        (worker,) = workers_of(process)
        worker.kill()
        psutil.wait_procs([worker], timeout=10)
        again = requests.post(f"{address}v1/predict", data=picture(0), timeout=120)
        assert again.ok


@pytest.mark.slow
@needs_signals
def test_what_was_accepted_is_answered_before_the_server_stops(folder):
    def ask(seed):
        try:
            answer = requests.post(f"{address}v1/predict", data=picture(seed), timeout=60)
        except requests.ConnectionError:  # it came after the doors were closed
            return "closed"
        return answer.status_code

    with served(folder) as (process, address):
        requests.post(f"{address}v1/predict", data=picture(0), timeout=120)
        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(ask, seed) for seed in range(50)]
            time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            answers = [one.result() for one in asked]
        assert set(answers) <= {200, 503, "closed"}
        assert 200 in answers
        assert process.wait(60) == 0


@pytest.mark.slow
def test_two_workers_answer_alike_and_count_together(folder):
    with served(folder, "--workers", 2) as (_, address):
        found = set()
        for _ in range(20):
            answer = requests.post(f"{address}v1/predict", data=picture(1), timeout=120)
            found.add(str(answer.json()["predictions"][0]["probabilities"]))
        assert len(found) == 1
        counted = requests.get(f"{address}metrics", timeout=60).text
        assert re.search(r'diascope_images_total\{.*outcome="predicted"\} 20\.0', counted)


def test_another_address_needs_a_token(folder):
    assert "token" in refused(folder, "--host", "0.0.0.0", DIASCOPE_TOKEN="too-short")  # noqa: S104, S106


@pytest.mark.slow
def test_what_cannot_be_served_is_said_in_a_message(folder, tmp_path):
    assert "There is no bundle here." in refused(tmp_path)
    assert "token cannot be read" in refused(folder, "--token-file", tmp_path / "none")
    with served(folder) as (_, address):
        port = address.rstrip("/").rpartition(":")[2]
        assert "something else listens there" in refused(folder, "--port", port)
