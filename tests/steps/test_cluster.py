"""Predict and prepare on a Ray cluster: real processes, some of which are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import diascope
from diascope.errors import SettingsError, SourceError
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from tests.drawn.object_store import BUCKET, local_store, upload
from tests.drawn.ports import reserved_port

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow

N_IMAGES, PART = 3000, 256
SECONDS = 600
SCRIPT = """
import sys, diascope.serving.bulk
diascope.serving.bulk.PART_SIZE = int(sys.argv.pop(1))
from diascope.__main__ import main
main()
"""
GIVEN_AT_ONCE = 4
HELD = """
# No more than the first parts are given before there is a file named go: on no machine is the job
# over before it is disturbed.
import time
from pathlib import Path
from diascope.system.cluster import Cluster

do = Cluster.do

def do_some(self, job, numbers, *, task, **named):
    def task_when_it_may(number):
        while number >= %d and not Path("%s").exists():
            time.sleep(0.01)
        return task(number)
    return do(self, job, numbers, task=task_when_it_may, **named)

Cluster.do = do_some
"""
SOON = "import diascope.system.cluster as cluster\ncluster.ANSWER_SECONDS = 20"
RULE = r"(P\d+)_"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return an archive of smooth images of 7 patients, one of them damaged."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "many.zip", "w") as archive:
        for number in range(N_IMAGES):
            path = folder / "image.jpg"
            drawn = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(drawn).resize((120, 100)).save(path)
            if number == 700:
                path.write_bytes(path.read_bytes()[:200])
            archive.write(path, f"P{number % 7:02d}_{number:05d}.jpg")
    return folder / "many.zip"


@pytest.fixture
def plain(trained, many, tmp_path):
    """Predict without a cluster; return the table."""
    return predict(trained, [many], out=tmp_path / "plain.csv", group_from=RULE)


def start(*words, part_size=PART, cwd=None, before=""):
    """Start a command in a process of its own, which imports nothing from the current folder."""
    command = [sys.executable, "-P", "-c", before + SCRIPT, str(part_size), *map(str, words)]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*words, part_size=PART, cwd=None, before=""):
    """Run a command to its end; return its exit code and what it printed on standard error."""
    process = start(*words, part_size=part_size, cwd=cwd, before=before)
    _, errors = process.communicate(timeout=SECONDS)
    return process.returncode, errors


def wait_until(is_true, process=None):
    until = time.monotonic() + SECONDS
    while not (found := is_true()):
        assert time.monotonic() < until
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def workers_of(process):
    """Return the ids of the workers of Ray that a process started."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_text()
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except (OSError, ValueError):
            continue
        if name.startswith("ray::Worker"):
            workers.append(int(folder.name))

    def is_below(number):
        while number in parents and number != process.pid:
            number = parents[number]
        return number == process.pid

    return [number for number in workers if is_below(number)]


