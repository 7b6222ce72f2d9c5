"""What a report is made of: a run, judged on one split, in words that name no patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.bundle.predictions import Predictions
from diascope.data.ledger import LEDGER, Head, Openings, is_continued
from diascope.data.manifest import SPLITS
from diascope.data.prepared import find_audit, told_by_now
from diascope.data.spec import UNGROUPED, DatasetCard
from diascope.reporting.class_titles import (
    titled_card,
    titled_fingerprint,
    titled_metrics,
    titled_table,
)
from diascope.reporting.dossier.questions import ANSWERS, read_answers
from diascope.reporting.figures.style import class_colours
from diascope.reporting.pseudonyms import Names, cleaned_card
from diascope.reporting.report.images import Images
from diascope.system.environment import home

if TYPE_CHECKING:
    from diascope.training.run import Run


@dataclass(frozen=True)
class Facts:
    """A run and its metrics on one split; every text is read here, without true names.

    Of the run's own parts, only those may be used directly that hold no text of the user's. There
    are no images where only words are wanted.
    """

    run: Run
    split: str
    names: Names
    images: Images | None = None
    repeats: tuple[Run, ...] = ()  # trainings of the same recipe with other seeds

    @cached_property
    def name(self) -> str:
        """The name of the run folder."""
        return self.names.cleaned_command(self.run.folder.resolve().name)

    @cached_property
    def dataset(self) -> DatasetCard:
        """What the data set is, as far as people said by now; the classes bear their titles."""
        return titled_card(cleaned_card(self._card, self.names))

    @cached_property
    def _card(self) -> DatasetCard:
        """The card of the data set, where classes bear their keys."""
        return told_by_now(self.run.dataset, self.run.manifest)

    @cached_property
    def manifest(self) -> pl.DataFrame:
        """The images of the run; the labels are titles of classes."""
        return titled_table(self.run.manifest, self._card)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What was measured of the data set."""
        return titled_fingerprint(self.names.cleaned_in(self.run.fingerprint), self._card)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Software, machine and command."""
        found = self.run.provenance
        command = self.names.cleaned_command(str(found.get("command", "")))
        return self.names.cleaned_in(found) | ({"command": command} if command else {})

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The options of the training."""
        return self.names.cleaned_in(asdict(self.run.recipe))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of the plan, and their ``reasons``."""
        return self.names.cleaned_in({**self.run.plan.settings, "reasons": self.run.plan.reasons})

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics on the split."""
        return self._without_names(self.run.metrics(self.split))

    @cached_property
    def external(self) -> dict[str, dict[str, Any]]:
        """The metrics on other data sets, by the names of these."""
        found = self.run.external_metrics().items()
        return {name: self._without_names(metrics) for name, metrics in found}

    def _without_names(self, metrics: dict[str, Any]) -> dict[str, Any]:
        cleaned = {**metrics, "warnings": self.names.cleaned_all(metrics["warnings"])}
        return titled_metrics(cleaned, self._card)

    @cached_property
    def predictions(self) -> Predictions:
        """The predictions on the split, the groups under the names to show."""
        found = self.run.predictions(self.split)
        return replace(
            found, groups=[self.names.shown.get(str(g), "unknown") for g in found.groups]
        )

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The predicted class of every image, intp (N,), by the decision rule of the card."""
        return self.predictions.predicted.astype(np.intp)

    @cached_property
    def networks(self) -> NDArray[np.intp]:
        """The number of the network folder of every image, intp (N,): that of its fold.

        An ensemble has one folder for all members, whichever of them scored an image.
        """
        last = len(self.run.network_folders) - 1
        return np.minimum(self.predictions.folds, last).astype(np.intp)

    @cached_property
    def epochs(self) -> Sequence[Mapping[str, Any]]:
        """The epoch events of the training log."""
        return [event for event in self.run.log if event["event"] == "epoch"]

    @cached_property
    def openings(self) -> Openings | None:
        """The openings of the test images by now; None where no ledger has any."""
        found = self.run.openings_now()
        if found is None:
            return None
        by = tuple(
            replace(
                one,
                run=self.names.cleaned_command(one.run.replace("\\", "/").rsplit("/", 1)[-1]),
                command=self.names.cleaned_command(one.command),
            )
            for one in found.by
        )
        return replace(found, by=by)

    @cached_property
    def ledger(self) -> Head | None:
        """Where the ledger stood when the run was evaluated."""
        return Head.from_dict(self.metrics.get("ledger"))

    @cached_property
    def is_ledger_continued(self) -> bool:
        """Whether the ledger of this machine goes on from there."""
        return self.ledger is None or is_continued(home() / LEDGER, self.ledger)

    @cached_property
    def audit(self) -> dict[str, Any] | None:
        """What `diascope audit` found in these data; None where they were not audited."""
        found = find_audit(self.run.dataset, self.run.manifest)
        return None if found is None else self.names.cleaned_in(found)

    @cached_property
    def answers(self) -> dict[str, str]:
        """What people answered in ``dossier.yaml``, by question."""
        return self.names.cleaned_in(read_answers(self.run.folder / ANSWERS))

    @property
    def classes(self) -> list[str]:
        """The titles of the K classes in label order."""
        return list(self.metrics["classes"])

    @property
    def colours(self) -> dict[str, str]:
        """One colour a class."""
        return class_colours(self.classes)

    @property
    def positive(self) -> str | None:
        """The positive class; None where every class is judged against the rest."""
        return self.metrics["positive"]

    @property
    def has_positive(self) -> bool:
        """Whether one of two classes is the positive one."""
        return self.positive is not None

    @property
    def negative(self) -> str | None:
        """The other one of two classes; None where there is no positive one."""
        if self.positive is None:
            return None
        return next(name for name in self.classes if name != self.positive)

    @property
    def group_kind(self) -> str:
        """What a group is, such as ``"patient"``."""
        return str(self.metrics["group_kind"])

    @property
    def is_grouped(self) -> bool:
        """Whether it is known which images belong together."""
        return self.group_kind != UNGROUPED

    @property
    def patient(self) -> str:
        """Who or what would be diagnosed, in the singular."""
        return patient_of(self.group_kind)


def read_facts(
    run: Run,
    names: Names,
    *,
    split: str | None = None,
    images: Images | None = None,
    repeats: Sequence[Run] = (),
) -> Facts:
    """Return the facts of a run: of test where it was evaluated, unless a split is named.

    Raises
    ------
    RunError
        The run is unfinished or not evaluated.
    """
    run.check_is_trained()
    evaluated = [split for split in ("test", "val") if run.metrics_path(split).is_file()]
    judged = split or (evaluated[0] if evaluated else "test")
    facts = Facts(run, judged, names, images, tuple(repeats))
    _ = facts.metrics
    return facts


def patient_of(group_kind: str) -> str:
    """Return who or what would be diagnosed: the kind of group, if that says it."""
    return "patient" if group_kind in (UNGROUPED, "group") else group_kind


def parts_of(manifest: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the rows of a manifest by split, or by fold where it has folds."""
    if "fold" in manifest.columns:
        folds = manifest["fold"].drop_nulls().unique().sort()
        return {f"fold {n + 1}": manifest.filter(pl.col("fold") == n) for n in folds}
    parts = {name: manifest.filter(pl.col("split") == name) for name in SPLITS}
    return {name: part for name, part in parts.items() if part.height}
