"""Inspect the parts of a data set (`diascope.data.inspect_part`) on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from diascope.data.inspect_part import MapParts, Part, PartTask, inspect_part
from diascope.data.sources.folder import FileTree, open_files
from diascope.errors import SourceError
from diascope.system.cluster import Job, connected
from diascope.system.cluster_worker import Do
from diascope.system.places import Place
from diascope.system.progress import Progress, ShowProgress
from diascope.system.words import counted

SAME_PLACE = "All machines of the cluster must see the same files at the same paths."


@contextmanager
def inspecting_on(address: str | None, progress: ShowProgress) -> Iterator[MapParts | None]:
    """Yield what has parts inspected by a cluster; None without an address: here, that is.

    Parameters
    ----------
    address : str, optional
        See `diascope.system.cluster.connected`.

    Raises
    ------
    SettingsError, SourceError
        The cluster cannot be used. What is yielded raises a ``SourceError`` where a process does
        not see the files, or where a part ended its process each time.
    """
    if address is None:
        yield None
        return
    with connected(address) as cluster:

        def map_parts(tasks: Iterable[PartTask]) -> list[Part]:
            given = list(tasks)
            found: dict[int, Part] = {}
            n_images, n_done = sum(len(task.paths) for task in given), 0

            def on_done(number: int, part: Part) -> None:
                nonlocal n_done
                found[number] = part
                n_done += len(given[number].paths)
                progress(Progress("inspecting on the cluster", n_done, n_images))

            def remark(line: str) -> None:
                now = Progress("inspecting on the cluster", n_done, n_images, remark=line)
                progress(now)

            job = Job(f"{__name__}:open_inspector", {"place": str(Path.cwd())})
            lost = cluster.do(
                job, range(len(given)), task=given.__getitem__, on_done=on_done, say=remark
            )
            if lost.numbers:
                paths = given[lost.numbers[0]].paths
                raise SourceError(
                    f"{counted(len(lost.numbers), 'part')} could not be inspected: each ended its "
                    f"process several times ({lost.reason}).",
                    where=f"the images from {paths[0]} to {paths[-1]}",
                    fix="A worker may need more memory, or one of these images may crash it.",
                )
            return [found[number] for number in range(len(given))]

        yield map_parts


def open_inspector(*, place: str, n_cpus: int) -> tuple[Do, list[str]]:
    """Return what inspects parts, in a process of the cluster.

    Parameters
    ----------
    place : str
        The folder that relative paths start from.
    n_cpus : int
        How many processors the process may use.
    """
    if Path(place).is_dir():
        os.chdir(place)

    def do(number: int, task: PartTask) -> Part:  # noqa: ARG001 - as all jobs are called
        places = [task.root, *([] if task.features is None else [task.features.parent])]
        missing = [str(path) for path in places if isinstance(path, Path) and not path.exists()]
        if missing:
            raise SourceError(
                f"A worker of the cluster does not see {', '.join(missing)}.", fix=SAME_PLACE
            )
        return inspect_part(_opened(task.root), task, n_threads=n_cpus)

    return do, []


@cache
def _opened(root: Place) -> FileTree:
    return open_files(root)
