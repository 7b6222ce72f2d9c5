"""Near-duplicates: recall on planted and on published pairs, what is found, and seconds.

``planted NAME`` plants pairs in real images and searches them all; ``lesions`` searches two images
of each of 400 lesions that HAM10000 itself shows twice; ``proposals [SETTINGS ...]`` counts which
pairs of one lesion are proposed at all, by the settings of now or by others, such as
``N_VOCABULARIES=1,FEATURES_A_CELL=24``; ``found NAME [PAIRS]`` searches a data set across its
groups; ``sheet NAME PAIRS PICTURE [FIRST]`` draws the pairs that it wrote and no list has, to be
looked at; ``joined`` prepares HAM10000 and writes into near_duplicates.md which of its pairs the
search finds and which are joined; ``speed`` searches 277,524 patches.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from benchmarks.conditions import conditions, real_data

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from drawn.planted_pairs import KINDS, plant

from diascope.data.duplicates import candidates, inverted_index, visual_words, votes
from diascope.data.duplicates import near as near_duplicates
from diascope.data.duplicates.candidates import propose
from diascope.data.duplicates.near import (
    SUFFICIENT,
    _describe_all,
    _Pictures,
    _quantise,
    _verify,
    find_near_duplicates,
)
from diascope.data.duplicates.pairs import near_pairs
from diascope.data.image import decode_image
from diascope.data.inspect import inspect_images
from diascope.data.sources.folder import open_files
from diascope.steps.prepare import prepare
from diascope.system.plugins import find
from diascope.system.progress import Progress, silent
from diascope.system.spill import spill_folder

FOLDERS = {"ham10000": "ham10000", "malaria": "malaria", "breast_idc": "idc"}
N_BASE, N_A_KIND, MIN_SIDE_PX = 2000, 50, 40
N_PATCHES = 277_524
N_LESIONS = 400
SEARCH = (candidates, inverted_index, near_duplicates, visual_words, votes)
TILE_PX = (112, 84)
DOCUMENT = Path(__file__).with_suffix(".md")
COLUMNS = 8  # of its table, before the two that `joined` writes


class Clock:
    """Seconds of each stage, by the wall and of the processor."""

    def __init__(self) -> None:
        self.starts: dict[str, tuple[float, float]] = {}
        self.last = self._now()

    def __call__(self, sign: Progress) -> None:
        """Print a row when a stage is done."""
        self.starts.setdefault(sign.stage, self.last)
        self.last = self._now()
        if sign.done == sign.total:
            wall, processor = np.subtract(self.last, self.starts[sign.stage])
            print(f"| {sign.stage} | {wall:.0f} | {processor:.0f} | {sign.note} |", flush=True)

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def _table(name: str, files) -> pl.DataFrame:
    spec = find("datasets", name)
    return inspect_images(files, spec.index(files), alpha_background=spec.alpha_background).table


def planted(name: str) -> None:
    """Print the recall of each kind of planted pair, and what else was joined."""
    rng = np.random.default_rng(0)
    with open_files(real_data() / FOLDERS[name]) as files:
        table = _table(name, files).drop_nulls("pixel_digest").unique("pixel_digest", keep="first")
        large = table.filter(pl.min_horizontal("width", "height") >= MIN_SIDE_PX).sort("image_id")
        n_base = min(N_BASE, large.height)
        chosen = large[np.sort(rng.permutation(large.height)[:n_base])]
        images = [decode_image(files.read(path)) for path in chosen["path"]]
    sources = rng.permutation(n_base)[: N_A_KIND * len(KINDS)]
    kinds = [KINDS[number % len(KINDS)] for number in range(len(sources))]
    images += [plant(images[row], kind, rng) for row, kind in zip(sources, kinds, strict=True)]
    own = chosen["group"].rank("dense").to_numpy().astype(np.int64)
    groups = np.concatenate([own, own.max() + 1 + np.arange(len(sources))])
    pairs = find_near_duplicates(images.__getitem__, groups)
    found = set(pairs.select("first", "second").iter_rows())
    hits = [(int(row), n_base + number) in found for number, row in enumerate(sources)]
    others = sum(second < n_base for _, second in found)
    counts = [
        str(sum(hit for hit, kind in zip(hits, kinds, strict=True) if kind == wanted))
        for wanted in KINDS
    ]
    print("| images | " + " | ".join(KINDS) + " | all | other pairs |")
    print(f"| {name}, of {N_A_KIND} each | " + " | ".join(counts) + f" | {sum(hits)} of "
          f"{len(hits)} | {others} |")  # fmt: skip


def lesions() -> None:
    """Print how many pairs of images of one known lesion are found; none of a published pair."""
    published = {name for pair in _published("ham10000") for name in pair}
    with open_files(real_data() / "ham10000") as files:
        table = find("datasets", "ham10000").index(files).sort("image_id")
        twice = table.filter(~pl.col("image_id").is_in(published)).group_by("group").head(2)
        twice = twice.filter(pl.len().over("group") == 2).sort("group", "image_id")
        first = np.random.default_rng(0).permutation(twice.height // 2)[:N_LESIONS] * 2
        rows = np.stack([first, first + 1], axis=1).ravel()
        paths = twice["path"].gather(rows).to_list()
        images = [decode_image(files.read(path)) for path in paths]
    pairs = find_near_duplicates(images.__getitem__, np.arange(len(images)))
    wanted = {(2 * number, 2 * number + 1) for number in range(len(first))}
    hits = wanted & set(pairs.select("first", "second").iter_rows())
    print(f"Pairs of one lesion found: {len(hits)} of {len(wanted)}; others: "
          f"{pairs.height - len(hits)}")  # fmt: skip


def proposals(*settings: str) -> None:
    """Print which fraction of the pairs of one lesion that the comparison accepts is proposed."""
    published = {name for pair in _published("ham10000") for name in pair}
    with (
        open_files(real_data() / "ham10000") as files,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        spill_folder("proposals") as spill,
    ):
        table = find("datasets", "ham10000").index(files).sort("image_id")
        paths = table["path"].to_list()

        def read(row: int):
            return decode_image(files.read(paths[row]))

        aside = _describe_all(read, len(paths), spill, pool, silent)
        pictures = _Pictures(read, aside)
        rows = table.with_row_index("row").filter(~pl.col("image_id").is_in(published))
        lesions_of = rows.group_by("group", maintain_order=True).agg("row")["row"].to_list()
        pairs = [pair for lesion in lesions_of for pair in combinations(lesion, 2)]
        verified = list(pool.map(lambda pair: _verify(pictures, *pair, False), pairs))
        accepted = [row[:3] for row in verified if row is not None]
        print("| settings | proposed | of those with few places | seconds | pairs to compare |")
        print("|---|---|---|---|---|")
        for setting in settings or ("now",):
            started = time.perf_counter()
            with _changed(setting):
                quantised = _quantise(aside, len(paths), spill, pool, silent)
                proposed = propose(quantised, np.arange(len(paths)), n_threads=2)
            seconds = time.perf_counter() - started
            ends = set(map(tuple, proposed[:, :2].tolist()))
            few = [pair[:2] in ends for pair in accepted if pair[2] < SUFFICIENT[0].inliers]
            hits = [pair[:2] in ends for pair in accepted]
            print(
                f"| {setting} | {np.mean(hits):.1%} of {len(hits)} | "
                f"{np.mean(few):.1%} of {len(few)} | {seconds:.0f} | {len(proposed):,} |",
                flush=True,
            )


@contextmanager
def _changed(setting: str) -> Iterator[None]:
    """Change constants of the search for a while: ``NAME=VALUE,NAME=VALUE``."""
    changes = [] if setting == "now" else [part.split("=") for part in setting.split(",")]
    before = []
    for name, value in changes:
        module = next(module for module in SEARCH if hasattr(module, name))
        before.append((module, name, getattr(module, name)))
        setattr(module, name, int(value))
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def found(name: str, out: str | None = None) -> None:
    """Print the seconds and the pairs found across groups; write the table if asked."""
    spec = find("datasets", name)
    with open_files(real_data() / FOLDERS[name]) as files:
        table = _table(name, files)
        print("| stage | seconds | processor seconds | |\n|---|---|---|---|")
        pairs = near_pairs(files, table, spec.decoding, progress=Clock())
    known = table.select("image_id", "group", "label")
    pairs = pairs.join(known, on="image_id").join(
        known, left_on="other_id", right_on="image_id", suffix="_other"
    )
    same = pairs.filter(pl.col("label") == pl.col("label_other")).height
    print(f"\n{pairs.height} pairs across groups, {same} of them of one label.")
    published = _published(name)
    if published:
        ids = {frozenset(pair) for pair in pairs.select("image_id", "other_id").iter_rows()}
        missed = sorted(map(sorted, published - ids))
        print(f"Published pairs found: {len(published & ids)} of {len(published)}; not: {missed}")
    if out:
        pairs.write_parquet(out)


def _published(name: str) -> set[frozenset[str]]:
    """Return the pairs of the published list, if there is one."""
    path = real_data() / FOLDERS[name] / "newly_discovered_duplicates.csv"
    if not path.is_file():
        return set()
    ids = pl.read_csv(path).select(pl.col("from_img", "to_img").str.strip_suffix(".jpg"))
    return {frozenset(pair) for pair in ids.iter_rows()}


def sheet(name: str, pairs: str, picture: str, first: str = "1") -> None:
    """Draw the pairs that no list has, numbered from `first`, weakest first; print their table."""
    published = _published(name)
    table = pl.read_parquet(pairs).sort("n_inliers", "agreement")
    rows = [
        row
        for row in table.iter_rows(named=True)
        if frozenset((row["image_id"], row["other_id"])) not in published
    ]
    width, height, across = *TILE_PX, 4
    down = -(-len(rows) // across)
    page = Image.new("RGB", (across * (2 * width + 8), down * (height + 16)), "white")
    print("| no. | images | groups | label | inliers | agreement | mirrored, degrees, scale |")
    print("|---|---|---|---|---|---|---|")
    with open_files(real_data() / FOLDERS[name]) as files:
        paths = dict(find("datasets", name).index(files).select("image_id", "path").iter_rows())
        for place, row in enumerate(rows):
            number = int(first) + place
            left, top = place % across * (2 * width + 8), place // across * (height + 16)
            ImageDraw.Draw(page).text((left + 2, top + 2), f"{number}", "black")
            for offset, image_id in ((0, row["image_id"]), (width, row["other_id"])):
                tile = Image.fromarray(decode_image(files.read(paths[image_id])))
                tile.thumbnail((width, height))
                page.paste(tile, (left + offset, top + 14))
            labels = sorted({row["label"], row["label_other"]})
            print(
                f"| {number} | {row['image_id']}, {row['other_id']} | {row['group']}, "
                f"{row['group_other']} | {', '.join(labels)} | {row['n_inliers']} | "
                f"{row['agreement']:.2f} | {'yes' if row['mirrored'] else 'no'}, "
                f"{row['rotation_degrees']:.0f}, {row['scale']:.2f} |"
            )
    page.quantize(256).save(picture, optimize=True)


def joined() -> None:
    """Prepare HAM10000 and write what happens to each pair into the table of the document."""
    prepared = prepare("ham10000", source=real_data() / "ham10000")
    if prepared.pairs is None:
        raise SystemExit("The prepared data have no list of pairs.")
    numbered = prepared.pairs.filter(pl.col("n_inliers").is_not_null())
    found = {frozenset(pair) for pair in numbered.select("image_id", "other_id").iter_rows()}
    place = {row[0]: row[1:] for row in prepared.manifest["image_id", "group", "split"].rows()}
    lines, counts = [], Counter()
    for line in DOCUMENT.read_text("utf-8").splitlines():
        pair = re.match(r"\| \d+ \| (ISIC_\d+), (ISIC_\d+) \|", line)
        if pair is None:
            lines.append(line)
            continue
        (group, split), (other_group, other_split) = place[pair[1]], place[pair[2]]
        said = {"found": frozenset(pair.groups()) in found, "joined": group == other_group}
        counts.update(name for name, is_so in said.items() if is_so)
        counts["in two splits"] += split != other_split
        cells = line.split(" | ")[:COLUMNS]
        lines.append(
            " | ".join([*cells, *("yes" if one else "no" for one in said.values())]) + " |"
        )
    DOCUMENT.write_text("\n".join(lines) + "\n", "utf-8")
    facts = prepared.fingerprint["duplicates"]
    print(f"Of the pairs in {DOCUMENT.name}: {dict(counts)}. Of prepare: {facts}")


def speed(n_patches: str = str(N_PATCHES)) -> None:
    """Print the seconds for 277,524 patches, each with the spectrum of a real one, no two alike."""
    with open_files(real_data() / "idc") as files:
        table = _table("breast_idc", files).filter(
            (pl.col("width") == 50) & (pl.col("height") == 50)
        )
        base = np.stack([decode_image(files.read(path)) for path in table["path"]])

    def read(row: int):
        rng = np.random.default_rng(row)
        return _scattered(base[rng.integers(len(base))], rng)

    print("| stage | seconds | processor seconds | |\n|---|---|---|---|")
    pairs = find_near_duplicates(read, np.arange(int(n_patches)), progress=Clock())
    print(f"\n{pairs.height} pairs")


def _scattered(patch, rng):
    """Give each wave of a patch (S, S, 3) a place of its own: as fine and coloured, another one."""
    waves = np.fft.rfft2(patch, axes=(0, 1))
    phases = np.exp(2j * np.pi * rng.random(waves.shape[:2]))
    phases[0, 0] = 1  # the mean stays
    pixels = np.fft.irfft2(waves * phases[:, :, np.newaxis], s=patch.shape[:2], axes=(0, 1))
    return np.clip(pixels, 0, 255).round().astype(np.uint8)


if __name__ == "__main__":
    commands = (planted, lesions, proposals, found, sheet, joined, speed)
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
    print(f"\n{conditions()}")
