"""Predict very many images: in parts, by the processes of a cluster, into a folder or a table.

Each part is a table of its own with the columns of ``predict``, and begins at a multiple of the
number of images that are scored together. So the rows are those of the plain command.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from diascope.bundle.bundle import Bundle
from diascope.bundle.image_files import ImageFile, decoders
from diascope.bundle.onnx_engine import with_engine
from diascope.bundle.operating_points import NamedPoint
from diascope.bundle.predicting import CHUNK, Known, called_at, predict_files
from diascope.bundle.prediction_files import FORMATS, check_all_predicted, write_table
from diascope.bundle.predictions_by_group import by_group
from diascope.data.sources.dicom import file_of
from diascope.data.sources.tables import SPREADSHEETS, SUFFIXES
from diascope.data.window import describe_without_window
from diascope.errors import RunError, SettingsError, SourceError
from diascope.system.cluster import Job, Lost, connected
from diascope.system.cluster_worker import Do, software
from diascope.system.parts import PLAN, Parts, open_parts
from diascope.system.places import is_address
from diascope.system.progress import Progress, ShowProgress
from diascope.system.words import counted
from diascope.training.known_images import known_images
from diascope.training.run import open_bundle

PART_SIZE = 8 * CHUNK
MOST_DECODERS = 8
SAME_PLACE = "All machines of the cluster must see the same files at the same paths."
GROUP_COLUMNS = ("group", "predicted", "refer", "error")


class Asked(NamedTuple):
    """What is to be predicted, and how; as plain values, which go to other processes."""

    model: str  # a run or a bundle
    paths: tuple[str, ...]  # as the user named them
    operating_point: str | None
    threshold: float | None
    engine: str


class Files(NamedTuple):
    """The images, the group of each where a rule says it, and what the run knows of its own."""

    images: Sequence[ImageFile]
    groups: Sequence[str] | None
    known: Known


def _parts_of(
    folder: Path,
    asked: Asked,
    bundle: Bundle,
    files: Files,
) -> Parts:
    """Return the parts of a job: the same for the same files, bundle, options and software."""
    about = {
        "task": "predict",
        "software": software(),
        "model": bundle.card.digest,
        "operating_point": asked.operating_point,
        "threshold": asked.threshold,
        "engine": asked.engine,
        "images": digest_of_files(files.images),
        "groups": _digest(files.groups or ()),
        "run": _digest(f"{sha256} {files.known[sha256]}" for sha256 in sorted(files.known)),
    }
    return Parts(folder, about, n_items=len(files.images), size=PART_SIZE)


def digest_of_files(images: Iterable[ImageFile]) -> str:
    """Return a digest of image files: other if one has another path, size or last change."""
    return _digest(_states(images))


def _states(images: Iterable[ImageFile]) -> Iterator[str]:
    """Yield each path, with bytes and moment of the last change of the file that it lies in.

    Of an object in a store there is only the address.
    """
    folders: dict[Path, str] = {}  # what an image lies in, where it is no file by itself
    for shown, _ in images:
        file = Path(file_of(shown))
        state = "" if is_address(shown) else _state(file)
        if state is None:
            if file.parent not in folders:
                above = filter(None, map(_state, file.parents))
                folders[file.parent] = next(above, "")
            state = folders[file.parent]
        yield f"{shown} {state}"


def _state(file: Path) -> str | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return f"{found.st_size} {found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else ""


def _digest(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return found.hexdigest()


def check_place(out: Path, of_groups: Path, *, overwrite: bool) -> None:
    """Check where the result is to go, before anything is read.

    Raises
    ------
    SettingsError
        The name is that of a table of another kind; or a table exists, and is not to be replaced.
        Beside a folder this is the table of the groups, which only the same job writes anew.
    """
    suffix = out.suffix.lower()
    if suffix in (*SUFFIXES, *SPREADSHEETS) and suffix not in FORMATS:
        raise SettingsError(
            f"{out} is neither a folder nor a table ({', '.join(FORMATS)}).", where="--out"
        )
    if suffix in FORMATS:
        tables = (out, of_groups)
    else:
        tables = () if (out / PLAN).exists() else (of_groups,)
    for path in tables:
        if path.exists() and not overwrite:
            raise SettingsError(f"{path} exists.", fix="Pass another --out, or --overwrite.")


def predict_in_parts(
    out: Path,
    asked: Asked,
    bundle: Bundle,
    *,
    files: Files,
    of_groups: Path,
    address: str,
    overwrite: bool,
    progress: ShowProgress,
    say: Callable[[str], None],
) -> Path:
    """Predict what is not predicted yet, and write a folder of parts or one table; return it.

    Parameters
    ----------
    out, of_groups : path
        Of the rows of all images, and of those of the groups, if these are known. For a table, the
        parts are beside it in a folder with the name of the table and ``.parts``, until it is
        complete.
    bundle : Bundle
        At the operating point.
    address : str
        Of the cluster.

    Raises
    ------
    SourceError
        Some parts ended their process each time; all others are finished. Or not one image could be
        predicted: the table is written all the same.
    DiascopeError
        The cluster cannot be used, or a process cannot: what is finished stays.
    """
    is_table = out.suffix.lower() in FORMATS
    folder = out.with_name(f"{out.name}.parts") if is_table else out
    parts = _parts_of(folder, asked, bundle, files)
    with open_parts(parts, overwrite=overwrite):
        facts = _predict_missing(parts, asked, files, address=address, progress=progress, say=say)
        rows = pl.scan_parquet([parts.path(number) for number in parts.numbers])
        if is_table:
            write_table(rows, out)
        of_groups.unlink(missing_ok=True)
        if rows.select(pl.col("group").count()).collect().item():
            table = rows.select(*GROUP_COLUMNS, pl.col("^probability_.*$")).collect()
            write_table(by_group(table, bundle.classes), of_groups)
    if is_table:
        parts.remove()
    if n_without := sum(one["n_without_window"] for one in facts):
        say(describe_without_window(n_without))
    if sum(one["n_errors"] for one in facts) == parts.n_items:
        check_all_predicted(out)
    return out


def _predict_missing(
    parts: Parts,
    asked: Asked,
    files: Files,
    *,
    address: str,
    progress: ShowProgress,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Predict the parts that are not finished; return the facts of all."""
    facts = {number: parts.facts(number) for number in parts.numbers}
    left = [number for number, found in facts.items() if found is None]
    n_done = parts.n_items - sum(_n_items(parts, number) for number in left)
    if n_kept := len(facts) - len(left):
        say(
            f"kept from before: {n_kept:,} of {counted(len(facts), 'part')}; after objects in a "
            "store were changed under their old names, remove the folder first"
        )
    progress(Progress("predicting", n_done, parts.n_items))

    def task(number: int) -> tuple[list[ImageFile], list[str] | None]:
        items = parts.items(number)
        groups = files.groups
        return list(files.images[items]), None if groups is None else list(groups[items])

    def on_done(number: int, found: dict[str, Any]) -> None:
        nonlocal n_done
        facts[number] = found
        n_done += _n_items(parts, number)
        progress(Progress("predicting", n_done, parts.n_items))

    def remark(line: str) -> None:
        progress(Progress("predicting", n_done, parts.n_items, remark=line))

    job = Job(
        "diascope.serving.bulk:open_predictor",
        {
            "asked": asked._asdict(),
            "folder": str(parts.folder.resolve()),
            "plan": parts.plan,
            "place": str(Path.cwd()),
        },
    )
    if left:
        with connected(address) as cluster:
            lost = cluster.do(job, left, task=task, on_done=on_done, say=remark, uses_gpu=True)
        _check_none_lost(lost, parts, files.images)
    return [found for found in facts.values() if found is not None]


