"""Give patients other names, and keep the true ones out of a text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Names:
    """What groups are called in a report, and which strings must not occur in it.

    Parameters
    ----------
    shown : mapping of str to str
        The name to show for each group.
    hidden : tuple of str
        Every string that gives a group or an image away, longest first; empty shows all.
    """

    shown: Mapping[str, str]
    hidden: tuple[str, ...]

    @property
    def are_true(self) -> bool:
        """Whether the true names are shown."""
        return not self.hidden

    def cleaned(self, text: str) -> str:
        """Replace whatever gives a group or an image away.

        Examples
        --------
        >>> names = Names({"C51": "patient 2"}, ("C51A_cell_7.png", "C51A_cell_7", "C51"))
        >>> names.cleaned("predict cells/C51A_cell_7.png --of C51")
        'predict cells/(withheld) --of patient 2'
        """
        for word in self.hidden:
            if word in text:
                text = text.replace(word, self.shown.get(word, "(withheld)"))
        return text

    def cleaned_all(self, texts: Sequence[str]) -> list[str]:
        """Clean many texts at once: there may be hundreds of thousands of words to look for."""
        return self.cleaned("\0".join(texts)).split("\0") if texts else []


def true_names(manifest: pl.DataFrame) -> Names:
    """Return names that hide nothing."""
    return Names({group: group for group in manifest["group"].unique()}, ())


def pseudonyms(manifest: pl.DataFrame, group_kind: str) -> Names:
    """Name the groups "patient 07" and so on, in an order that says nothing of the old one.

    The order is a permutation seeded with the content of the images: the same for every report of
    the same data, and unknown to who has only a list of patients.

    Parameters
    ----------
    manifest : DataFrame
        With ``image_id, path, group, sha256``.
    group_kind : str
        What a group is, such as ``"patient"``.
    """
    groups = sorted(manifest["group"].unique())
    digest = hashlib.sha256("\n".join(sorted(manifest["sha256"])).encode()).digest()
    order = np.random.default_rng(list(digest)).permutation(len(groups))
    width = len(str(len(groups)))
    shown = {
        group: f"{group_kind} {number + 1:0{width}d}"
        for group, number in zip(groups, order.tolist(), strict=True)
    }
    paths = manifest["path"].to_list()
    file_names = [path.rsplit("/", 1)[-1] for path in paths]
    members = [member for group in groups for member in group.split("+")]  # of joined groups
    words = [*groups, *members, *manifest["image_id"], *paths, *file_names]
    return Names(shown, _telling(words))


def _telling(words: Iterable[str]) -> tuple[str, ...]:
    """Keep the words that can be told from ordinary text: not "7" or "A", but "C7" and "00417"."""

    def is_telling(word: str) -> bool:
        return len(word) >= (5 if word.isdigit() else 2 if any(map(str.isdigit, word)) else 4)

    return tuple(sorted({word for word in words if is_telling(word)}, key=lambda w: (-len(w), w)))
