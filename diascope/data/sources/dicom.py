"""The frames of DICOM files as files of a tree: ``scan.dcm#frame=3``, counted from 1.

A file of one frame keeps its name. Frames are of one patient: nothing may split them, see
`file_of`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from diascope.data.dicom.frames import HEAD_BYTES, count_frames, is_single, single_frame
from diascope.data.dicom.header import Numbers, read_with_numbers
from diascope.data.formats import DICOM_SUFFIXES, FIRST_BYTES, has_image_suffix, kind_of
from diascope.data.sources.tree import FileTree
from diascope.errors import ImageError, SourceError, UnknownNameError

if TYPE_CHECKING:
    from pydicom import Dataset

Frames = Literal["all", "first", "middle"]
FRAMES: tuple[Frames, ...] = get_args(Frames)
OTHER_FRAME = "frame that was not asked for"
_FRAME = re.compile(r"(.+)#frame=([1-9][0-9]{0,5})", re.DOTALL)


def file_of(name: str) -> str:
    """Return the file that an image lies in.

    Examples
    --------
    >>> file_of("a/scan.dcm#frame=3"), file_of("a/b.png")
    ('a/scan.dcm', 'a/b.png')
    """
    found = _FRAME.fullmatch(name)
    return found[1] if found else name


def check_frames(frames: str) -> Frames:
    """Return a choice of frames that somebody gives; ``UnknownNameError`` if there is none."""
    for one in FRAMES:
        if one == frames:
            return one
    raise UnknownNameError("choice of frames", frames, FRAMES)


def choose_frames(names: Sequence[str], frames: Frames) -> list[str]:
    """Return the names without the frames of a file that are not asked for.

    Of an even number of frames, the middle one is the first after the middle.

    Examples
    --------
    >>> four = [f"a.dcm#frame={number}" for number in (1, 2, 3, 4)]
    >>> choose_frames([*four, "b.png"], "middle"), choose_frames(four, "first")
    (['a.dcm#frame=3', 'b.png'], ['a.dcm#frame=1'])
    """
    if frames == "all":
        return list(names)
    of_file: dict[str, int] = {}
    for name in names:
        of_file[file_of(name)] = of_file.get(file_of(name), 0) + 1
    wanted = {
        f"{name}#frame={1 if frames == 'first' else n_frames // 2 + 1}"
        for name, n_frames in of_file.items()
    }
    return [name for name in names if name in wanted or file_of(name) == name]


def frame_of(name: str) -> int | None:
    """Return the number of a frame, from 1; None of the name of a file."""
    found = _FRAME.fullmatch(name)
    return int(found[2]) if found else None


def frames_in(
    name: str, read_start: Callable[[int], bytes], read: Callable[[], bytes]
) -> list[str]:
    """Return the names of the images in a file: its own, or those of its frames.

    ``read_start`` returns so many of the first bytes of the file, and ``read`` all of them.
    """
    if has_image_suffix(name) and not name.rstrip(" .").lower().endswith(DICOM_SUFFIXES):
        return [name]
    try:
        if kind_of(read_start(FIRST_BYTES)) != "DICOM" or is_single(read_start(HEAD_BYTES)):
            return [name]
        n_frames = count_frames(read())
    except SourceError:  # what is wrong with it is said when it is read
        return [name]
    return [name] if n_frames == 1 else [f"{name}#frame={n + 1}" for n in range(n_frames)]


class FrameReader:
    """Reads frames of files; the last file stays open, so that it is read once and not by frame.

    To be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name: str | None = None
        self._open: tuple[Dataset, Numbers] | ImageError | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process with no file open."""
        return FrameReader, ()

    def read(self, name: str, number: int, content: Callable[[], bytes]) -> bytes:
        """Return a frame, from 1, as a DICOM file; ``SourceError`` if the file is refused."""
        with self._lock:
            if name != self._name:
                self._name, self._open = None, None
                try:
                    self._open = read_with_numbers(content())
                except ImageError as error:
                    self._open = error
                self._name = name
            try:
                if isinstance(self._open, ImageError):
                    raise self._open
                assert self._open is not None  # noqa: S101 - it was set with the name
                return single_frame(*self._open, number - 1)
            except ImageError as error:
                raise SourceError(error.problem, where=name) from error

    def close(self) -> None:
        """Let go of the last file."""
        with self._lock:
            self._name = self._open = None


class DicomFiles(FileTree):
    """A tree whose DICOM files of several frames are listed frame by frame."""

    def __init__(self, files: FileTree) -> None:
        super().__init__(files.root)
        self._files, self._frames = files, FrameReader()
        self.left_out, self.hidden = files.left_out, files.hidden
        self._names: list[str] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as what it is made of does."""
        return DicomFiles, (self._files,)

    def names(self) -> list[str]:
        """Return the names of all files and frames, the frames in order behind one another."""
        if self._names is None:
            self._names = [one for name in self._files.names() for one in self._frames_of(name)]
        return list(self._names)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; of a frame, that of its file."""
        return self._files.size(self._split(name)[0])

    def read(self, name: str) -> bytes:
        """Return the content of a file, or of a frame as a file of its own."""
        file, number = self._split(name)
        if number is None:
            return self._files.read(file)
        return self._frames.read(file, number, lambda: self._files.read(file))

    def read_start(self, name: str, n_bytes: int = FIRST_BYTES) -> bytes:
        """Return the first bytes of a file; of a frame, those of its file."""
        return self._files.read_start(self._split(name)[0], n_bytes)

    def local_path(self, name: str) -> Path | None:
        """Return where a file lies on disk by itself; None for a frame."""
        return self._files.local_path(name) if self._split(name)[1] is None else None

    def close(self) -> None:
        """Let go of the open files."""
        self._frames.close()
        self._files.close()

    def _split(self, name: str) -> tuple[str, int | None]:
        """Return the file of a name, and the number of the frame if it is one."""
        found = _FRAME.fullmatch(name)
        if found is None or self._is_file(name):
            return name, None
        return found[1], int(found[2])

    def _is_file(self, name: str) -> bool:
        try:
            self._files.size(name)
        except SourceError:
            return False
        return True

    def _frames_of(self, name: str) -> list[str]:
        return frames_in(
            name, partial(self._files.read_start, name), partial(self._files.read, name)
        )
