"""A process of a cluster, as Ray starts it; see `diascope.system.cluster`.

What it is asked first, and what it answers, are plain values: it may have another version of
diascope than who asks.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from diascope.errors import DiascopeError, RunError
from diascope.system.environment import keep_freed_memory, settle_torch

PACKAGES = ("diascope", "numpy", "pillow", "polars", "torch")  # what a result depends on
Do = Callable[[int, Any], Any]  # what a process does with a part: its number, what belongs to it


class Worker:
    """A process of the cluster, as Ray starts it. Whatever happens is returned as plain values."""

    def __init__(self) -> None:
        self._do: Do | None = None

    def be_ready(
        self, wanted: Mapping[str, str], job: Mapping[str, Any], n_cpus: int
    ) -> tuple[list[str] | None, Mapping[str, str] | None]:
        """Prepare for a job; return remarks, or the problem."""
        return _told(lambda: self._prepare(wanted, job, n_cpus))

    def work(self, number: int, task: Any) -> tuple[Any, Mapping[str, str] | None]:
        """Do a part; return what is to be known of it, or the problem."""
        assert self._do is not None  # noqa: S101 - it is ready before it is given a part
        do = self._do
        return _told(lambda: do(number, task))

    def _prepare(self, wanted: Mapping[str, str], job: Mapping[str, Any], n_cpus: int) -> list[str]:
        check_software(wanted)
        settle_torch()
        keep_freed_memory()
        module, _, name = job["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        self._do, remarks = function(**job["options"], n_cpus=n_cpus)
        return remarks


def check_software(wanted: Mapping[str, str]) -> None:
    """Check that this process has the packages of the one that gives the work; see `PACKAGES`.

    Raises
    ------
    RunError
        A version differs, so that a result might.
    """
    here = software()
    others = [name for name in wanted if here.get(name) != wanted[name]]
    if others:
        has = ", ".join(f"{name} {here.get(name) or 'missing'}" for name in others)
        gives = ", ".join(f"{name} {wanted[name] or 'missing'}" for name in others)
        raise RunError(
            f"A worker of the cluster has {has}, and the command has {gives}.",
            fix="Install the same versions on all machines.",
        )


def software() -> dict[str, str]:
    """Return the version of each of `PACKAGES` here, empty where it is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _told(action: Callable[[], Any]) -> tuple[Any, Mapping[str, str] | None]:
    """Return what an action returns, or the problem that it raises as plain values."""
    try:
        return action(), None
    except DiascopeError as error:
        told = {"kind": type(error).__name__, "problem": error.problem, "host": platform.node()}
        told |= {"where": str(error.where or ""), "fix": error.fix or ""}
        return None, told
