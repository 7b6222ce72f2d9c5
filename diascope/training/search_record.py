"""What a search leaves in the recipe that it chose: how many trials, on which images, by what.

A choice among many trials makes the validation figures of the chosen one too good. So the record
travels with the recipe into the run, and from there into the report.
"""

from __future__ import annotations

from dataclasses import dataclass

from diascope.system.words import counted

TOO_GOOD = (
    "Validation figures are too good: a search chose the settings on validation images. Judge by "
    "the test images, which the search did not read."
)
MIXED = (
    "The search that chose the settings was on another split of these data: images that it looked "
    "at may be among the test images of this run, and all figures too good."
)
METRICS = {"auroc": "AUROC", "balanced_accuracy": "balanced accuracy"}


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """How a recipe was chosen."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - not a field

    data: str  # the name of the data set
    metric: str  # a key of ``METRICS``, on validation images
    value: float  # of the chosen trial
    default_value: float | None  # of the default settings; None where that trial did not finish
    trials: int  # how many were begun, those that were killed not counted
    finished: int
    stopped_early: int  # worse than the others, or out of time
    broken: int  # diverged, out of memory
    validation: str  # which images these are, in words
    images: int
    groups: int
    group_kind: str
    validation_sha256: str  # of the digests of the validation images
    test_sha256: str  # of those of the test images, none of which was read
    seed: int
    diascope: str

    @property
    def sentence(self) -> str:
        """How the settings were chosen."""
        others = [f"{self.stopped_early} were stopped early"] * (self.stopped_early > 0)
        others += [f"{self.broken} broke"] * (self.broken > 0)
        rest = f" ({', '.join([f'{self.finished} finished', *others])})" if others else ""
        usual = "the default settings did not finish"
        if self.default_value is not None:
            usual = f"the default settings reached {self.default_value:.4f}"
        return (
            f"The settings are the best of {counted(self.trials, 'trial')}{rest} of a search by "
            f"{METRICS[self.metric]} on {counted(self.images, 'image')} of "
            f"{counted(self.groups, self.group_kind)}: {self.validation}. "
            f"They reached {self.value:.4f} there; {usual}."
        )

    def cautions(self, *, data: str, test_sha256: str, split: str) -> list[str]:
        """Say which figures are too good, of a run on a data set with these test images.

        ``split`` is what is judged: ``"val"``, ``"test"`` or a data set from elsewhere.
        """
        if data != self.data or split not in ("val", "test"):
            return []
        found = [TOO_GOOD] if split == "val" else []
        return found + ([MIXED] if test_sha256 != self.test_sha256 else [])
