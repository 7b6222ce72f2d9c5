"""The classes of a data set, and which of them is the positive one."""

from __future__ import annotations

from dataclasses import dataclass

from diascope.errors import DataError


@dataclass(frozen=True)
class Task:
    """A single-label classification task.

    Raises
    ------
    DataError
        Fewer than two classes, a repeated name, or a positive class that is not among them.

    Examples
    --------
    >>> task = Task(classes=("uninfected", "parasitized"), positive="parasitized")
    >>> task.n_classes, task.positive_index
    (2, 1)
    """

    # The K class names in the order of the label indices, logits and probabilities.
    classes: tuple[str, ...]
    # With two classes, the one that sensitivity, precision and AUROC refer to.
    positive: str | None = None

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(
                f"A classifier needs at least two classes, and there is {len(self.classes)}.",
                where=", ".join(self.classes) or "no class",
                fix="Add images of another class.",
            )
        if len(set(self.classes)) != len(self.classes):
            raise DataError("A class name is used twice.", where=", ".join(self.classes))
        if self.positive is not None and self.positive not in self.classes:
            raise DataError(
                f"The positive class {self.positive!r} is not one of the classes.",
                where=", ".join(self.classes),
            )
        if self.positive is not None and self.n_classes > 2:
            raise DataError(
                f"A positive class is only defined for two classes; there are {self.n_classes}.",
                where=", ".join(map(repr, self.classes[:20])),
                fix="Leave the positive class out, or correct the classes.",
            )

    @property
    def n_classes(self) -> int:
        """The number of classes, K."""
        return len(self.classes)

    @property
    def positive_index(self) -> int | None:
        """The label index of the positive class, or None."""
        return None if self.positive is None else self.classes.index(self.positive)
