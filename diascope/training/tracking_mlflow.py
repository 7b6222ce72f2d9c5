"""MLflow as a place to track runs: through its client, so that nothing is told but what we send."""

from __future__ import annotations

import logging
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diascope.bundle.mlflow_model import save_mlflow_model
from diascope.system.environment import experiment_name, settle_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "model"  # the folder of the artefact
LOGGERS = ("mlflow", "alembic", "urllib3")
SQLITE = "sqlite:///"
NOT_IN_NAMES = re.compile(r"[^\w\-. :/]", re.ASCII)


class MlflowPlace:
    """A tracking server of MLflow, or its database."""

    def __init__(self, address: str) -> None:
        self.address = address

    def begin(self, name: str, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        """Begin a run in the experiment; the facts become tags, the settings parameters."""
        with self._client() as client:
            from mlflow.entities import Param

            run = client.create_run(
                self._experiment(client),
                run_name=name,
                tags={key: str(value) for key, value in facts.items()},
            )
            parameters = [Param(key, str(value)) for key, value in settings.items()]
            client.log_batch(run.info.run_id, params=parameters)
            return run.info.run_id

    def _experiment(self, client: MlflowClient) -> str:
        name = experiment_name()
        found = client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        if not self.address.startswith(SQLITE):
            return client.create_experiment(name)
        beside = Path(self.address.removeprefix(SQLITE)).with_name("mlartifacts")
        return client.create_experiment(name, artifact_location=beside.as_uri())

    def send_metrics(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        """Log metrics of a step."""
        with self._client() as client:
            from mlflow.entities import Metric

            now = time.time_ns() // 1_000_000
            named = {NOT_IN_NAMES.sub("_", key): value for key, value in values.items()}
            metrics = [Metric(key, value, now, step) for key, value in named.items()]
            client.log_batch(run_id, metrics=metrics)

    def send_text(self, run_id: str, name: str, text: str) -> None:
        """Log a text as an artefact."""
        with self._client() as client:
            client.log_text(run_id, text, name)

    def send_bundle(self, run_id: str, folder: Path) -> None:
        """Log a bundle as a model that ``mlflow models serve`` can load."""
        with self._client() as client, tempfile.TemporaryDirectory() as temporary:
            model = Path(temporary) / MODEL
            save_mlflow_model(folder, model)
            client.log_artifacts(run_id, str(model), MODEL)

    def finish(self, run_id: str) -> None:
        """Say that the training is finished."""
        with self._client() as client:
            client.set_terminated(run_id)

    @contextmanager
    def _client(self) -> Iterator[MlflowClient]:
        """Yield a client that prints nothing."""
        settle_mlflow()
        loggers = [logging.getLogger(name) for name in LOGGERS]
        before = [logger.level for logger in loggers]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of MLflow and its packages about each other
            from mlflow import MlflowClient

            if self.address.startswith(SQLITE):
                Path(self.address.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            try:
                yield MlflowClient(self.address)
            finally:
                for logger, level in zip(loggers, before, strict=True):
                    logger.setLevel(level)
