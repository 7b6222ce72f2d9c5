"""`diascope serve` as people start it: processes, signals, and what it refuses to do."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from drawn.run_folders import BINARY, bundle
from PIL import Image

from diascope.bundle.bundle import Bundle
from diascope.data.image import decode_image

COMMAND = [sys.executable, "-m", "diascope", "serve"]
TESTS, HOOKS = Path(__file__).parents[1], "drawn.image_strategies"
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
        psutil.wait_procs([worker], timeout=60)
        again = requests.post(f"{address}v1/predict", data=picture(0), timeout=120)
        assert again.ok
        counted = requests.get(f"{address}metrics", timeout=60).text
        assert 'diascope_waiting{what="images"} 0.0' in counted
        assert 'outcome="predicted"} 2.0' in counted


@pytest.mark.slow
def test_with_onnx_runtime_the_server_answers_as_with_torch(folder, home):
    contents = [picture(seed) for seed in range(5)]
    expected = Bundle.load(folder).predict_proba([decode_image(one) for one in contents])
    with served(folder, "--engine", "onnxruntime", "--workers", 2) as (_, address):
        for content, row in zip(contents, expected, strict=True):
            answer = requests.post(f"{address}v1/predict", data=content, timeout=120).json()
            found = answer["predictions"][0]["probabilities"]
            np.testing.assert_allclose(list(found.values()), row, atol=1e-5)
    assert len(list((home / "onnx").glob("*.onnx"))) == 1
    assert "no engine named 'tensorrt'" in refused(folder, "--engine", "tensorrt")


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
            wait(asked, return_when=FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
            answers = [one.result() for one in asked]
        assert set(answers) <= {200, 503, "closed"}
        assert 200 in answers
        assert process.wait(60) == 0


@pytest.mark.slow
def test_five_hundred_uploads_at_once_are_none_lost_and_none_mixed_up(folder):
    pictures = [picture(seed) for seed in range(500)]
    network = Bundle.load(folder)
    expected = network.predict_proba([decode_image(one) for one in pictures])
    together = threading.Barrier(len(pictures))

    def ask(content):
        together.wait()
        for _ in range(200):  # a server that says 503 is asked again, as it wishes
            answer = requests.post(f"{address}v1/predict", data=content, timeout=120)
            if answer.status_code != 503:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"][0]

    with served(folder) as (_, address), ThreadPoolExecutor(len(pictures)) as pool:
        assert requests.get(f"{address}readyz", timeout=120).ok
        found = list(pool.map(ask, pictures))
    assert [one["sha256"] for one in found] == [hashlib.sha256(one).hexdigest() for one in pictures]
    probabilities = [list(one["probabilities"].values()) for one in found]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_schemathesis_finds_nothing_wrong_with_the_openapi(folder, tmp_path):
    command = [Path(sys.executable).with_name("schemathesis"), "run", "--seed", "1"]
    with served(folder) as (_, address):
        assert requests.get(f"{address}readyz", timeout=120).ok
        done = subprocess.run(
            [*command, "--max-examples", "100", f"{address}v1/openapi.json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            cwd=tmp_path,  # it leaves a folder of its own
            env={**os.environ, "PYTHONPATH": str(TESTS), "SCHEMATHESIS_HOOKS": HOOKS},
        )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_examples_of_the_docs_run(folder, tmp_path, monkeypatch):
    text = (TESTS.parent / "docs" / "serve.md").read_text("utf-8")
    commands = re.findall(r"^\$ (curl .*)$", text, re.MULTILINE)
    (script,) = re.findall(r"```python\n(import requests\n.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for name in ("cell.png", "other.png"):
        Path(name).write_bytes(picture(0))
    with served(folder) as (_, address):
        here = "http://127.0.0.1:8000/"
        for command in commands:
            words = shlex.split(command.replace(here, address))
            done = subprocess.run([*words, "--fail", "--silent"], capture_output=True, check=True)
            assert json.loads(done.stdout)
        exec(compile(script.replace(here, address), "serve.md", "exec"), {})  # noqa: S102
    assert len(commands) == 4


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