def _n_items(parts: Parts, number: int) -> int:
    items = parts.items(number)
    return items.stop - items.start


def _check_none_lost(lost: Lost, parts: Parts, images: Sequence[ImageFile]) -> None:
    if not lost.numbers:
        return
    first = parts.items(lost.numbers[0])
    raise SourceError(
        f"{len(lost.numbers):,} of {counted(len(parts.numbers), 'part')} could not be predicted: "
        f"each ended its process several times ({lost.reason}).",
        where=f"{parts.path(lost.numbers[0]).name}: the images from {images[first.start][0]} to "
        f"{images[first.stop - 1][0]}",
        fix="All other parts are finished. The same command tries only these again; a worker may "
        "need more memory, or one of these images may crash it.",
    )


def open_predictor(
    *,
    asked: Mapping[str, Any],
    folder: str,
    plan: Mapping[str, Any],
    place: str,
    n_cpus: int,
) -> tuple[Do, list[str]]:
    """Return what predicts parts, in a process of the cluster, and remarks on its machine.

    Parameters
    ----------
    asked : mapping
        `Asked`.
    folder, plan :
        Of `Parts`.
    place : str
        The folder that relative paths start from.
    n_cpus : int
        How many processors the process may use.
    """
    import torch

    torch.set_num_threads(1)
    if Path(place).is_dir():
        os.chdir(place)
    wanted = Asked(**asked)
    wanted = wanted._replace(paths=tuple(wanted.paths))
    parts = Parts(Path(folder), plan["of"], n_items=plan["n_items"], size=plan["size"])
    _check_all_seen(wanted, parts)
    remarks: list[str] = []
    bundle = with_engine(open_bundle(wanted.model), wanted.engine, warn=remarks.append)
    golden = bundle.check_golden()
    if golden is not None and not golden.is_equal:
        remarks.append(f"worker on {platform.node()}: {golden.words()}")
    bundle, point = called_at(bundle, wanted.operating_point, wanted.threshold)
    if bundle.card.digest != plan["of"]["model"]:
        raise RunError("A worker finds another bundle here.", where=wanted.model, fix=SAME_PLACE)
    known = known_images(wanted.model)
    return _Predictor(parts, bundle, point, known, min(n_cpus, MOST_DECODERS)), remarks