def is_alive(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def rows_of(folder):
    paths = sorted(folder.glob("part-*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in paths])


def test_a_killed_worker_costs_no_row_and_doubles_none(trained, many, plain, tmp_path):
    out, go = tmp_path / "cluster.csv", tmp_path / "go"
    words = ("predict", trained.folder, many, "--group-from", RULE, "--ray", "--out", out)
    process = start(*words, before=HELD % (GIVEN_AT_ONCE, go))
    folder = tmp_path / "cluster.csv.parts"
    wait_until(lambda: list(folder.glob("part-*.json")), process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    assert len(list(folder.glob("part-*.json"))) <= GIVEN_AT_ONCE < N_IMAGES // PART
    go.touch()
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert f"1 of {N_IMAGES:,} files could not be predicted" in errors
    assert out.read_bytes() == plain.read_bytes()
    by_patient = [path.with_name(f"{path.stem}-by-patient.csv") for path in (out, plain)]
    assert by_patient[0].read_bytes() == by_patient[1].read_bytes()
    assert not folder.exists()


def test_a_killed_driver_loses_no_part(trained, many, plain, tmp_path):
    out = tmp_path / "parts"
    words = ("predict", trained.folder, many, "--group-from", RULE, "--ray", "--out", out)
    process = start(*words, before=HELD % (GIVEN_AT_ONCE, tmp_path / "never"))
    wait_until(lambda: len(list(out.glob("part-*.json"))) > 1, process)
    workers = workers_of(process)
    process.kill()
    process.communicate(timeout=SECONDS)
    wait_until(lambda: not any(map(is_alive, workers)))
    first, damaged, *more = sorted(out.glob("part-*.json"))
    assert len(more) + 2 < len(range(0, N_IMAGES, PART))  # it was killed in the middle
    damaged.with_suffix(".parquet").write_bytes(b"PAR1")
    (out / ".part-00099.parquet.0123").write_bytes(b"half")
    before = [path.stat().st_mtime_ns for path in (first, damaged)]
    for name in (first.name, damaged.name, "parts.json"):
        assert json.loads((out / name).read_text())["sha256"]

    refused = run("predict", trained.folder, many, "--ray", "--out", out)
    assert refused[0] == 2
    assert "parts of another job: other groups" in refused[1]

    assert run(*words)[0] == 2  # for the damaged image
    after = [path.stat().st_mtime_ns for path in (first, damaged)]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert not list(out.glob(".part-*"))
    rows, expected = rows_of(out), pl.read_csv(plain, schema_overrides=rows_of(out).schema)
    assert rows.equals(expected)
    groups = pl.read_parquet(tmp_path / "parts-by-patient.parquet")
    assert groups["group"].to_list() == [f"P{number:02d}" for number in range(7)]
    assert groups["n_files"].sum() == N_IMAGES


@contextmanager
def little_room(folder, n_bytes):
    """Mount a file system of so many bytes, or skip."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_queue_of_jobs_ends_the_command_in_order(trained, many, tmp_path):
    words = ("predict", trained.folder, many, "--ray", "--out", tmp_path / "parts")
    process = start(*words, before=HELD % (GIVEN_AT_ONCE, tmp_path / "never"))
    workers = wait_until(lambda: workers_of(process), process)
    wait_until(lambda: list((tmp_path / "parts").glob("part-*.json")), process)
    process.terminate()
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 2
    assert errors.count("error: The command was stopped from outside (SIGTERM)") == 1
    assert "Traceback" not in errors
    wait_until(lambda: not any(map(is_alive, workers)))


def test_results_of_groups_of_another_table_are_not_replaced(trained, many, tmp_path):
    of_groups = tmp_path / "cells-by-patient.parquet"
    of_groups.write_text("of cells.parquet")
    with pytest.raises(SettingsError, match=r"cells-by-patient\.parquet exists"):
        predict(trained, [many], out=tmp_path / "cells", group_from=RULE, ray="local")
    assert of_groups.read_text() == "of cells.parquet"


def test_a_full_disk_is_one_message_and_leaves_no_half_part(trained, many, tmp_path):
    disk = tmp_path / "disk"
    with little_room(disk, 60_000):
        words = ("predict", trained.folder, many, "--ray", "--out", disk / "parts")
        code, errors = run(*words)
        assert code == 2
        assert errors.count("error: The file could not be written: ") == 1
        assert "No space left on device" in errors
        assert "Traceback" not in errors
        assert not list((disk / "parts").glob(".part-*"))
        mount = ["mount", "-o", "remount,size=10m", str(disk)]
        subprocess.run(mount, check=True)
        finished = {path: path.stat().st_mtime_ns for path in disk.glob("parts/part-*.json")}
        assert run(*words)[0] == 2
        assert rows_of(disk / "parts").height == N_IMAGES
        assert all(path.stat().st_mtime_ns == then for path, then in finished.items())


POISON = '''
"""Parts of which one ends its process each time."""
import os, time
def opened(n_cpus):
    return do, ["ready"]
def do(number, task):
    if number == 4:
        os.kill(os.getpid(), 9)
    return number, task
'''
DRIVER = """
from diascope.system.cluster import Job, connected
given, done, said = [], [], []
def task(number):
    given.append(number)
    most.append(len(set(given)) - len(done))
    return "x" * number
most = []
with connected("local") as cluster:
    lost = cluster.do(Job("poison:opened", {}), range(40), task=task,
                      on_done=lambda number, value: done.append((number, value)), say=said.append)
assert lost.numbers == [4], lost
assert sorted(done) == [(n, (n, "x" * n)) for n in range(40) if n != 4], done
assert given.count(4) in (3, 4) and max(given.count(n) for n in range(40) if n != 4) <= 2, given
assert max(most) <= 2 * cluster.n_cpus + 1, most
assert [line for line in said if not line.startswith("waiting")] == ["ready"], said
print(lost.reason)
"""


def test_a_part_that_ends_its_process_each_time_costs_no_other(tmp_path):
    (tmp_path / "poison.py").write_text(POISON)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", DRIVER]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "died" in done.stdout
    assert done.stderr == ""


@contextmanager
def ray_head(env):
    """Start a cluster that others join; yield its address."""
    port, folder = reserved_port(), Path("/tmp") / f"rayh{os.getpid()}"  # noqa: S108 - a short name
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    command += [f"--temp-dir={folder}", "--disable-usage-stats", "--object-store-memory=80000000"]
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = []
        for line in process.stdout or ():
            said.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("".join(said))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_worker_with_another_version_is_refused(trained, many, tmp_path, monkeypatch):
    package = Path(diascope.__file__).parent
    copy = tmp_path / "other"
    shutil.copytree(package, copy / "diascope", ignore=shutil.ignore_patterns("__pycache__"))
    about = copy / "diascope-99.0.0.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: diascope\nVersion: 99.0.0\n")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    with ray_head({**os.environ, "PYTHONPATH": str(copy)}) as address:
        out = tmp_path / "parts"
        code, errors = run("predict", trained.folder, many, "--ray", address, "--out", out)
        assert code == 2
        assert "A worker of the cluster has diascope 99.0.0, and the command has" in errors
        assert errors.count("error:") == 1
        assert "Traceback" not in errors
        assert not list(out.glob("part-*"))
        shutil.rmtree(about.parent)  # and now the worker has the same version
        few = tmp_path / "few.csv"
        assert run("predict", trained.folder, many, "--ray", address, "--out", few)[0] == 2
        assert pl.read_csv(few).height == N_IMAGES


def test_workers_import_nothing_from_where_the_command_is_run(trained, tmp_path):
    place = tmp_path / "images"
    place.mkdir()
    Image.new("RGB", (30, 30)).save(place / "a.png")
    for name in ("numpy", "torch", "diascope"):
        (place / f"{name}.py").write_text("open(__file__ + '.was-loaded', 'w')")
    code, errors = run("predict", trained.folder, "a.png", "--ray", "--out", "out", cwd=place)
    assert code == 0, errors
    assert rows_of(place / "out").height == 1
    assert not list(place.glob("*.was-loaded"))


def test_no_cluster_at_an_address_is_one_message_soon(trained, many, tmp_path):
    out = tmp_path / "parts"
    with pytest.raises(SourceError, match="cannot be reached: Connection refused"):
        predict(trained, [many], ray=f"127.0.0.1:{reserved_port()}", out=out)
    with socket.create_server(("127.0.0.1", 0)) as server:  # something else, which says nothing
        address = f"127.0.0.1:{server.getsockname()[1]}"
        words = ("predict", trained.folder, many, "--ray", address, "--out", tmp_path / "b")
        code, errors = run(*words, before=SOON)
        assert code == 2
        assert "cannot be reached" in errors


def test_what_is_not_made_in_parts_is_refused_together(trained, many, tmp_path):
    with pytest.raises(SettingsError, match="--explain, --sr, --to cannot be combined with --ray"):
        predict(trained, [many], ray="local", sr=True, explain=tmp_path / "e", to="https://x")
    with pytest.raises(SettingsError, match="neither a folder nor a table"):
        predict(trained, [many], ray="local", out=tmp_path / "table.xlsx")
    with pytest.raises(SettingsError, match="not the address"):
        predict(trained, [many], ray="somewhere", out=tmp_path / "parts")


def test_prepare_on_a_cluster_gives_the_same_bytes(cells, home):
    def written():
        folder = home / "datasets" / "malaria"
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    prepare("malaria", source=cells)
    here = written()
    shutil.rmtree(home / "datasets")
    code, errors = run("prepare", "malaria", "--source", cells, "--ray")
    assert code == 0, errors
    there = written()
    assert there.keys() == here.keys()
    assert not [name for name in here if there[name] != here[name]]


def test_images_of_an_object_store_are_predicted_and_prepared_as_from_a_folder(
    trained, cells, tmp_path, monkeypatch
):
    with local_store(monkeypatch) as client:
        upload(client, cells, "malaria")
        address = f"s3://{BUCKET}/malaria"
        paths = [address, f"{address}/cell_images/Parasitized"]
        out = predict(trained, paths, out=tmp_path / "plain.csv")
        both = predict(trained, paths, out=tmp_path / "cluster.csv", ray="local")
        assert both.read_bytes() == out.read_bytes()
        plain = prepare("malaria", source=address)
        on_cluster = prepare("malaria", source=address, ray="local")
    assert on_cluster.manifest.equals(plain.manifest)
    assert on_cluster.fingerprint == plain.fingerprint
