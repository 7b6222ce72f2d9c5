"""What ``predict`` is to write and send in DICOM, checked before anything is predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import ImageFile
from diascope.bundle.operating_points import NamedPoint
from diascope.errors import SettingsError
from diascope.explanations.heat_maps import Explainer
from diascope.reporting.dicom.folder import DicomFolder, open_dicom_folder
from diascope.reporting.dicom.row import check_all_written
from diascope.reporting.dicom.send import Archive, archive_at, send
from diascope.system.progress import ShowProgress
from diascope.system.words import counted


@dataclass(frozen=True)
class DicomSettings:
    """What is to be written, where, and where it is to be sent."""

    folder: Path
    has_reports: bool
    has_captures: bool
    archive: Archive | None

    def open(
        self,
        bundle: Bundle,
        files: Sequence[ImageFile],
        *,
        point: NamedPoint | None,
        explainers: Callable[[], Sequence[Explainer]],
        say: Callable[[str], None],
    ) -> DicomFolder:
        """Begin to write; see `open_dicom_folder`."""
        return open_dicom_folder(
            self.folder,
            bundle,
            files,
            point=point,
            has_reports=self.has_reports,
            has_captures=self.has_captures,
            explainers=explainers,
            say=say,
        )

    def send(
        self,
        written: DicomFolder,
        table: Path,
        *,
        progress: ShowProgress,
        say: Callable[[str], None],
    ) -> None:
        """Say what was written, and send it if that is wanted.

        Raises
        ------
        SourceError
            Nothing was written, see ``table``; or not all arrived.
        """
        instances = written.instances
        if not instances:
            check_all_written(table)
            return
        say(f"{counted(len(instances), 'DICOM instance')} in {self.folder}")
        if self.archive is None:
            return
        if self.archive.warning:
            say(self.archive.warning)
        receipt = send(instances, self.archive, progress=progress)
        there = f"; {receipt.n_there:,} were there before" if receipt.n_there else ""
        sent = counted(receipt.n_sent, "instance")
        say(f"{sent} sent to {self.archive.url} and found there{there}")


def dicom_settings(
    folder: Path, *, sr: bool, sc: bool, to: str | None, overwrite: bool
) -> DicomSettings:
    """Check what is wanted.

    Raises
    ------
    SettingsError
        The folder is taken or cannot be written to, or the address is none; see `archive_at`.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is no folder.", where="--dicom-out")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise SettingsError(
            f"{folder} exists and is not empty.", fix="Pass another --dicom-out, or --overwrite."
        )
    archive = None if to is None else archive_at(to)
    _check_writable(folder)
    return DicomSettings(folder, sr, sc, archive)


def _check_writable(folder: Path) -> None:
    """Make the folder, and see whether a file can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be written to: {error.strerror}.",
            where="--dicom-out",
            fix="Pass another --dicom-out, or see to its permissions.",
        ) from error
