"""Read-only trees of files: a folder, a ZIP archive, or a folder that holds archives.

Nothing is unpacked (but the arrays of an ``.npz``, into the cache: see
`diascope.data.sources.npz`): a member is read from its archive on demand, so no name in
an archive can reach outside it. An archive that looks hostile is refused whole all the same, when
it is opened and before a member is read. A tree may be read from several threads and, opened before
a fork, from several processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diascope.data.sources.dicom import DicomFiles
from diascope.data.sources.nested import NestedFiles
from diascope.data.sources.npz import NpzFiles, holds_images
from diascope.data.sources.reading import read_file, unreadable
from diascope.data.sources.remote import open_remote
from diascope.data.sources.tree import FileTree, is_skipped, name_problem
from diascope.data.sources.zipped import ZipFiles
from diascope.errors import SourceError
from diascope.system.places import Place, is_address
from diascope.system.reading import kind_of_entry
from diascope.system.words import printable

__all__ = ["FileTree", "FolderFiles", "ZipFiles", "open_files"]


def open_files(path: Place) -> FileTree:
    """Open a folder, a ZIP archive or an ``.npz`` of images for reading.

    The address of a folder or a ZIP archive in an object store, such as ``s3://bucket/cells``, is
    opened in the same way, see `diascope.data.sources.remote`.

    In a folder, ``.zip`` files and, at the top level, ``.npz`` files of images are read as if they
    were folders of the same name (``cell_images.zip/cell_images/...``). Below the top level, a
    ``.zip`` that is refused, or one beyond the first `MAX_ARCHIVES_BELOW`, is a file like others.
    DICOM files of several frames are listed by frame, see `diascope.data.sources.dicom`.

    Raises
    ------
    SourceError
        There is nothing there, it holds no files, it is neither a folder nor a ZIP archive, an
        archive is damaged or hostile, or a link leads out of the folder.
    """
    if isinstance(path, str) and is_address(path):
        return DicomFiles(open_remote(path))
    path = Path(path)
    if path.is_dir():
        return DicomFiles(FolderFiles(path))
    if path.is_file():
        return DicomFiles(open_archive(path))
    raise SourceError("There is no such file or folder.", where=path, fix="Check the path.")


def holds_files(path: Path) -> bool:
    """Say whether a path is a folder, or a ZIP archive that is read like one."""
    return path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip")


def open_archive(path: Path) -> FileTree:
    """Open a ZIP archive or an ``.npz`` of images; errors as of `open_files`."""
    return NpzFiles(path) if path.suffix.lower() == ".npz" else ZipFiles(path)


class FolderFiles(NestedFiles):
    """The files of a folder and of its sub-folders, and the members of its archives.

    A symbolic link is followed if it leads to somewhere within the folder. One to a file outside,
    to nowhere or round in a circle is not listed but ``left_out``, with the reason; so are pipes,
    sockets and devices, folders that cannot be read (their names end in ``/``), and files whose
    names cannot be used on every system.

    Raises
    ------
    SourceError
        The folder cannot be read or holds no files, links lead to folders outside (all of them at
        once), or an archive at the top level is refused.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.folder, self._resolved = root, root.resolve()
        self._files: set[str] = set()
        self._refused: list[str] = []
        try:
            for name in self._scan():
                if "/" not in name and _is_archive(root / name):
                    self._archives[name] = self._open_archive(name)
                else:
                    self._files.add(name)
            self._files.difference_update(self._open_archives_below())
        except OSError as error:
            self.close()
            raise SourceError(
                f"The folder cannot be read: {error.strerror or error}.",
                where=error.filename or root,
            ) from error
        except SourceError:
            self.close()
            raise
        if self._refused:
            self.close()
            raise SourceError(
                "; ".join(self._refused) + ".",
                where=root,
                fix="Put the folders themselves in the place of the links.",
            )
        self.left_out.sort()
        if not self._files and not self._archives:
            links = "".join(f"; {name} is {reason}" for name, reason in self.left_out[:5])
            raise SourceError(
                f"The folder holds no files{links}.", where=root, fix="Check the path."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process by path; it is not searched again there."""
        return _ListedFiles, (self.folder, self._archives)

    @property
    def _own(self) -> set[str]:
        return self._files

    def _own_size(self, name: str) -> int:
        try:
            return self._path(name).stat().st_size
        except OSError as error:
            raise unreadable(error, self.folder / name) from error

    def _own_read(self, name: str, n_bytes: int | None = None) -> bytes:
        return read_file(self._path(name), n_bytes)

    def _open_archive(self, name: str) -> FileTree:
        return open_archive(self.folder / name)

    def local_path(self, name: str) -> Path | None:
        """Return where a file lies on disk by itself; None for a member of an archive."""
        return self.folder / name if name in self._files else None

    def _path(self, name: str) -> Path:
        if name not in self._files:  # never reaches for a name that was not listed
            raise SourceError(f"There is no file named {name!r}.", where=self.root)
        return self.folder / name

    def _scan(self) -> Iterator[str]:
        """Yield the names of all ordinary files, and note what is left out."""
        folders = [("", self._resolved, frozenset({self._resolved}))]
        while folders:
            prefix, folder, above = folders.pop()
            for entry in self._entries(prefix, folder):
                name = prefix + entry.name
                target: Path | None = folder / entry.name
                if entry.is_symlink():
                    target = self._target(entry, name, above)
                if target is None:
                    continue
                if entry.is_dir():
                    folders.append((f"{name}/", target, above | {target}))
                elif not entry.is_file():
                    self._leave_out(name, f"{kind_of_entry(entry.stat().st_mode)}, not a file")
                elif problem := next(filter(None, map(name_problem, name.split("/"))), None):
                    self._leave_out(name, f"a file with {problem} in its name")
                else:
                    yield name

    def _entries(self, prefix: str, folder: Path) -> list[os.DirEntry[str]]:
        """List a folder without what desktops leave behind; none where it cannot be read."""
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            if not prefix:
                raise
            self._leave_out(prefix, f"a folder that cannot be read: {error.strerror}")
            return []
        skipped = [entry for entry in found if is_skipped(entry.name)]
        self.hidden.update({printable(prefix + one.name): _count_files(one) for one in skipped})
        return [entry for entry in found if not is_skipped(entry.name)]

    def _leave_out(self, name: str, reason: str) -> None:
        self.left_out.append((printable(name), reason))

    def _target(self, entry: os.DirEntry[str], name: str, above: frozenset[Path]) -> Path | None:
        """Return where a link leads; None, once it is noted, where it is not to be followed.

        A file is left out alone; with a folder, nobody knows how many images would be.
        """
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # it leads nowhere, or to itself
            self._leave_out(name, "a link that leads nowhere")
            return None
        if not target.is_relative_to(self._resolved):
            if target.is_dir():
                self._refused.append(f"{printable(name)} is a link to a folder outside: {target}")
            else:
                self._leave_out(name, "a link that leads out of the folder")
            return None
        if target in above:
            self._leave_out(name, "a link that leads round in a circle")
            return None
        return target


class _ListedFiles(FolderFiles):
    """A folder that another process listed, to read from the names that it found."""

    def __init__(self, root: Path, archives: dict[str, FileTree]) -> None:
        NestedFiles.__init__(self, root)
        self.folder, self._files, self._archives = root, set(), archives

    def names(self) -> list[str]:
        raise NotImplementedError

    def _path(self, name: str) -> Path:
        return self.folder / name


def _count_files(entry: os.DirEntry[str]) -> int:
    """Return the number of files in a folder that is not read, 1 for a file."""
    if not entry.is_dir(follow_symlinks=False):
        return 1
    return sum(len(files) for _, _, files in os.walk(entry.path))


def _is_archive(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix == ".zip" or (suffix == ".npz" and holds_images(path))
