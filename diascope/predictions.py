"""Predictions: a table on disk. Whoever evaluates never sees the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.atomic import atomic_path
from diascope.errors import RunError


@dataclass(frozen=True)
class Predictions:
    """Scores of N images.

    Parameters
    ----------
    image_ids, groups : str (N,)
    labels : int32 (N,)
        Class indices of the reference standard.
    folds : int32 (N,)
        The fold whose network scored the image; 0 where there are no folds.
    logits : float32 (N, K)
        They refer to the prior of the network's card, and are calibrated.
    predicted : int32 (N,)
        The classes that are called, by the decision rule of the card.
    temperatures : float32 (N,)
        What the logits were divided by to be calibrated.
    """

    image_ids: Sequence[str]
    groups: Sequence[str]
    labels: NDArray[np.int32]
    folds: NDArray[np.int32]
    logits: NDArray[np.float32]
    predicted: NDArray[np.int32]
    temperatures: NDArray[np.float32]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities, float64 (N, K); rows sum to 1."""
        return softmax(self.logits)

    @property
    def raw_logits(self) -> NDArray[np.float32]:
        """The logits before calibration, float32 (N, K)."""
        return self.logits * self.temperatures[:, None]

    def at(self, rows: NDArray[np.integer]) -> Predictions:
        """Return the predictions of some of the images, by their numbers."""
        return Predictions(
            image_ids=[self.image_ids[int(row)] for row in rows],
            groups=[self.groups[int(row)] for row in rows],
            labels=self.labels[rows],
            folds=self.folds[rows],
            logits=self.logits[rows],
            predicted=self.predicted[rows],
            temperatures=self.temperatures[rows],
        )

    def save(self, path: Path) -> None:
        """Write the table as Parquet."""
        columns = {
            "image_id": pl.Series(self.image_ids, dtype=pl.String),
            "group": pl.Series(self.groups, dtype=pl.String),
            "label": pl.Series(self.labels, dtype=pl.Int32),
            "fold": pl.Series(self.folds, dtype=pl.Int32),
            "predicted": pl.Series(self.predicted, dtype=pl.Int32),
            "temperature": pl.Series(self.temperatures, dtype=pl.Float32),
        }
        for number in range(self.logits.shape[1]):
            columns[f"logit_{number}"] = pl.Series(self.logits[:, number], dtype=pl.Float32)
        with atomic_path(path) as temporary:
            pl.DataFrame(columns).write_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read the table.

        Raises
        ------
        RunError
            The file is missing or damaged.
        """
        try:
            table = pl.read_parquet(path)
            logits = table.select(pl.col("^logit_.*$")).to_numpy()
            if "temperature" not in table.columns:  # of versions that did not calibrate
                table = table.with_columns(temperature=pl.lit(1.0))
            return cls(
                image_ids=table["image_id"].to_list(),
                groups=table["group"].to_list(),
                labels=table["label"].to_numpy(),
                folds=table["fold"].to_numpy(),
                logits=logits.astype(np.float32),
                predicted=table["predicted"].to_numpy(),
                temperatures=table["temperature"].to_numpy().astype(np.float32),
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError(
                "The predictions cannot be read.",
                where=path,
                fix="Restore the file from a copy, or train and evaluate again with another --out.",
            ) from error


def is_finite(logits: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which rows of logits (N, K) are finite throughout: bool (N,)."""
    return np.logical_and.reduce(np.isfinite(logits), axis=1)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn logits (N, K) into probabilities, float64 (N, K)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)
