"""Predictions: a table on disk. Evaluation never sees the model.

The file is Parquet. Its metadata has, under ``diascope``, the format and the SHA-256 of the values,
which does not depend on how the file is written. The metrics and the ledger name the same digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.errors import RunError
from diascope.system.files import atomic_path
from diascope.system.reading import OddFileError, check_ordinary
from diascope.system.sealed import FORMAT, MOST_TABLE_BYTES, SEAL, check_format

METADATA = "diascope"
FIX = "Restore the file from a copy, or train and evaluate again with another --out."

UNREADABLE = (
    *(OSError, ValueError, TypeError, AttributeError, RecursionError),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)


@dataclass(frozen=True)
class Predictions:
    """Scores of N images."""

    image_ids: Sequence[str]
    groups: Sequence[str]
    labels: NDArray[np.int32]  # (N,): class indices of the reference standard
    folds: NDArray[np.int32]  # (N,): whose network scored the image; 0 where there are no folds
    logits: NDArray[np.float32]  # (N, K): of the prior of the network's card, calibrated
    predicted: NDArray[np.int32]  # (N,): class indices, by the decision rule of the card
    temperatures: NDArray[np.float32]  # (N,): the logits were divided by them to be calibrated

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities, float64 (N, K); rows sum to 1."""
        return softmax(self.logits)

    @property
    def raw_logits(self) -> NDArray[np.float32]:
        """The logits before calibration, float32 (N, K)."""
        return self.logits * self.temperatures[:, None]

    @property
    def sha256(self) -> str:
        """The digest of all values, in their order."""
        digest = hashlib.sha256(f"{self.logits.shape}".encode())
        for texts in (self.image_ids, self.groups):
            digest.update("\0".join(texts).encode("utf-8", "surrogatepass") + b"\n")
        for whole in (self.labels, self.folds, self.predicted):
            digest.update(np.ascontiguousarray(whole, dtype="<i4").data)
        for real in (self.logits, self.temperatures):
            digest.update(np.ascontiguousarray(real, dtype="<f4").data)
        return digest.hexdigest()

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
        """Write the table as Parquet, with format and digest."""
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
        seal = json.dumps({"format": FORMAT, SEAL: self.sha256})
        with atomic_path(path) as temporary:
            pl.DataFrame(columns).write_parquet(temporary, metadata={METADATA: seal})

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read the table.

        Raises
        ------
        RunError
            The file is missing, damaged, changed by hand, or of another format.
        """
        try:
            check_ordinary(path, most_bytes=MOST_TABLE_BYTES)
            table = pl.read_parquet(path)
            seal = json.loads(pl.read_parquet_metadata(path).get(METADATA, "{}"))
            check_format(seal, where=path, fix=FIX)
            found = cls(
                image_ids=table["image_id"].to_list(),
                groups=table["group"].to_list(),
                labels=table["label"].to_numpy().astype(np.int32),
                folds=table["fold"].to_numpy().astype(np.int32),
                logits=table.select(pl.col("^logit_.*$")).to_numpy().astype(np.float32),
                predicted=table["predicted"].to_numpy().astype(np.int32),
                temperatures=table["temperature"].to_numpy().astype(np.float32),
            )
            sha256 = found.sha256
        except UNREADABLE as error:
            reason = f": {error.strerror}" if isinstance(error, OddFileError) else ""
            raise RunError(
                f"The predictions cannot be read{reason}.", where=path, fix=FIX
            ) from error
        if sha256 != seal.get(SEAL):
            raise RunError(
                "The predictions are damaged, or were changed after diascope wrote them: they do "
                "not match their checksum.",
                where=path,
                fix=FIX,
            )
        return found


def is_finite(logits: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which rows of logits (N, K) are finite throughout: bool (N,)."""
    return np.logical_and.reduce(np.isfinite(logits), axis=1)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Turn logits (N, K) into probabilities, float64 (N, K)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)
