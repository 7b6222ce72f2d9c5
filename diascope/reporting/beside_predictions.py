"""What ``predict`` writes beside its table: explanations, and instances in DICOM.

The packages that these need are imported, and asked for, only where they are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import Decode, ImageFile
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.prediction import predictions_of
from diascope.errors import SettingsError
from diascope.system.extras import check_extra
from diascope.system.progress import ShowProgress
from diascope.training.run import Run

if TYPE_CHECKING:
    from diascope.explanations.heat_maps import Explainer
    from diascope.reporting.dicom.folder import DicomFolder
    from diascope.reporting.dicom.settings import DicomSettings
    from diascope.reporting.explain.folder import ExplanationFolder
    from diascope.reporting.explain.row import Listed


@dataclass
class Beside:
    """What is written beside a table; nothing where nothing is wanted."""

    bundle: Bundle
    explanations: ExplanationFolder | None
    dicom: DicomFolder | None
    listed: list[Listed] = field(default_factory=list)

    def add(
        self,
        files: Sequence[ImageFile],
        images: Sequence[NDArray[np.uint8] | str],
        digests: Mapping[str, str],
        scores: tuple[NDArray[np.float32], NDArray[np.float64] | None],
    ) -> None:
        """Write what belongs to some images.

        Parameters
        ----------
        images : sequence
            The pixels that the network sees, uint8 (S, S, 3), or why there are none.
        digests : mapping
            SHA-256 of each file that could be read, by its name.
        scores : tuple
            Logits (N, K), NaN where there are none, and OOD scores (N,) if there is a detector.
        """
        if self.explanations is not None:
            names = [name for name, _ in files]
            noted = [digests.get(name) for name in names]
            self.listed += self.explanations.explain(names, noted, images)
        if self.dicom is not None:
            self.dicom.write(files, images, predictions_of(self.bundle, *scores))

    def finish(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return the table of all images with the columns that name what was written."""
        if self.explanations is not None:
            from diascope.reporting.explain.row import with_explanations

            self.explanations.finish(self.listed)
            table = with_explanations(table, map(self.explanations.picture_of, self.listed))
        return table if self.dicom is None else self.dicom.finish(table)


def dicom_settings_of(
    out: Path, *, sr: bool, sc: bool, folder: Path | None, to: str | None, overwrite: bool
) -> DicomSettings | None:
    """Check what is wanted in DICOM; None where nothing is.

    Parameters
    ----------
    out : Path
        The table; the folder is by default beside it.

    Raises
    ------
    SettingsError
        Something is to be sent and nothing written, the folder is taken, the address is none, or
        packages are missing.
    """
    if not (sr or sc):
        if folder is not None or to is not None:
            raise SettingsError(
                "There is nothing in DICOM to write or send.",
                where="--dicom-out, --to",
                fix="Add --sr for structured reports, --sc for secondary captures.",
            )
        return None
    for extra in ("dicom", "train"):
        check_extra(extra, what="diascope predict --sr and --sc")
    from diascope.reporting.dicom.settings import dicom_settings

    default = out.with_name(f"{out.stem}_dicom")
    return dicom_settings(folder or default, sr=sr, sc=sc, to=to, overwrite=overwrite)


def open_beside(
    model: Run | Path | str,
    bundle: Bundle,
    images: list[ImageFile],
    decode: Decode,
    *,
    explain: Path | None,
    dicom: DicomSettings | None,
    point: NamedPoint | None,
    progress: ShowProgress,
    say: Callable[[str], None],
) -> Beside:
    """Begin what is wanted beside the table of all images.

    Parameters
    ----------
    model : Run or path
        What the bundle was loaded from.
    bundle : Bundle
        At the operating point.
    explain : Path, optional
        The folder of explanations.
    dicom : DicomSettings, optional
        What is wanted in DICOM.
    """
    explanations = None
    if explain is not None:
        check_extra("train", what="diascope predict --explain")
        from diascope.reporting.explain.folder import open_explanations
        from diascope.reporting.explain.verdicts import sample_of

        explanations = open_explanations(
            model,
            bundle,
            explain,
            given=partial(sample_of, images, decode, bundle.card.pixels),
            progress=progress,
            say=say,
        )
    if dicom is None:
        return Beside(bundle, explanations, None)

    def explainers() -> Sequence[Explainer]:
        if explanations is not None:
            return explanations.explainer.explainers
        return _tested_explainers(model, bundle, images, decode, progress, say)

    written = dicom.open(bundle, images, point=point, explainers=explainers, say=say)
    return Beside(bundle, explanations, written)


def _tested_explainers(
    model: Run | Path | str,
    bundle: Bundle,
    images: list[ImageFile],
    decode: Decode,
    progress: ShowProgress,
    say: Callable[[str], None],
) -> Sequence[Explainer]:
    """Return the heat map methods that are possible, tested where they can be."""
    from diascope.explanations.explained import choose_explainers
    from diascope.reporting.explain.verdicts import sample_of, with_verdicts

    explainers, left_out = choose_explainers(bundle, None, None)
    for line in left_out:
        say(line)
    if not explainers:
        return explainers
    given = partial(sample_of, images, decode, bundle.card.pixels)
    return with_verdicts(model, explainers, given=given, progress=progress, say=say)
