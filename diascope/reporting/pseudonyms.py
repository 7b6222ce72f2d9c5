"""Give patients other names, and keep the true ones out of a text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from diascope.bundle.predictions import Predictions
from diascope.data.identities import identity_columns
from diascope.data.spec import DatasetCard
from diascope.data.story import Statement

DIGEST = r"(?<![^\W_])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32}|[0-9a-f]{16})(?![^\W_])"
OPTION = r"--(?:folds|members|seed)[ =]\d+(?!\S)|--set[ =]\w+=\S+"
SHORTEST_DIGEST = 16
LONG = 8  # characters; a word with a digit and as long as this is not found by chance


@dataclass(frozen=True)
class Names:
    """What groups are called in a report, and which strings must not occur in it."""

    shown: Mapping[str, str]  # The name to show for each group
    # Every string that gives a group or an image away, longest first; empty shows all
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
        found = [word for word in self.hidden if word in text]
        return re.sub(_one_of(found, found), self._replaced, text) if found else text

    def cleaned_command(self, text: str) -> str:
        """Clean a command or the name of a run: of groups of any name, even "7".

        The numbers of its options stay.

        Examples
        --------
        >>> names = Names({"7": "patient 2"}, ("7.png",))
        >>> names.cleaned_command("train --out runs/patient-7 --folds 7")
        'train --out runs/patient-patient 2 --folds 7'
        """
        if self.are_true:
            return text
        telling = {word for word in self.hidden if word in text}
        members = {member for group in self.shown for member in (group, *group.split("+"))}
        found = telling | {word for word in members if word and word in text}
        words = sorted(found, key=lambda word: (-len(word), word))
        return re.sub(f"{OPTION}|{_one_of(words, telling)}", self._replaced, text)

    def _replaced(self, match: re.Match[str]) -> str:
        word = match[0]
        if re.fullmatch(OPTION, word):
            return self.cleaned(word)
        if word not in self.hidden and re.fullmatch(DIGEST, word):
            return word
        return self.shown.get(word, "(withheld)")

    def cleaned_all(self, texts: Sequence[str]) -> list[str]:
        """Clean many texts at once: there may be hundreds of thousands of words to look for."""
        return self.cleaned("\0".join(texts)).split("\0") if texts else []

    def cleaned_in(self, content: Any) -> Any:
        """Clean every text in nested mappings and lists; keys stay."""
        texts = list(dict.fromkeys(_texts_in(content)))
        return _replaced_in(content, dict(zip(texts, self.cleaned_all(texts), strict=True)))


def _texts_in(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _texts_in(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _texts_in(value)


def _replaced_in(content: Any, cleaned: Mapping[str, str]) -> Any:
    if isinstance(content, str):
        return cleaned[content]
    if isinstance(content, Mapping):
        return {key: _replaced_in(value, cleaned) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_replaced_in(value, cleaned) for value in content]
    return content


def _one_of(words: Sequence[str], telling: Collection[str]) -> str:
    """Return the pattern of many words, longest first, and of the digests to step over.

    A word that is not telling must stand alone. Names that hold a digest go before digests.
    """
    patterns = [
        _bounded(word) if word in telling else rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
        for word in words
    ]
    n_long = sum(len(word) >= SHORTEST_DIGEST for word in words)
    return "|".join([*patterns[:n_long], DIGEST, *patterns[n_long:]])


def _bounded(word: str) -> str:
    """Return the pattern of a word: not within another word, but ``C51`` of ``C51P12``.

    A long word with a digit counts wherever it stands.
    """
    if len(word) >= LONG and any(map(str.isdigit, word)):
        return re.escape(word)
    before = r"(?<!\d)" if word.isdigit() else r"(?<![^\W_])"
    after = r"(?!\d)" if word[-1].isdigit() else r"(?![^\W\d_])"
    return before + re.escape(word) + after


def cleaned_card(card: DatasetCard, names: Names) -> DatasetCard:
    """Return the card of a data set without what gives a group or an image away."""
    story = {key: Statement(**names.cleaned_in(vars(one))) for key, one in card.story.items()}
    return replace(card, title=names.cleaned(card.title), story=story)


def true_names(manifest: pl.DataFrame) -> Names:
    """Return names that hide nothing."""
    return Names({group: group for group in manifest["group"].unique()}, ())


def pseudonyms(manifest: pl.DataFrame, group_kind: str) -> Names:
    """Name the groups "patient 07" and so on, in an order that says nothing of the old one.

    The order is a permutation seeded with the content of the images: the same for every report of
    the same data, and unknown to anyone who has only a list of patients.
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
    return Names(shown, _telling([*words, *_identities(manifest)]))


def external_names(predictions: Predictions, group_kind: str, names: Names) -> Names:
    """Return names for the groups of other data, beside those of the run's own.

    They are "external patient 07" and so on, in an order that follows from the scores and from
    nothing that a list of patients has. Where the run's own names are true, so are these.
    """
    groups = sorted({str(group) for group in predictions.groups})
    if names.are_true:
        return Names({group: group for group in groups}, ())
    order = np.random.default_rng(list(bytes.fromhex(predictions.sha256))).permutation(len(groups))
    width = len(str(len(groups)))
    shown = {
        group: f"external {group_kind} {number + 1:0{width}d}"
        for group, number in zip(groups, order.tolist(), strict=True)
    }
    members = [member for group in groups for member in group.split("+")]
    return Names(shown, _telling([*names.hidden, *groups, *members, *predictions.image_ids]))


def _identities(manifest: pl.DataFrame) -> Iterator[str]:
    """Yield the values of columns that look like identities, but for dates: reports have dates."""
    for name, reason in identity_columns(manifest).items():
        if "date" not in reason:
            values = manifest[name].drop_nulls().unique().cast(pl.String)
            yield from (value.strip() for value in values)


def _telling(words: Iterable[str]) -> tuple[str, ...]:
    """Keep the words that can be told from ordinary text: not "7" or "A", but "C7" and "00417"."""

    def is_telling(word: str) -> bool:
        return len(word) >= (5 if word.isdigit() else 2 if any(map(str.isdigit, word)) else 4)

    return tuple(sorted({word for word in words if is_telling(word)}, key=lambda w: (-len(w), w)))
