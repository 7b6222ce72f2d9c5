"""A cluster by Ray: processes on this machine or on many, which are given parts of a job.

Ray starts the processes and carries what is given to them; nothing else of it is used. A part is
given again when its process is lost, and results are files that the processes write
(`diascope.system.parts`), so nothing depends on Ray's memory of what was done.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from diascope import errors
from diascope.errors import DiascopeError, RunError, SettingsError, SourceError
from diascope.system.cluster_worker import Worker, software
from diascope.system.environment import settle_ray
from diascope.system.extras import check_extra
from diascope.system.words import first_of

HERE, ANY = "local", "auto"  # addresses: start Ray on this machine; join what is on it
QUEUED = 2  # parts that a process has at once: the one that it works on, and the next
TRIES = 3  # of a part that is alone in its process, which is lost each time
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0  # a busy machine loads Ray in half a minute
WAITING_SECONDS = 20.0  # for a free processor, before that is said
STORE_BYTES = 200 << 20  # shared memory of a cluster on this machine
LONGEST_TEMPORARY = 24  # letters; Ray's sockets are 79 deeper, and may have 103 on macOS
Task = Callable[[int], Any]
_ADDRESS = re.compile(rf"{ANY}|{HERE}|ray://\S+:\d+|[^\s:/]+:\d+|\[[\da-fA-F:]+\]:\d+")


def is_address(word: str) -> bool:
    """Say whether a word is the address of a cluster, and no path.

    Examples
    --------
    >>> [is_address(word) for word in ("auto", "10.0.0.1:6379", "ray://head:10001", "images/")]
    [True, True, True, False]
    """
    return _ADDRESS.fullmatch(word) is not None


class Job(NamedTuple):
    """What a process is to be ready for: a function by its name, and what it is called with.

    The function returns what does the parts, see `Do`. ``options`` are plain values: a process of
    another version of diascope has to be able to read them.
    """

    function: str  # ``"package.module:name"``
    options: Mapping[str, Any]


class Lost(NamedTuple):
    """Parts that ended their process each time."""

    numbers: list[int]
    reason: str  # of the last


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Start Ray on this machine, or join a cluster, until the block ends.

    Parameters
    ----------
    address : str
        ``"local"``; ``"auto"`` for the cluster that this machine is part of; ``host:port``, or
        ``ray://host:port`` from a machine that is no part of it.

    Raises
    ------
    SettingsError
        Ray is not installed, the address is none, or the cluster has no processor.
    SourceError
        Nothing answers at the address.
    """
    check_extra("ray", what="--ray")
    if not is_address(address):
        raise SettingsError(
            f"{address!r} is not the address of a Ray cluster.",
            where="--ray",
            fix="Pass host:port or auto; or nothing, which starts Ray on this machine.",
        )
    settle_ray(seconds=CONNECT_SECONDS, token=_token() if address == HERE else None)
    import ray

    folder: Path | None = None  # only this user may enter it; Ray opens its own to everybody
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == HERE:
        folder = _temporary_folder()
        options |= {
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_temp_dir": str(folder / "r"),
        }
    else:
        _check_answers(address)
    with _ended_in_order():
        try:
            try:
                with chdir(sys.prefix):  # workers would import what lies where the command is run
                    ray.init(address=address, **options)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                raise _unreachable(address, str(error).splitlines()[0]) from error
            with _ended_in_order():  # Ray has put an action of its own in the place of the first
                yield Cluster(is_here=address == HERE)
        finally:
            with suppress(RuntimeError):
                ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM, as of a queue of jobs, raise a `RunError` in the block: Ray would abort."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise RunError(
            "The command was stopped from outside (SIGTERM), as by a queue of jobs.",
            fix="Run the same command again: what is finished is kept.",
        )

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@cache
def _token() -> str | None:
    """Return the token of the clusters that this process starts, the same for all of them.

    None where somebody loaded Ray before: it reads when it is loaded whether there is one.
    """
    return None if "ray" in sys.modules else secrets.token_hex(32)


