"""Read-only trees of files: a folder, a ZIP archive, or a folder that holds archives.

Nothing is unpacked (but the arrays of an ``.npz``, into the cache: see `diascope.data.npz`): a
member is read from its archive when it is asked for, so no name in an archive can reach outside
it. An archive that looks hostile is refused whole all the same, when it is opened and before a
member is read. A tree may be read from several threads and, opened before a fork, from several
processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from diascope.data.archive import MAX_MEMBER_BYTES, is_skipped, name_problem
from diascope.data.npz import NpzFiles, holds_images
from diascope.data.tree import FileTree, unreadable
from diascope.data.zipped import ZipFiles
from diascope.errors import SourceError

__all__ = ["FileTree", "FolderFiles", "ZipFiles", "open_files"]


def open_files(path: Path) -> FileTree:
    """Open a folder, a ZIP archive or an ``.npz`` of images for reading.

    Parameters
    ----------
    path : Path
        A folder, whose ``.zip`` files and ``.npz`` files of images at the top level are read as if
        they were folders of the same name (``cell_images.zip/cell_images/...``), or one such file.

    Returns
    -------
    FileTree

    Raises
    ------
    SourceError
        There is nothing there, it holds no files, it is neither a folder nor a ZIP archive, an
        archive is damaged or hostile, or a link leads out of the folder.
    """
    path = Path(path)
    if path.is_dir():
        return FolderFiles(path)
    if path.is_file():
        return NpzFiles(path) if path.suffix.lower() == ".npz" else ZipFiles(path)
    raise SourceError("There is no such file or folder.", where=path, fix="Check the path.")


class FolderFiles(FileTree):
    """The files of a folder and of its sub-folders, and the members of its archives.

    A symbolic link is followed if it leads to somewhere within the folder. One to a file outside,
    to nowhere or round in a circle is not listed but ``left_out``, with the reason.

    Parameters
    ----------
    root : Path
        The folder.

    Raises
    ------
    SourceError
        The folder cannot be read or holds no files, names cannot be used on every system, links
        lead to folders outside (all of them at once), or an archive at the top level is refused.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._resolved = root.resolve()
        self._files: set[str] = set()
        self._archives: dict[str, FileTree] = {}
        self._refused: list[str] = []
        try:
            for name in self._scan():
                if "/" not in name and _is_archive(root / name):
                    self._archives[name] = open_files(root / name)
                else:
                    self._files.add(name)
        except OSError as error:
            self.close()
            raise SourceError(
                f"The folder cannot be read: {error.strerror}.", where=error.filename or root
            ) from error
        except SourceError:
            self.close()
            raise
        if self._refused:
            self.close()
            raise SourceError(
                "; ".join(self._refused) + ".",
                where=root,
                fix="Rename such files, and put folders themselves in the place of links.",
            )
        self.left_out.sort()
        if not self._files and not self._archives:
            links = "".join(f"; {name} is {reason}" for name, reason in self.left_out[:5])
            raise SourceError(
                f"The folder holds no files{links}.", where=root, fix="Check the path."
            )

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        inside = (
            f"{archive}/{name}" for archive, tree in self._archives.items() for name in tree.names()
        )
        return sorted([*self._files, *inside])

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; ``SourceError`` if there is none of that name."""
        archive, _, member = name.partition("/")
        if archive in self._archives:
            return self._archives[archive].size(member)
        try:
            return self._path(name).stat().st_size
        except OSError as error:
            raise unreadable(error, self.root / name) from error

    def read(self, name: str) -> bytes:
        """Return the content of a file; ``SourceError`` if it is gone, damaged or too big."""
        archive, _, member = name.partition("/")
        if archive in self._archives:
            return self._archives[archive].read(member)
        path = self._path(name)
        try:
            with path.open("rb") as handle:
                content = handle.read(MAX_MEMBER_BYTES + 1)
        except OSError as error:
            raise unreadable(error, path) from error
        if len(content) > MAX_MEMBER_BYTES:
            raise SourceError(f"The file is over {MAX_MEMBER_BYTES:,} bytes.", where=path)
        return content

    def local_path(self, name: str) -> Path | None:
        """Return where a file lies on disk by itself; None for a member of an archive."""
        return self.root / name if name in self._files else None

    def close(self) -> None:
        """Let go of the open archives."""
        for archive in self._archives.values():
            archive.close()

    def _path(self, name: str) -> Path:
        if name not in self._files:  # never reaches for a name that was not listed
            raise SourceError(f"There is no file named {name!r}.", where=self.root)
        return self.root / name

    def _scan(self) -> Iterator[str]:
        folders = [("", self._resolved, frozenset({self._resolved}))]
        while folders:
            prefix, folder, above = folders.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if is_skipped(entry.name):
                        continue
                    if problem := name_problem(entry.name):
                        self._refused.append(f"{name!a} has {problem} in its name")
                        continue
                    target: Path | None = folder / entry.name
                    if entry.is_symlink():
                        target = self._target(entry, name, above)
                    if target is None:
                        continue
                    if entry.is_dir():
                        folders.append((f"{name}/", target, above | {target}))
                    elif entry.is_file():
                        yield name

    def _target(self, entry: os.DirEntry[str], name: str, above: frozenset[Path]) -> Path | None:
        """Return where a link leads; None, once it is noted, where it is not to be followed.

        A file is left out alone; with a folder, nobody knows how many images would be.
        """
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # it leads nowhere, or to itself
            self.left_out.append((name, "a link that leads nowhere"))
            return None
        if not target.is_relative_to(self._resolved):
            if target.is_dir():
                self._refused.append(f"{name} is a link to a folder outside: {target}")
            else:
                self.left_out.append((name, "a link that leads out of the folder"))
            return None
        if target in above:
            self.left_out.append((name, "a link that leads round in a circle"))
            return None
        return target


def _is_archive(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix == ".zip" or (suffix == ".npz" and holds_images(path))
