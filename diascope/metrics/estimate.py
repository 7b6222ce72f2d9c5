"""One number with what it takes to believe it: its interval, and how much data it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from diascope.system.words import counted


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval and what it rests on.

    Examples
    --------
    >>> estimate = Estimate(0.981, 0.972, 0.988, 1780, 11, "group bootstrap")
    >>> print(estimate)
    0.981 [0.972, 0.988] (n = 1,780 images, 11 groups)
    >>> estimate.format(group_kind="patient", digits=2)
    '0.98 [0.97, 0.99] (n = 1,780 images, 11 patients)'
    """

    value: float | None  # None where it is undefined
    low: float | None  # of the interval; None, as is `high`, where an honest one cannot be given
    high: float | None
    # The images and groups that inform the metric: the positive images and the groups that have
    # some for a sensitivity, not all that were looked at.
    n_images: int
    n_groups: int
    method: str  # how the interval was made
    note: str = ""  # why there is no value or no interval, or why to read it with care
    # Of a t interval: how many groups of equal size are worth as much, less 1 are its degrees of
    # freedom.
    n_effective: float | None = None

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)

    def format(self, *, group_kind: str = "group", digits: int = 3) -> str:
        """Return the estimate as one line of text.

        Parameters
        ----------
        group_kind : str
            What a group is, in the singular: ``"patient"``, ``"lesion"``, ``"slide"``.
        """
        basis = f"(n = {counted(self.n_images, 'image')}, {counted(self.n_groups, group_kind)})"
        if self.value is None:
            return f"not estimable {basis}"
        if self.low is None or self.high is None:
            return f"{self.value:.{digits}f} [no interval] {basis}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}] {basis}"

    def __str__(self) -> str:
        return self.format()
