"""The folder that reports and pictures are written to: ``sr/`` and ``sc/``, a file an instance."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import ImageFile
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.prediction import Prediction
from diascope.bundle.prediction_table import NO_PREDICTION
from diascope.data.budget import MAX_FILE_BYTES
from diascope.data.dicom.header import read_dataset
from diascope.errors import ImageError, SourceError
from diascope.explanations.explained import ImageExplainer, MethodMap
from diascope.explanations.heat_maps import Explainer
from diascope.reporting.dicom.capture_picture import Capture, draw_capture
from diascope.reporting.dicom.instance import MAKER, to_bytes
from diascope.reporting.dicom.row import NO_DICOM
from diascope.reporting.dicom.secondary_capture import secondary_capture
from diascope.reporting.dicom.send import Instance
from diascope.reporting.dicom.source import read_source
from diascope.reporting.dicom.structured_report import structured_report
from diascope.reporting.explain.words import LEVEL_WORDS, METHOD_NAMES, ORDER
from diascope.system.files import write_bytes
from diascope.system.reading import read_ordinary

if TYPE_CHECKING:
    from pydicom import Dataset

TWO_PATIENTS = "its study has images of two patients: refused, until it is known whose it is"
NOT_TESTED = "not tested"
AT_ONCE = 16  # images explained together
_OURS = re.compile(r"2\.25\.\d+\.dcm")


@dataclass
class DicomFolder:
    """A folder of reports and pictures by one bundle at one operating point."""

    folder: Path
    bundle: Bundle  # at the operating point
    point: NamedPoint | None
    has_reports: bool
    has_captures: bool
    explainer: ImageExplainer | None  # by one method; None without captures or a possible method
    refused: dict[str, str]  # by path, why nothing can be written
    written: dict[str, dict[str, Instance]] = field(default_factory=dict)  # by path and kind

    def write(
        self,
        files: Sequence[ImageFile],
        images: Sequence[NDArray[np.uint8] | str],
        predictions: Sequence[Prediction | None],
    ) -> None:
        """Write the instances of some images, and note why there are none of others.

        Parameters
        ----------
        files : sequence of ImageFile
            Their names, and how to read them.
        images : sequence
            The pixels that the network sees, uint8 (S, S, 3), or why there are none.
        predictions : sequence of Prediction, optional
            None where an image was not scored.
        """
        rows = [
            row
            for row, (name, _) in enumerate(files)
            if predictions[row] is not None and name not in self.refused
        ]
        for (name, _), prediction in zip(files, predictions, strict=True):
            if prediction is None:
                self.refused[name] = NO_PREDICTION
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            maps = self._maps([np.asarray(images[row]) for row in part])
            for row, (heat_map, target) in zip(part, maps, strict=True):
                prediction = predictions[row]
                if prediction is not None:
                    image = np.asarray(images[row])
                    self._write(files[row], image, prediction, heat_map, target)

    def _maps(self, images: list[NDArray[np.uint8]]) -> list[tuple[MethodMap | None, int]]:
        """Return the heat map of each image, if there is one, and the class that it explains."""
        if self.explainer is None:
            return [(None, 0)] * len(images)
        return [
            (None, 0) if isinstance(one, str) else (one.maps[0], one.target)
            for one in self.explainer.explained(np.stack(images))
        ]

    def _write(
        self,
        file: ImageFile,
        image: NDArray[np.uint8],
        prediction: Prediction,
        heat_map: MethodMap | None,
        target: int,
    ) -> None:
        """Write the instances of one image."""
        name, read = file
        card, point = self.bundle.card, self.point
        try:
            content = read()
            source = read_source(name, content)
            instances = {}
            if self.has_reports:
                report = structured_report(source, prediction, card, point=point)
                instances["sr"] = self._save("sr", report)
            if self.has_captures:
                shown = None if prediction.is_withheld else heat_map
                pixels = card.pixels.decoding.read(content)
                capture = Capture(pixels, image, prediction, shown, target)
                picture = draw_capture(capture, card, point)
                made = secondary_capture(source, picture, prediction, card, point=point)
                instances["sc"] = self._save("sc", made)
        except (ImageError, SourceError) as error:
            self.refused[name] = error.problem
            return
        self.written[name] = instances

    def _save(self, kind: str, made: Dataset) -> Instance:
        path = self.folder / kind / f"{made.SOPInstanceUID}.dcm"
        write_bytes(path, to_bytes(made))
        return Instance(
            path, str(made.StudyInstanceUID), str(made.SeriesInstanceUID), str(made.SOPInstanceUID)
        )

    @property
    def instances(self) -> list[Instance]:
        """All instances that were written, each once."""
        found = [one for kinds in self.written.values() for one in kinds.values()]
        return list(dict.fromkeys(found))

    def finish(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return the table of ``predict`` with ``sr``, ``sc`` and `NO_DICOM` before the error.

        The instances of an earlier use of the folder are removed.
        """
        kept = {one.path.name for one in self.instances}
        for kind in ("sr", "sc"):
            for path in sorted(self.folder.glob(f"{kind}/*.dcm")):
                if path.name not in kept and _is_ours(path):
                    path.unlink()
        names = table["path"].to_list()
        kinds = ["sr"] * self.has_reports + ["sc"] * self.has_captures
        found = {
            kind: [one.path.as_posix() if (one := self._of(name, kind)) else None for name in names]
            for kind in kinds
        }
        found[NO_DICOM] = [self.refused.get(name) for name in names]
        table = table.with_columns(
            **{name: pl.Series(values, dtype=pl.String) for name, values in found.items()}
        )
        return table.select(pl.exclude("error"), "error")

    def _of(self, name: str, kind: str) -> Instance | None:
        return self.written.get(name, {}).get(kind)


