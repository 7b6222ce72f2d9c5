"""Image files that a network is to see: listed from what was named, and read ahead of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diascope.bundle.image_tables import lists_images, paths_in_table
from diascope.data.decoder_processes import DecoderProcesses
from diascope.data.dicom.opened import states_window_of
from diascope.data.formats import IMAGE_KINDS, has_image_suffix
from diascope.data.pixels import Pixels
from diascope.data.sources.dicom import (
    OTHER_FRAME,
    FrameReader,
    Frames,
    choose_frames,
    file_of,
    frame_of,
    frames_in,
)
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import NotTaken, describe_not_taken, list_images, not_taken
from diascope.data.sources.reading import read_file
from diascope.errors import ImageError, SourceError
from diascope.system.words import counted, printable

N_DECODERS = min(8, os.cpu_count() or 1)  # each may take the memory of a file of the largest kind
DECODE_SECONDS = 60.0  # that one file may take

ImageFile = tuple[str, Callable[[], bytes]]  # the path to show, and how to read it
Decode = Callable[[bytes, Pixels], NDArray[np.uint8]]  # uint8 (S, S, 3); `ImageError` of `Pixels`


def list_image_files(
    paths: list[Path], opened: ExitStack, *, frames: Frames = "all"
) -> tuple[list[ImageFile], list[NotTaken]]:
    """List what is to be read, each file once, and what is left.

    Parameters
    ----------
    paths : list of Path
        Images, also single frames, such as ``scan.dcm#frame=3``; folders and ZIP archives, in which
        every image is taken; tables of image files, see `diascope.bundle.image_tables`.
    opened : ExitStack
        Keeps the folders and archives open.
    frames : str
        Which frames of DICOM files are taken, see `diascope.data.sources.dicom.choose_frames`.

    Raises
    ------
    SourceError
        A path or frame does not exist, there is no image, or the only path cannot be opened. Where
        there are several, a path that cannot be opened is listed, and reading it gives the reason.
    """
    missing = [str(path) for path in paths if not (path.exists() or _is_frame(path))]
    if missing:
        raise SourceError(f"There is nothing at {', '.join(missing)}.", fix="Check the paths.")
    images: dict[Path, ImageFile] = {}  # by where they really lie: each once
    left: list[NotTaken] = []
    reader = opened.enter_context(closing(FrameReader()))
    for path in paths:
        shown = printable(path.as_posix())
        if not (path.is_dir() or path.suffix.lower() == ".zip"):
            listed, others = _of_named(path, shown, reader, frames)
            images.update({key: image for key, image in listed.items() if key not in images})
            left += others
            continue
        try:
            files = opened.enter_context(open_files(path))
        except SourceError as error:
            if len(paths) == 1:
                raise
            images.setdefault(path.resolve(), (shown, partial(_refuse, error.problem)))
            continue
        listed, others = list_images(files)
        found = choose_frames(listed, frames)
        left += [*others, *_other_frames(listed, found)]
        for name in found:
            image = (f"{shown}/{name}", partial(files.read, name))
            images.setdefault((path / name).resolve(), image)
        for name, reason in files.left_out:
            if has_image_suffix(name) or name.endswith("/"):
                image = (f"{shown}/{name}", partial(_refuse, f"It is {reason}."))
                images.setdefault(path.absolute() / name, image)
    if not images:
        others = describe_not_taken([one.as_dict() for one in left])
        raise SourceError(
            f"There is no image in {', '.join(map(str, paths)) or 'nothing'}.",
            where=others or None,
            fix=f"Name image files, or folders with them: {', '.join(IMAGE_KINDS)}.",
        )
    return list(images.values()), left


def _of_file(
    path: Path, shown: str, reader: FrameReader, frames: Frames
) -> tuple[dict[Path, ImageFile], list[NotTaken]]:
    """Return the images in one file by where they lie, and the frames that were not asked for."""
    if _is_frame(path):
        return _named_frame(path, shown, reader), []
    read = partial(read_file, path)
    names = frames_in(shown, lambda n_bytes: read_file(path, n_bytes), read)
    chosen = choose_frames(names, frames)
    images, place = {}, path.resolve()
    for name in chosen:
        number = frame_of(name) if name != shown else None
        get = read if number is None else partial(reader.read, str(path), number, read)
        images[place.with_name(f"{place.name}{name[len(shown) :]}")] = (name, get)
    return images, _other_frames(names, chosen)


def _of_named(
    path: Path, shown: str, reader: FrameReader, frames: Frames
) -> tuple[dict[Path, ImageFile], list[NotTaken]]:
    """Return the images in one file, or in all that a table lists, and the frames left out."""
    if not lists_images(path):
        return _of_file(path, shown, reader, frames)
    images: dict[Path, ImageFile] = {}
    left: list[NotTaken] = []
    for listed in paths_in_table(path):
        shown = printable(listed.as_posix())
        try:
            found, others = _of_file(listed, shown, reader, frames)
        except SourceError as error:  # a frame that does not exist
            found, others = {listed.absolute(): (shown, partial(_refuse, error.problem))}, []
        images.update({key: image for key, image in found.items() if key not in images})
        left += others
    return images, left


def _is_frame(path: Path) -> bool:
    """Say whether a path names a frame of a file, and no file itself."""
    file = file_of(path.as_posix())
    return file != path.as_posix() and not path.exists() and Path(file).is_file()


def _named_frame(path: Path, shown: str, reader: FrameReader) -> dict[Path, ImageFile]:
    file = Path(file_of(path.as_posix()))
    found, _ = _of_file(file, file_of(shown), reader, "all")
    key = file.resolve().with_name(f"{file.resolve().name}#frame={frame_of(shown)}")
    if key not in found:
        n_frames = counted(len(found), "frame")
        raise SourceError(f"There is no frame {frame_of(shown)} in {file}: it has {n_frames}.")
    return {key: found[key]}


def _other_frames(names: list[str], chosen: list[str]) -> list[NotTaken]:
    others = sorted(set(names) - set(chosen))
    return [not_taken(OTHER_FRAME, others)] if others else []


def _refuse(problem: str) -> bytes:
    raise SourceError(problem)


def noting(
    image: ImageFile, digests: dict[str, str], windows: dict[str, bool | None] | None = None
) -> ImageFile:
    """Return an image file whose SHA-256 is noted by its path when it is read.

    Where ``windows`` are given, it is noted there whether the file states a window, see
    `diascope.data.dicom.opened.states_window_of`.
    """
    path, read = image

    def read_and_note() -> bytes:
        content = read()
        digests[path] = hashlib.sha256(content).hexdigest()
        if windows is not None and path not in windows:
            windows[path] = states_window_of(content)
        return content

    return path, read_and_note


@contextmanager
def decoders(n_decoders: int = N_DECODERS) -> Iterator[Decode]:
    """Yield what decodes files of strangers: behind bounds on memory and time, in processes.

    A file that hangs or crashes its decoder costs itself its pixels, and no other.
    """
    processes = DecoderProcesses(n_decoders, seconds=DECODE_SECONDS)
    try:
        yield processes.read
    finally:
        processes.close()


def read_ahead(
    decode: Decode,
    pixels: Pixels,
    images: list[ImageFile],
    *,
    n_at_once: int,
    n_decoders: int = N_DECODERS,
) -> Iterator[tuple[list[ImageFile], list[NDArray[np.uint8] | str]]]:
    """Yield the images in chunks, each read: the next one while the network works on the last.

    Of each image there are the pixels, uint8 (S, S, 3), or the reason why there are none.
    """
    chunks = [images[start : start + n_at_once] for start in range(0, len(images), n_at_once)]
    with ThreadPoolExecutor(n_decoders) as pool:

        def begin(number: int) -> list[Future[NDArray[np.uint8] | str]]:
            chunk = chunks[number]
            return [pool.submit(read_or_reason, decode, pixels, read) for _, read in chunk]

        coming = begin(0)
        for number, chunk in enumerate(chunks):
            reading, coming = coming, begin(number + 1) if number + 1 < len(chunks) else []
            yield chunk, [one.result() for one in reading]


def read_or_reason(
    decode: Decode, pixels: Pixels, read: Callable[[], bytes]
) -> NDArray[np.uint8] | str:
    """Return the pixels that the network sees, uint8 (S, S, 3), or why there are none."""
    try:
        return decode(read(), pixels)
    except (ImageError, SourceError) as error:
        return error.problem
    except MemoryError:
        return "too big for the memory that is free"
