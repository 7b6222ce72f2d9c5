"""Image files that a network is to see: listed from what was named, and read ahead of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
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
from diascope.data.sources.remote import read_object
from diascope.errors import ImageError, SourceError
from diascope.system.places import Place, place_of, shown
from diascope.system.remote import open_store
from diascope.system.words import counted, printable

N_DECODERS = min(8, os.cpu_count() or 1)  # each may take the memory of a file of the largest kind
DECODE_SECONDS = 60.0  # that one file may take

ImageFile = tuple[str, Callable[[], bytes]]  # the path to show, and how to read it
Decode = Callable[[bytes, Pixels], NDArray[np.uint8]]  # uint8 (S, S, 3); `ImageError` of `Pixels`


def list_image_files(
    paths: Sequence[Path | str], opened: ExitStack, *, frames: Frames = "all"
) -> tuple[list[ImageFile], list[NotTaken]]:
    """List what is to be read, each file once, and what is left.

    Parameters
    ----------
    paths : sequence of path or str
        Images, also single frames, such as ``scan.dcm#frame=3``; folders and ZIP archives, in which
        every image is taken. Each may be an address such as ``s3://bucket/cells``; a frame of one
        file may not. Tables of image files, see `diascope.bundle.image_tables`.
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
    places = [place_of(path) for path in paths]
    missing = [
        str(place)
        for place in places
        if isinstance(place, Path) and not (place.exists() or _is_frame(place))
    ]
    if missing:
        raise SourceError(f"There is nothing at {', '.join(missing)}.", fix="Check the paths.")
    images: dict[Path | str, ImageFile] = {}  # by where they really lie: each once
    left: list[NotTaken] = []
    reader = opened.enter_context(closing(FrameReader()))
    for place in places:
        try:
            found, others = _of_place(place, opened, reader, frames)
        except SourceError as error:
            if len(places) == 1 or isinstance(place, str) or not _holds_others(place):
                raise
            name = printable(place.as_posix())
            found, others = {place.resolve(): (name, partial(_refuse, error.problem))}, []
        images.update({key: image for key, image in found.items() if key not in images})
        left += others
    if not images:
        others = describe_not_taken([one.as_dict() for one in left])
        raise SourceError(
            f"There is no image in {', '.join(_said(place) for place in places) or 'nothing'}.",
            where=others or None,
            fix=f"Name image files, or folders with them: {', '.join(IMAGE_KINDS)}.",
        )
    return list(images.values()), left


def _said(place: Place) -> str:
    return shown(place) if isinstance(place, str) else str(place)


def _holds_others(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() == ".zip"


def _of_place(
    place: Place, opened: ExitStack, reader: FrameReader, frames: Frames
) -> tuple[dict[Path | str, ImageFile], list[NotTaken]]:
    """Return the images in one place by where they lie, and what is not taken."""
    if isinstance(place, str):
        address = shown(place).rstrip("/")
        if has_image_suffix(file_of(address)):
            store = opened.enter_context(closing(open_store(place)))
            read = partial(read_object, store)
            return _of_file(address, printable(address), reader, frames, read)
        return _of_tree(place, printable(address), opened, frames)
    name = printable(place.as_posix())
    if _holds_others(place):
        return _of_tree(place, name, opened, frames)
    if lists_images(place):
        return _of_table(place, reader, frames)
    return _of_path(place, name, reader, frames)


def _of_path(
    path: Path, name: str, reader: FrameReader, frames: Frames
) -> tuple[dict[Path | str, ImageFile], list[NotTaken]]:
    if _is_frame(path):
        return _named_frame(path, name, reader), []
    return _of_file(path, name, reader, frames, partial(read_file, path))


def _of_table(
    table: Path, reader: FrameReader, frames: Frames
) -> tuple[dict[Path | str, ImageFile], list[NotTaken]]:
    """Return the images that a table lists; reading one that does not exist gives the reason."""
    images: dict[Path | str, ImageFile] = {}
    left: list[NotTaken] = []
    for path in paths_in_table(table):
        name = printable(path.as_posix())
        try:
            found, others = _of_path(path, name, reader, frames)
        except SourceError as error:  # a frame that does not exist
            found, others = {path.absolute(): (name, partial(_refuse, error.problem))}, []
        images.update({key: image for key, image in found.items() if key not in images})
        left += others
    return images, left


def _of_tree(
    place: Place, name: str, opened: ExitStack, frames: Frames
) -> tuple[dict[Path | str, ImageFile], list[NotTaken]]:
    files = opened.enter_context(open_files(place))
    listed, others = list_images(files)
    chosen = choose_frames(listed, frames)
    found: dict[Path | str, ImageFile] = {
        _key(place, one): (f"{name}/{one}", partial(files.read, one)) for one in chosen
    }
    for one, reason in files.left_out:
        if has_image_suffix(one) or one.endswith("/"):
            image = (f"{name}/{one}", partial(_refuse, f"It is {reason}."))
            key = place.absolute() / one if isinstance(place, Path) else _key(place, one)
            found.setdefault(key, image)
    return found, [*others, *_other_frames(listed, chosen)]


def _key(place: Place, name: str) -> Path | str:
    return (place / name).resolve() if isinstance(place, Path) else f"{place.rstrip('/')}/{name}"


def _of_file(
    place: Place,
    shown_name: str,
    reader: FrameReader,
    frames: Frames,
    read: Callable[..., bytes],
) -> tuple[dict[Path | str, ImageFile], list[NotTaken]]:
    """Return the images in one file by where they lie, and the frames that were not asked for.

    ``read(n_bytes)`` returns so many of its first bytes, and ``read()`` all.
    """
    names = frames_in(shown_name, read, read)
    chosen = choose_frames(names, frames)
    images: dict[Path | str, ImageFile] = {}
    for name in chosen:
        number, ending = frame_of(name) if name != shown_name else None, name[len(shown_name) :]
        get = read if number is None else partial(reader.read, str(place), number, read)
        resolved = place.resolve() if isinstance(place, Path) else place
        at = resolved if isinstance(resolved, str) else resolved.name
        key = f"{at}{ending}"
        images[resolved.with_name(key) if isinstance(resolved, Path) else key] = (name, get)
    return images, _other_frames(names, chosen)


def _is_frame(path: Path) -> bool:
    """Say whether a path names a frame of a file, and no file itself."""
    file = file_of(path.as_posix())
    return file != path.as_posix() and not path.exists() and Path(file).is_file()


def _named_frame(path: Path, shown_name: str, reader: FrameReader) -> dict[Path | str, ImageFile]:
    file = Path(file_of(path.as_posix()))
    found, _ = _of_file(file, file_of(shown_name), reader, "all", partial(read_file, file))
    number = frame_of(shown_name)
    key = file.resolve().with_name(f"{file.resolve().name}#frame={number}")
    if key not in found:
        n_frames = counted(len(found), "frame")
        raise SourceError(f"There is no frame {number} in {file}: it has {n_frames}.")
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
