"""Tracking: settings, metrics and the bundle of a run, sent to MLflow or TensorBoard if asked for.

The file ``tracking.json`` in the run says where, and what was sent so far. So an interrupted
training and a later `evaluate` go on in the same place, and what could not be sent is sent the next
time. A tracking server that fails never ends a training. No path, no file name, no name of a group
and no command line is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from diascope.errors import DiascopeError, RunError, SettingsError
from diascope.models.spec import PRETRAINED, RANDOM
from diascope.system.environment import tracking_uri
from diascope.system.extras import check_extra
from diascope.system.files import file_digest, write_json
from diascope.system.places import is_address, shown
from diascope.system.progress import Progress, ShowProgress
from diascope.system.reading import read_ordinary
from diascope.system.words import counted
from diascope.training.run import Run

FILE = "tracking.json"
MOST_BYTES = 1 << 24  # of it
MLFLOW, TENSORBOARD = "mlflow", "tensorboard"
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
SENT_OF_PROVENANCE = ("diascope", "torch", "timm", "python", "commit", "cpu", "gpu")
OF_EPOCH = (
    *("train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_auroc"),
    *("learning_rate", "images_per_second", "seconds"),
)


class Place(Protocol):
    """Where a run is tracked."""

    def begin(self, name: str, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
        """Begin a tracked run; return its id."""
        ...

    def send_metrics(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        """Send metrics of a step."""
        ...

    def send_text(self, run_id: str, name: str, text: str) -> None:
        """Send a text file."""
        ...

    def send_bundle(self, run_id: str, folder: Path) -> None:
        """Send a bundle."""
        ...

    def finish(self, run_id: str) -> None:
        """Say that the training is finished."""
        ...


@dataclass
class Sent:
    """What ``tracking.json`` holds."""

    kind: str
    address: str
    run_id: str = ""
    epochs: dict[str, int] = field(default_factory=dict)  # by "<fold>-<member>": how many are sent
    metrics: dict[str, str] = field(default_factory=dict)  # by split: the digest of the file
    bundle: str = ""  # the digests of its card and its model card
    plan: bool = False
    problem: str = ""  # why the last attempt failed


def parse_track(text: str) -> tuple[str, str]:
    """Return kind and address of ``mlflow[:URI]`` or ``tensorboard[:FOLDER]``.

    Raises
    ------
    SettingsError
        It is something else, its packages are not installed, no server is named, or a password
        stands in the address.
    """
    kind, _, address = text.partition(":")
    if kind not in (MLFLOW, TENSORBOARD):
        raise SettingsError(
            f"{text!r} is no way to track a run.",
            fix="Pass --track mlflow, mlflow:URI, tensorboard or tensorboard:FOLDER.",
        )
    check_extra(kind, what=f"--track {kind}")
    if kind == TENSORBOARD:
        return kind, str(Path(address).resolve()) if address else ""
    return kind, _checked_uri(address or tracking_uri() or "")


def _checked_uri(address: str) -> str:
    if not address:
        raise SettingsError(
            "No tracking server is named.",
            fix="Set MLFLOW_TRACKING_URI, or pass --track mlflow:URI, such as "
            "mlflow:http://127.0.0.1:5000 or mlflow:sqlite:///mlflow.db.",
        )
    parts = urlsplit(address)
    if parts.password is not None:
        raise SettingsError(
            "A password stands in the address of the tracking server, and would be stored.",
            fix="Leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        )
    if parts.scheme.partition("+")[0] not in STORES:
        raise SettingsError(
            "MLflow keeps no runs there: folders are no longer supported.",
            where=address,
            fix="Pass the address of a server, or a file such as mlflow:sqlite:///mlflow.db.",
        )
    if address.startswith("sqlite:///"):
        return f"sqlite:///{Path(address.removeprefix('sqlite:///')).resolve()}"
    return address


def begin_tracking(run: Run, track: str) -> None:
    """Store where a run is to be tracked; it is sent by `send`.

    A run that is continued stays where it is tracked.

    Raises
    ------
    SettingsError
        See `parse_track`; or it is tracked elsewhere.
    """
    kind, address = parse_track(track)
    found = _read(run)
    if found is None:
        _save(run, Sent(kind, address))
    elif (found.kind, found.address) != (kind, address):
        raise SettingsError(
            f"This run is tracked elsewhere: {found.kind}:{found.address}.",
            where=run.folder / FILE,
            fix="Leave --track out; or remove the file to begin anew.",
        )


def send(run: Run, progress: ShowProgress, *, tries_again: bool = False) -> str:
    """Send what was not sent yet; do nothing for a run that is not tracked.

    After a failure nothing more is tried until ``tries_again``: a training is not to wait for a
    server at every epoch.

    Returns
    -------
    str
        Why something was not sent; empty where all was, or where nothing is tracked.
    """
    sent = _read(run)
    if sent is None or (sent.problem and not tries_again):
        return "" if sent is None else sent.problem
    try:
        _send_all(run, sent)
        sent.problem = ""
    except DiascopeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a server does, the training goes on
        at = f" at {shown(sent.address)}" if is_address(sent.address) else ""
        was_known, sent.problem = sent.problem, f"{sent.kind}{at} failed ({type(error).__name__})"
        if not was_known:
            remark = f"note: tracking: {sent.problem}; the work goes on without it"
            progress(Progress("tracking", 0, None, remark=remark))
    _save(run, sent)
    return sent.problem


def not_tracked(run: Run) -> str:
    """Say what was not sent of a run, and how it can be; empty where nothing is missing."""
    sent = _read(run)
    if sent is None or not sent.problem:
        return ""
    missing = [] if sent.plan else ["the settings"]
    n_epochs = len(_epochs(run)) - sum(sent.epochs.values())
    missing += [counted(n_epochs, "epoch")] if n_epochs else []
    missing += [] if sent.bundle or not run.is_trained else ["the bundle"]
    missing += [f"the metrics on {split}" for split in _judged(run) if split not in sent.metrics]
    return (
        f"not tracked: {', '.join(missing) or 'the last changes'}: {sent.problem}. "
        f"`diascope evaluate {run.folder}` sends it when {sent.kind} answers."
    )


def _send_all(run: Run, sent: Sent) -> None:
    place = _place(sent, run)
    if not sent.run_id:
        sent.run_id = place.begin(run.recipe.name, facts_of(run), settings_of(run))
        _save(run, sent)
    if not sent.plan:
        place.send_text(sent.run_id, "plan.json", json.dumps(plan_of(run), indent=2))
        sent.plan = True
    _send_epochs(run, sent, place)
    if not run.is_trained:
        return
    if not run.is_cross_validation:
        _send_bundle(run.network_folders[0], sent, place)
    place.finish(sent.run_id)
    for split in _judged(run):
        digest = file_digest(run.metrics_path(split))
        if sent.metrics.get(split) != digest:
            place.send_metrics(sent.run_id, metrics_of(split, run.metrics(split)), 0)
            sent.metrics[split] = digest


def _send_epochs(run: Run, sent: Sent, place: Place) -> None:
    has_several = max(1, run.plan.folds) * max(1, run.plan.members) > 1
    for event in _epochs(run):
        number = f"{event['fold']}-{event.get('member', 0)}"
        if event["epoch"] <= sent.epochs.get(number, 0):
            continue
        prefix = f"network_{number}/" if has_several else ""
        values = {f"{prefix}{k}": event[k] for k in OF_EPOCH if event.get(k) is not None}
        place.send_metrics(sent.run_id, values, event["epoch"])
        sent.epochs[number] = event["epoch"]
        _save(run, sent)


def _send_bundle(folder: Path, sent: Sent, place: Place) -> None:
    card, told = folder / "card.json", folder / "README.md"
    digest = file_digest(card) + (file_digest(told) if told.is_file() else "")
    if sent.bundle != digest:
        place.send_bundle(sent.run_id, folder)
        sent.bundle = digest


def settings_of(run: Run) -> dict[str, Any]:
    """Return the settings of the plan, without the path of a file of weights."""
    settings = run.plan.settings
    if settings["weights"] not in (RANDOM, PRETRAINED):
        settings["weights"] = "a file"
    return settings


def plan_of(run: Run) -> dict[str, Any]:
    """Return every setting with its value and reason, and how a search chose it, if one did."""
    reasons = run.plan.reasons
    plan = {
        name: {"value": value, "reason": reasons[name]} for name, value in settings_of(run).items()
    }
    return plan | ({"search": asdict(run.recipe.search)} if run.recipe.search else {})


def facts_of(run: Run) -> dict[str, Any]:
    """Return software and machine, and what the data are, in numbers and digests."""
    provenance, fingerprint = run.provenance, run.fingerprint
    told = {name: provenance[name] for name in SENT_OF_PROVENANCE if provenance.get(name)}
    return {
        **told,
        "data_sha256": fingerprint.get("content_sha256", ""),
        "n_images": run.manifest.height,
        "n_groups": run.manifest["group"].n_unique(),
    }


def metrics_of(split: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return estimates by ``<split>/<metric>``, each bound of an interval under a name of its own.

    Examples
    --------
    >>> estimates = {"auroc": {"value": 0.9, "low": 0.8, "high": None}}
    >>> metrics_of("test", {"n_images": 9, "n_groups": 3, "estimates": estimates})
    {'test/n_images': 9.0, 'test/n_groups': 3.0, 'test/auroc': 0.9, 'test/auroc_low': 0.8}
    """
    found = {f"{split}/{name}": float(metrics[name]) for name in ("n_images", "n_groups")}
    for name, estimate in metrics["estimates"].items():
        keys = {"value": "", "low": "_low", "high": "_high"}
        values = {f"{split}/{name}{end}": estimate[key] for key, end in keys.items()}
        found |= {name: float(value) for name, value in values.items() if value is not None}
    return found


def _epochs(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.log if event["event"] == "epoch"]


def _judged(run: Run) -> list[str]:
    return sorted(path.stem for path in (run.folder / "metrics").glob("*.json"))


def _place(sent: Sent, run: Run) -> Place:
    if sent.kind == MLFLOW:
        from diascope.training.tracking_mlflow import MlflowPlace

        return MlflowPlace(sent.address)
    from diascope.training.tracking_tensorboard import TensorBoardPlace

    own = Path(sent.address) / run.folder.resolve().name if sent.address else None
    return TensorBoardPlace(own or run.folder / TENSORBOARD)


def _read(run: Run) -> Sent | None:
    path = run.folder / FILE
    if not path.is_file():
        return None
    try:
        return Sent(**json.loads(read_ordinary(path, most_bytes=MOST_BYTES)))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            "The file that says where this run is tracked cannot be read.",
            where=path,
            fix="Remove it; the run is then not tracked any more.",
        ) from error


def _save(run: Run, sent: Sent) -> None:
    write_json(run.folder / FILE, asdict(sent))
