"""Tracking: what MLflow and TensorBoard hold of a run, read back by their own readers."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from drawn.ports import reserved_port
from safetensors import safe_open

from diascope.bundle.bundle import Bundle
from diascope.errors import RunError, SettingsError
from diascope.steps.evaluate import evaluate
from diascope.steps.train import train
from diascope.system.environment import settle_mlflow
from diascope.training.tracking import FILE, begin_tracking, not_tracked, parse_track, send

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's, about its own type hints
    settle_mlflow()
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    import mlflow.pyfunc
    import pandas as pd

    pytest.importorskip("tensorboard", reason="tensorboard is not installed")

SMALL = ["size_px=16", "max_epochs=2", "batch_size=16", "precision=fp32", "threads=1"]
TEXTS = (".json", ".md", ".txt", ".yaml", "")
HERE = "ignore"  # MLflow's packages warn of each other


class Told:
    """Keeps the remarks of a step."""

    def __init__(self):
        self.remarks = []

    def __call__(self, progress):
        self.remarks += [progress.remark] if progress.remark else []


def client_of(address):
    return mlflow.MlflowClient(address)


def stored(run):
    return json.loads((run.folder / FILE).read_text())


@pytest.fixture
def address(tmp_path):
    return f"sqlite:///{tmp_path}/store/mlflow.db"


@pytest.mark.filterwarnings(HERE)
def test_mlflow_holds_settings_epochs_and_metrics_with_the_bounds_of_their_intervals(
    evaluated, address
):
    begin_tracking(evaluated, f"mlflow:{address}")
    assert send(evaluated, Told()) == ""
    client, run_id = client_of(address), stored(evaluated)["run_id"]
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "malaria-compact"
    assert found.data.params["size_px"] == "16"
    assert found.data.params["optimizer"] == evaluated.plan.training.optimizer
    losses = client.get_metric_history(run_id, "val_loss")
    assert [(m.step, m.value) for m in losses] == [
        (e["epoch"], e["val_loss"]) for e in evaluated.log
    ]
    auroc = evaluated.metrics("test")["estimates"]["auroc"]
    for key, name in {"value": "", "low": "_low", "high": "_high"}.items():
        assert found.data.metrics.get(f"test/auroc{name}") == auroc[key]
    names = {one.path for one in client.list_artifacts(run_id)}
    assert names == {"model", "plan.json"}
    send(evaluated, Told())  # nothing twice
    assert len(client.get_metric_history(run_id, "val_loss")) == 2


@pytest.mark.filterwarnings(HERE)
def test_mlflow_loads_a_model_that_answers_as_the_bundle(evaluated, address, monkeypatch):
    begin_tracking(evaluated, f"mlflow:{address}")
    send(evaluated, Told())
    mlflow.set_tracking_uri(address)
    model = mlflow.pyfunc.load_model(f"runs:/{stored(evaluated)['run_id']}/model")
    paths = paths_of(evaluated)
    table = model.predict(pd.DataFrame({"image": [path.read_bytes() for path in paths]}))
    bundle = Bundle.load(evaluated.network_folders[0])
    assert list(table.columns) == list(bundle.classes)
    assert np.array_equal(table.to_numpy(), bundle.predict_proba(paths))
    signature = model.metadata.signature.to_dict()
    assert json.loads(signature["inputs"]) == [
        {"type": "binary", "name": "image", "required": True}
    ]
    assert [one["name"] for one in json.loads(signature["outputs"])] == list(bundle.classes)
    with pytest.raises(mlflow.exceptions.MlflowException, match="Row 1"):
        model.predict(pd.DataFrame({"image": [paths[0].read_bytes(), b"no image"]}))
    folder = Path(mlflow.artifacts.download_artifacts(f"runs:/{stored(evaluated)['run_id']}/model"))
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle")]


def paths_of(run):
    source = Path(run.fingerprint["source"])
    return [source / path for path in run.manifest.filter(pl.col("split") == "test")["path"]]


@pytest.mark.filterwarnings(HERE)
def test_nothing_that_is_sent_names_a_patient_a_file_or_a_folder(evaluated, address, tmp_path):
    command = "diascope train secret-words"
    vars(evaluated)["provenance"] = {**evaluated.provenance, "command": command}
    begin_tracking(evaluated, f"mlflow:{address}")
    send(evaluated, Told())
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    texts = [path.read_text("utf-8") for path in files if path.suffix in TEXTS]
    with closing(sqlite3.connect(tmp_path / "store" / "mlflow.db")) as database:
        texts += list(database.iterdump())
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="np") as tensors:
                texts.append(json.dumps(tensors.metadata()))
        else:
            assert path.suffix in {*TEXTS, ".db"}
    words = "\n".join(texts)
    assert re.search(r"\bsize_px\b", words)
    for column in ("group", "image_id", "path"):
        for name in evaluated.manifest[column].unique():
            assert not re.search(rf"\b{re.escape(name)}\b", words), name
    assert evaluated.fingerprint["source"] not in words
    assert "secret-words" not in words
    assert f"{evaluated.folder}/" not in words


@pytest.mark.filterwarnings(HERE)
def test_a_training_is_tracked_as_it_goes_and_evaluate_goes_on(prepared, address, tmp_path):
    told = Told()
    run = train(
        "malaria", settings=SMALL, out=tmp_path / "run", track=f"mlflow:{address}", progress=told
    )
    client, run_id = client_of(address), stored(run)["run_id"]
    assert len(client.get_metric_history(run_id, "val_auroc")) == 2
    assert not [key for key in client.get_run(run_id).data.metrics if key.startswith("test/")]
    evaluate(run)
    assert "test/auroc" in client.get_run(run_id).data.metrics
    assert not told.remarks
    with pytest.raises(SettingsError, match="tracked elsewhere"):
        begin_tracking(run, "tensorboard")


@pytest.mark.slow
@pytest.mark.filterwarnings(HERE)
def test_a_server_that_does_not_answer_loses_no_training_and_is_sent_all_later(
    prepared, address, tmp_path, call_here
):
    told = Told()
    out = tmp_path / "run"
    run = train(
        "malaria", settings=SMALL, out=out, track="mlflow:http://127.0.0.1:9", progress=told
    )
    assert run.is_trained
    assert len(told.remarks) == 1
    assert "2 epochs, the bundle" in not_tracked(run)
    plain = train("malaria", settings=SMALL, out=tmp_path / "plain")
    weights = [one.network_folders[0] / "model.safetensors" for one in (run, plain)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    done = call_here("evaluate", out)
    assert done.returncode == 0
    assert "warning: not tracked: " in done.stderr
    found = stored(run)
    (out / FILE).write_text(json.dumps({**found, "address": address}))  # it answers again
    evaluate(run)
    assert not_tracked(run) == ""
    client = client_of(address)
    assert len(client.get_metric_history(stored(run)["run_id"], "val_loss")) == 2


def test_tensorboard_reads_back_epochs_and_metrics(evaluated):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    begin_tracking(evaluated, "tensorboard")
    assert send(evaluated, Told()) == ""
    events = EventAccumulator(str(evaluated.folder / "tensorboard"))
    events.Reload()
    losses = events.Scalars("val_loss")
    assert [one.step for one in losses] == [1, 2]
    assert np.allclose([one.value for one in losses], [e["val_loss"] for e in evaluated.log])
    auroc = evaluated.metrics("test")["estimates"]["auroc"]
    assert np.isclose(events.Scalars("test/auroc")[0].value, auroc["value"])
    text = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| size_px | 16 |" in text


@pytest.mark.filterwarnings(HERE)
def test_a_cross_validation_is_tracked_by_network_and_has_no_model(cross_validated, address):
    begin_tracking(cross_validated, f"mlflow:{address}")
    assert send(cross_validated, Told()) == ""
    client, run_id = client_of(address), stored(cross_validated)["run_id"]
    assert len(client.get_metric_history(run_id, "network_2-0/val_loss")) == 2
    assert {one.path for one in client.list_artifacts(run_id)} == {"plan.json"}


@pytest.mark.parametrize(
    ("track", "words"),
    [
        ("wandb", "no way to track"),
        ("mlflow", "No tracking server is named"),
        ("mlflow:./mlruns", "folders are no longer supported"),
        ("mlflow:file:///mlruns", "folders are no longer supported"),
        ("mlflow:http://user:secret@host", "A password stands"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_training(
    track, words, prepared, tmp_path, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SettingsError, match=words) as refused:
        train("malaria", settings=SMALL, out=tmp_path / "run", track=track)
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_the_server_is_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert parse_track("mlflow") == ("mlflow", "http://127.0.0.1:5000")


def test_a_run_that_is_not_tracked_sends_nothing_and_a_damaged_file_is_named(trained):
    told = Told()
    assert send(trained, told) == not_tracked(trained) == ""
    assert not (trained.folder / FILE).exists()
    (trained.folder / FILE).write_text("{")
    with pytest.raises(RunError, match="tracked cannot be read"):
        send(trained, told)


def test_the_telemetry_of_mlflow_is_off_before_it_is_loaded(tmp_path):
    script = (
        "import os, sys; from diascope.system.environment import settle_mlflow; settle_mlflow();"
        "assert 'mlflow' not in sys.modules; import warnings; warnings.simplefilter('ignore');"
        "import mlflow; from mlflow.telemetry.utils import is_telemetry_disabled;"
        "assert is_telemetry_disabled()"
    )
    names = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "PYTEST_CURRENT_TEST")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=env)
    assert not list(tmp_path.rglob("telemetry.json"))


@pytest.fixture
def started(tmp_path):
    """Return a function that starts a command of MLflow, and waits until it answers."""
    running, programs = [], tmp_path / "programs"
    programs.mkdir()
    uvicorn = programs / "uvicorn"  # MLflow calls it by its name
    uvicorn.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m uvicorn "$@"\n')
    uvicorn.chmod(0o755)

    def start(*words, path, tracking_uri=None):
        port = reserved_port()
        env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
        env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
        env |= {"MLFLOW_TRACKING_URI": tracking_uri} if tracking_uri else {}
        with (tmp_path / f"{port}.log").open("w") as log:
            server = subprocess.Popen(
                [*words, "-h", "127.0.0.1", "-p", str(port)],
                cwd=tmp_path,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running.append(server)
        url = f"http://127.0.0.1:{port}"
        for _ in range(1500):
            assert server.poll() is None, Path(log.name).read_text()
            try:
                with urllib.request.urlopen(url + path, timeout=5):  # noqa: S310
                    return url
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(Path(log.name).read_text())

    yield start
    for server in running:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(20)


@pytest.mark.slow
@pytest.mark.filterwarnings(HERE)
def test_mlflow_models_serve_answers_as_the_bundle(evaluated, address, started):
    begin_tracking(evaluated, f"mlflow:{address}")
    send(evaluated, Told())
    served = started(
        *(sys.executable, "-W", "ignore", "-m", "mlflow", "models", "serve"),
        *("-m", f"runs:/{stored(evaluated)['run_id']}/model", "--env-manager", "local"),
        path="/ping",
        tracking_uri=address,
    )
    paths = paths_of(evaluated)
    encoded = [[base64.b64encode(path.read_bytes()).decode()] for path in paths]
    answer = post(f"{served}/invocations", {"columns": ["image"], "data": encoded})
    bundle = Bundle.load(evaluated.network_folders[0])
    found = [[row[name] for name in bundle.classes] for row in answer.content["predictions"]]
    assert np.allclose(found, bundle.predict_proba(paths), atol=1e-12)
    assert post(f"{served}/invocations", {"columns": ["image"], "data": [["bm8="]]}).code == 400


def post(url, table):
    request = urllib.request.Request(  # noqa: S310
        url,
        data=json.dumps({"dataframe_split": table}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return SimpleNamespace(code=answer.status, content=json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return SimpleNamespace(code=error.code, content=None)


@pytest.mark.slow
@pytest.mark.filterwarnings(HERE)
def test_a_real_server_of_mlflow_keeps_what_is_sent(evaluated, started, tmp_path, monkeypatch):
    program = os.environ.get("DIASCOPE_TEST_MLFLOW")
    if not program:
        pytest.skip("DIASCOPE_TEST_MLFLOW is not set: it names the program of a whole MLflow")
    server = started(
        *(program, "server", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"),
        *("--artifacts-destination", str(tmp_path / "artifacts"), "--workers", "1"),
        path="/health",
    )
    begin_tracking(evaluated, f"mlflow:{server}")
    assert send(evaluated, Told()) == ""
    client, run_id = client_of(server), stored(evaluated)["run_id"]
    assert client.get_run(run_id).data.metrics["test/auroc"] > 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    mlflow.set_tracking_uri(server)
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    paths = paths_of(evaluated)
    table = model.predict(pd.DataFrame({"image": [path.read_bytes() for path in paths]}))
    bundle = Bundle.load(evaluated.network_folders[0])
    assert np.array_equal(table.to_numpy(), bundle.predict_proba(paths))