class _Predictor:
    """Predicts parts, in a process of the cluster."""

    def __init__(
        self, parts: Parts, bundle: Bundle, point: NamedPoint | None, known: Known, n_decoders: int
    ) -> None:
        self._parts, self._bundle, self._point, self._known = parts, bundle, point, known
        self._n_decoders, self._opened = n_decoders, ExitStack()  # until the process ends
        self._decode = self._opened.enter_context(decoders(n_decoders))

    def __call__(
        self, number: int, task: tuple[list[ImageFile], list[str] | None]
    ) -> dict[str, int]:
        """Predict a part, and write it; return what the driver counts."""
        images, groups = task
        table, n_without_window = predict_files(
            self._bundle,
            images,
            self._decode,
            point=self._point,
            known=self._known,
            groups=groups,
            n_decoders=self._n_decoders,
        )
        write_table(table, self._parts.path(number))
        facts = {"n_errors": table["error"].count(), "n_without_window": n_without_window}
        self._parts.seal(number, ".parquet", facts=facts)
        return facts


def _check_all_seen(asked: Asked, parts: Parts) -> None:
    """Check that this machine sees the bundle, the images and the folder of the parts."""
    named = [asked.model, *asked.paths, str(parts.folder)]
    here = [path.partition("#frame=")[0] for path in named if "://" not in path]
    missing = [path for path in here if not Path(path).exists()]
    if missing:
        raise SourceError(
            f"A worker of the cluster does not see {', '.join(missing[:5])}.", fix=SAME_PLACE
        )
    parts.check_seen()