def open_dicom_folder(
    folder: Path,
    bundle: Bundle,
    files: Sequence[ImageFile],
    *,
    point: NamedPoint | None,
    has_reports: bool,
    has_captures: bool,
    explainers: Callable[[], Sequence[Explainer]],
    say: Callable[[str], None],
) -> DicomFolder:
    """Judge what is to be predicted, and choose the heat map that pictures show.

    That is the map of the method with the best verdict: one that passed its test, if any did.

    Parameters
    ----------
    bundle : Bundle
        At the operating point.
    files : sequence of ImageFile
        All that is to be predicted; those that nothing in DICOM can follow from are kept, with the
        reason.
    point : NamedPoint, optional
        The operating point; None for a bundle without a positive class.
    explainers : callable
        Returns the methods that are possible, tested where they can be; called for pictures alone.
    say : function
        Called with a line on the method that pictures show.
    """
    best = None
    if has_captures and (found := explainers()):
        best = min(found, key=lambda one: ORDER[one.verdict.level if one.verdict else NOT_TESTED])
        level = best.verdict.level if best.verdict else NOT_TESTED
        say(f"secondary captures show {METHOD_NAMES[best.method]}, {LEVEL_WORDS[level]}")
    return DicomFolder(
        folder,
        bundle,
        point,
        has_reports=has_reports,
        has_captures=has_captures,
        explainer=None if best is None else ImageExplainer(bundle, (best,), with_stages=False),
        refused=judge_sources(files),
    )


def _is_ours(path: Path) -> bool:
    """Say whether a file is an instance that diascope wrote."""
    if not _OURS.fullmatch(path.name):
        return False
    try:
        content = read_ordinary(path, most_bytes=MAX_FILE_BYTES)
        header = read_dataset(content, with_pixels=False)
    except (ImageError, OSError):
        return False
    return str(header.get("Manufacturer") or "") == MAKER and header.SOPInstanceUID == path.stem


def judge_sources(files: Sequence[ImageFile]) -> dict[str, str]:
    """Return by name why nothing in DICOM can follow from a file; nothing where it can.

    A study that has images of two patients is refused as a whole.
    """
    refused: dict[str, str] = {}
    by_study: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, read in files:
        try:
            source = read_source(name, read())
        except (ImageError, SourceError) as error:
            refused[name] = error.problem
            continue
        by_study[source.study_uid].setdefault(source.patient, []).append(name)
    for patients in by_study.values():
        if len(patients) > 1:
            refused |= dict.fromkeys(
                (n for names in patients.values() for n in names), TWO_PATIENTS
            )
    return refused
