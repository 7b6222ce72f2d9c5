"""One number with what it takes to believe it: its interval, and how much data it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval and what it rests on.

    Parameters
    ----------
    value : float or None
        The metric; None where it is undefined.
    low, high : float or None
        The ends of the interval; both None where an honest interval cannot be given.
    n_images, n_groups : int
        The images and groups that inform the metric: the positive images and the groups that have
        some for a sensitivity, not all that were looked at.
    method : str
        How the interval was made.
    note : str
        Why there is no value or no interval, or why to read it with care; empty otherwise.

    Examples
    --------
    >>> estimate = Estimate(0.981, 0.972, 0.988, 1780, 11, "group bootstrap")
    >>> print(estimate)
    0.981 [0.972, 0.988] (n = 1,780 images, 11 groups)
    >>> estimate.format(group_kind="patient", digits=2)
    '0.98 [0.97, 0.99] (n = 1,780 images, 11 patients)'
    """

    value: float | None
    low: float | None
    high: float | None
    n_images: int
    n_groups: int
    method: str
    note: str = ""

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)

    def format(self, *, group_kind: str = "group", digits: int = 3) -> str:
        """Return the estimate as one line of text.

        Parameters
        ----------
        group_kind : str
            What a group is, in the singular: ``"patient"``, ``"lesion"``, ``"slide"``.
        digits : int
            Decimals of the value and of the ends of the interval.
        """
        basis = f"(n = {counted(self.n_images, 'image')}, {counted(self.n_groups, group_kind)})"
        if self.value is None:
            return f"undefined {basis}"
        if self.low is None or self.high is None:
            return f"{self.value:.{digits}f} [no interval] {basis}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}] {basis}"

    def __str__(self) -> str:
        return self.format()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural.

    Examples
    --------
    >>> counted(1, "patient"), counted(1780, "image"), counted(2, "biopsy")
    ('1 patient', '1,780 images', '2 biopsies')
    """
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of an English noun.

    Examples
    --------
    >>> plural("lesion"), plural("study")
    ('lesions', 'studies')
    """
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