def _temporary_folder() -> Path:
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= LONGEST_TEMPORARY else "/tmp"  # noqa: S108 - a folder of its own
    return Path(tempfile.mkdtemp(prefix="ray-", dir=place))


def _check_answers(address: str) -> None:
    """Check that Ray answers at an address: joining itself would wait without end."""
    if address == ANY:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from error
    if address.startswith("ray://"):
        return
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check"]
    command += ["--address", address]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=ANSWER_SECONDS)  # noqa: S603
    except subprocess.SubprocessError as error:
        raise _unreachable(address, "what is there does not answer, or asks for a token") from error


def _unreachable(address: str, why: str) -> SourceError:
    return SourceError(
        f"The Ray cluster cannot be reached: {why.rstrip('.')}.",
        where=f"--ray {address}",
        fix="Check the address (`ray start --head` prints it), and that Ray and Python have the "
        "same versions there; a cluster that asks for a token needs RAY_AUTH_MODE=token here too. "
        "Without an address, --ray starts Ray on this machine.",
    )


class Cluster:
    """A cluster that this process has joined."""

    def __init__(self, *, is_here: bool) -> None:
        import ray

        self.is_here = is_here
        found = ray.cluster_resources()
        self.n_cpus, self.n_gpus = int(found.get("CPU", 0)), int(found.get("GPU", 0))
        if not self.n_cpus:
            raise SettingsError("The Ray cluster has no processors.", fix="Start workers in it.")

    def do(
        self,
        job: Job,
        numbers: Iterable[int],
        *,
        task: Task,
        on_done: Callable[[int, Any], None],
        say: Callable[[str], None],
        uses_gpu: bool = False,
    ) -> Lost:
        """Have parts of a job done, each by one process at a time.

        No more than `QUEUED` parts a process are on the way, so memory does not grow with their
        number. A process that is lost is replaced, and its parts are given again, each alone. A
        process a core, with one thread; a process a GPU where there are some and the job uses them.

        Parameters
        ----------
        numbers : iterable of int
            The parts.
        task : function
            Returns what belongs to a part, when it is its turn.
        on_done : function
            Called with each part that is done, in any order, and what its process returned.
        say : function
            Called with what each process remarks when it is ready, and where none is free.

        Returns
        -------
        Lost
            The parts that ended `TRIES` processes in which they were alone. All others are done.

        Raises
        ------
        DiascopeError
            What a process raised, once; or it has other software.
        """
        waiting = deque(numbers)
        n_workers, needs = self._layout(uses_gpu=uses_gpu)
        crew = _Crew(job, needs, waiting, task=task, on_done=on_done, say=say, cluster=self)
        try:
            return crew.work(min(n_workers, len(waiting)))
        finally:
            crew.end()

    def _layout(self, *, uses_gpu: bool) -> tuple[int, dict[str, int]]:
        """Return how many processes there are, and what each needs."""
        if not (uses_gpu and self.n_gpus):
            return self.n_cpus, {"num_cpus": 1}
        return self.n_gpus, {"num_cpus": max(1, self.n_cpus // self.n_gpus), "num_gpus": 1}


@dataclass(eq=False)
class _Member:
    """A process, and what it was asked for, oldest first: to be ready (None), or a part."""

    actor: Any
    asked: deque[tuple[Any, int | None]] = field(default_factory=deque)
    is_ready: bool = False


class _Crew:
    """The processes that do a job."""

    def __init__(
        self,
        job: Job,
        needs: Mapping[str, int],
        waiting: deque[int],
        *,
        task: Task,
        on_done: Callable[[int, Any], None],
        say: Callable[[str], None],
        cluster: Cluster,
    ) -> None:
        import ray

        self._ray, self._job, self._waiting = ray, job, waiting
        self._task, self._on_done, self._say, self._cluster = task, on_done, say, cluster
        self._needs, self._actor = needs, ray.remote(Worker).options(**needs)
        self._members: list[_Member] = []
        self._suspects: set[int] = set()  # were in a process that was lost
        self._losses: Counter[int | None] = Counter()  # of processes, by what was alone in them
        self._lost = Lost([], "")
        self._said: set[str] = set()

    def work(self, n_members: int) -> Lost:
        for _ in range(n_members):
            self._add()
        began, is_said = time.monotonic(), False
        while self._waiting or any(member.asked for member in self._members):
            self._give()
            first = {member.asked[0][0]: member for member in self._members if member.asked}
            done, _ = self._ray.wait(list(first), num_returns=1, timeout=1.0)
            for answer in done:
                self._settle(first[answer], answer)
            is_idle = not any(member.is_ready for member in self._members)
            if is_idle and not is_said and time.monotonic() - began > WAITING_SECONDS:
                self._say("waiting for the cluster: no processor is free, or workers start slowly")
                is_said = True
        return self._lost

    def end(self) -> None:
        """End all processes, whatever they are at."""
        for member in self._members:
            with suppress(Exception):
                self._ray.kill(member.actor)

    def _add(self) -> None:
        member = _Member(self._actor.remote())
        n_cpus = self._needs["num_cpus"]
        ready = member.actor.be_ready.remote(software(), self._job._asdict(), n_cpus)
        member.asked.append((ready, None))
        self._members.append(member)

    def _give(self) -> None:
        """Give parts to the processes that have the fewest."""
        for n_asked in range(QUEUED):
            for member in self._members:
                if len(member.asked) == n_asked and self._may_be_given(member):
                    number = self._waiting.popleft()
                    asked = member.actor.work.remote(number, self._task(number))
                    member.asked.append((asked, number))

    def _may_be_given(self, member: _Member) -> bool:
        """Say whether a process may be given the next part: a suspect is alone in its process."""
        if not (member.is_ready and self._waiting):
            return False
        there = {number for _, number in member.asked}
        return not (there and self._suspects & {self._waiting[0], *there})

    def _settle(self, member: _Member, answer: Any) -> None:
        ray = self._ray
        try:
            value, problem = ray.get(answer)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            self._replace(member, error)
            return
        _, number = member.asked.popleft()
        if problem is not None:
            raise _problem(problem, is_here=self._cluster.is_here)
        if number is not None:
            self._on_done(number, value)
            return
        member.is_ready = True
        self._losses[None] = 0
        for line in value:
            if line not in self._said:
                self._said.add(line)
                self._say(line)

    def _replace(self, member: _Member, error: Exception) -> None:
        """Go on without a process that is lost; any part in it may have been the reason."""
        self._members.remove(member)
        with suppress(Exception):
            self._ray.kill(member.actor)
        numbers = [number for _, number in member.asked]
        self._losses.update(numbers if len(numbers) == 1 else [])
        reason = _reason(error)
        if self._losses[None] == TRIES:
            raise RunError(
                f"A worker of the cluster does not start: {reason}.",
                where=f"{TRIES} times in turn",
                fix="Install the same versions of diascope on all machines; Ray's logs say more.",
            )
        parts = [number for number in numbers if number is not None]
        self._suspects.update(parts)
        self._waiting.extendleft(n for n in reversed(parts) if self._losses[n] < TRIES)
        if given_up := [n for n in parts if self._losses[n] == TRIES]:
            self._lost = Lost([*self._lost.numbers, *given_up], reason)
        if len(self._members) < len(self._waiting) + 1:
            self._add()


def _problem(told: Mapping[str, str], *, is_here: bool) -> DiascopeError:
    kind = getattr(errors, told["kind"], RunError)
    kind = RunError if kind in (errors.UnknownNameError, errors.GroupsUnknownError) else kind
    places = [told["where"], "" if is_here else f"on {told['host']}"]
    where = ", ".join(filter(None, places))
    return kind(told["problem"], where=where or None, fix=told["fix"] or None)


def _reason(error: Exception) -> str:
    """Return the line of an error of Ray that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("The actor died", "ModuleNotFound"))]
    return first_of([*said[-1:], *lines[:1]], 1).partition(" and ")[0].rstrip(".")
