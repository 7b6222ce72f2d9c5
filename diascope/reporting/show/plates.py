"""The plates of `diascope show`: which images and measures are drawn, and their captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from diascope.data.manifest import SPLITS
from diascope.data.pictures import Pictures
from diascope.data.sample import by_turns
from diascope.data.spec import UNGROUPED
from diascope.reporting.figures.balance import balance_figure, group_sizes_figure
from diascope.reporting.figures.distribution import distribution_figure
from diascope.reporting.figures.mosaic import DOTS_PER_INCH, Strip, mosaic_figure
from diascope.reporting.figures.style import SOFT_INK, class_colours, figure_to_png
from diascope.reporting.pseudonyms import Names
from diascope.system.progress import Progress, ShowProgress
from diascope.system.words import counted, plural

IN_A_ROW, MOST_ROWS = 8, 8
MOST_CLASSES, MOST_GROUPS = 20, 12
ONE_SIZE = 0.95  # of so many images: then a chart shows nothing
MEASURED_IMAGES, MEASURED_PIXELS = 2000, 1_000_000_000
SIDE_PX = 1000  # a larger image is measured on every second pixel, or fewer
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of R, G, B, as in ITU-R BT.709
CHUNK = 64
OTHERS = "other classes"
SHARP = 2 * DOTS_PER_INCH


@dataclass(frozen=True)
class View:
    """The data to show: pictures and measures of some splits, and counts of all images."""

    manifest: pl.DataFrame
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    group_kind: str
    names: Names

    @property
    def rows(self) -> pl.DataFrame:
        """The rows of the splits that are shown."""
        return self.manifest.filter(pl.col("split").is_in(self.splits))

    @property
    def shown_classes(self) -> list[str]:
        """The classes that are drawn, in label order: all, or the 20 with the most images."""
        counts = dict(self.manifest.group_by("label").len().iter_rows())
        largest = sorted(self.classes, key=lambda name: -counts.get(name, 0))[:MOST_CLASSES]
        return [name for name in self.classes if name in largest]

    @property
    def colours(self) -> dict[str, str]:
        """One colour a class."""
        return class_colours(self.classes)


@dataclass(frozen=True)
class Plate:
    """A picture of the page, and the file ``name.png``; if not wide, two stand side by side."""

    name: str
    title: str
    caption: str
    png: bytes
    is_wide: bool


def draw_plates(
    view: View, pictures: Pictures, *, has_groups: bool, progress: ShowProgress
) -> Iterator[Plate]:
    """Draw all plates; with examples of single groups only if ``has_groups``."""
    yield _class_examples(view, pictures)
    if has_groups:
        yield _group_examples(view, pictures)
    yield _balance(view)
    if view.manifest["group"].n_unique() < view.manifest.height:
        yield _group_sizes(view)
    yield from _sizes(view)
    yield from _brightness(view, pictures, progress)


def _class_examples(view: View, pictures: Pictures) -> Plate:
    classes = [name for name in view.shown_classes if name in set(view.rows["label"])]
    n_wanted = IN_A_ROW * max(1, MOST_ROWS // len(classes))
    strips = []
    for number, name in enumerate(classes):
        rows = view.rows.filter(pl.col("label") == name)
        chosen = by_turns(rows, seed=number).head(n_wanted)
        note = f"{counted(rows.height, 'image')}\n{_groups_of(rows, view)}"
        strips.append(Strip(name, note, list(pictures.of(chosen)), [name] * chosen.height))
    figure = mosaic_figure(strips, colours=view.colours, n_columns=IN_A_ROW)
    return Plate(
        "examples",
        "Examples of each class",
        f"Chosen at random, from as many {plural(view.group_kind)} as possible. Shapes and pixels "
        "are kept: small images are enlarged by whole numbers, large ones reduced to fit. Could "
        "you tell the classes apart, and by what? Look for what should not be there: rulers, "
        "frames, letters, marks, a background that only one class has.",
        figure_to_png(figure, dots_per_inch=DOTS_PER_INCH),
        is_wide=True,
    )


def _groups_of(rows: pl.DataFrame, view: View) -> str:
    n_groups = rows["group"].n_unique()
    return "" if view.group_kind == UNGROUPED else f"of {counted(n_groups, view.group_kind)}"


def _group_examples(view: View, pictures: Pictures) -> Plate:
    sizes = view.rows.group_by("group").len().sort(["len", "group"], descending=[True, False])
    large = sizes.filter(pl.col("len") >= IN_A_ROW)
    has_enough = large.height >= MOST_GROUPS
    chosen = large.sample(MOST_GROUPS, seed=0) if has_enough else sizes.head(MOST_GROUPS)
    strips = []
    for group, n_images in chosen.sort("len", descending=True, maintain_order=True).iter_rows():
        rows = view.rows.filter(pl.col("group") == group)
        order = pl.col("label").replace_strict(list(view.classes), range(len(view.classes)))
        some = by_turns(rows, seed=0, over="label").head(IN_A_ROW).sort(order, maintain_order=True)
        name, note = view.names.shown[group], counted(n_images, "image")
        strips.append(Strip(name, note, list(pictures.of(some)), some["label"].to_list()))
    figure = mosaic_figure(strips, colours=view.colours, n_columns=IN_A_ROW, has_frames=True)
    kinds = plural(view.group_kind)
    which = (
        f"chosen at random from the {large.height:,} {kinds} with at least {IN_A_ROW} images"
        if has_enough
        else f"the {kinds} with the most images"
    )
    return Plate(
        "groups_examples",
        f"Examples of single {kinds}",
        f"One row per {view.group_kind}: {which}; the frame shows the class. What all images of a "
        f"{view.group_kind} have in common (colour, light, device) must not give the class away: "
        f"that is why whole {kinds} are kept on one side of the split.",
        figure_to_png(figure, dots_per_inch=DOTS_PER_INCH),
        is_wide=True,
    )


def _balance(view: View) -> Plate:
    found = view.manifest.group_by("label", "split").len().iter_rows()
    counts: dict[str, dict[str, int]] = {name: {} for name in view.shown_classes}
    for label, split, n_images in found:
        if label in counts:
            counts[label][split] = n_images
    totals = {name: view.manifest.filter(pl.col("split") == name).height for name in SPLITS}
    return Plate(
        "balance",
        "Class balance",
        "The fraction of each class in each split; the numbers count images, the "
        "sealed ones included. Always predicting the largest class is correct for "
        f"{_largest_fraction(view):.1%} of all images.",
        figure_to_png(balance_figure(counts, totals=totals), dots_per_inch=SHARP),
        is_wide=True,
    )


def _largest_fraction(view: View) -> float:
    return int(view.manifest.group_by("label").len()["len"].max()) / view.manifest.height  # pyright: ignore[reportArgumentType]


def _group_sizes(view: View) -> Plate:
    table = view.manifest.group_by("group", "label").len().pivot("label", index="group")
    table = table.sort("group").fill_null(0)
    present = [name for name in view.shown_classes if name in table.columns]
    others = [name for name in view.classes if name in table.columns and name not in present]
    counts = table.select(present).to_numpy()
    if others:
        counts = np.column_stack([counts, table.select(others).to_numpy().sum(axis=1)])
    sizes, n_classes = counts.sum(axis=1), (table.drop("group").to_numpy() > 0).sum(axis=1)
    figure = group_sizes_figure(
        counts,
        classes=[*present, OTHERS] if others else present,
        colours={**view.colours, OTHERS: SOFT_INK},
        group_kind=view.group_kind,
    )
    return Plate(
        "groups",
        f"Images of each {view.group_kind}",
        f"{counted(len(counts), view.group_kind)} with {sizes.min():,} to {sizes.max():,} images, "
        f"median {np.median(sizes):,.0f}; {int((n_classes > 1).sum()):,} have "
        "images of several classes. Sealed images are counted too. The more unequal the "
        f"numbers, the more the results depend on a few {plural(view.group_kind)}.",
        figure_to_png(figure, dots_per_inch=SHARP),
        is_wide=True,
    )


def _sizes(view: View) -> Iterator[Plate]:
    if most_have_one_size(view):
        return
    rows = view.rows.select(
        "label",
        sizes=pl.max_horizontal("width", "height").cast(pl.Float64),
        shapes=pl.col("width") / pl.col("height"),
    )
    for name, title, axis, caption in (
        (
            "sizes",
            "Size",
            "long side, px",
            "The long side of the image files. Where one class has larger images, size alone gives "
            "it away, and so may its traces after scaling: sharpness, borders.",
        ),
        (
            "shapes",
            "Shape",
            "width / height",
            "Width divided by height. Padding to a square keeps the shape of what is shown, "
            "squeezing does not.",
        ),
    ):
        if rows[name].n_unique() > 1:
            values = {
                label: rows.filter(pl.col("label") == label)[name].to_numpy()
                for label in view.shown_classes
            }
            yield _distribution(view, values, name=name, title=title, axis=axis, caption=caption)


def _distribution(
    view: View,
    values: Mapping[str, NDArray[np.floating]],
    *,
    name: str,
    title: str,
    axis: str,
    caption: str,
) -> Plate:
    figure = distribution_figure(values, colours=view.colours, name=axis)
    return Plate(name, title, caption, figure_to_png(figure, dots_per_inch=SHARP), is_wide=False)


def most_have_one_size(view: View) -> str:
    """Say which size nearly all images have; empty if they differ."""
    sizes = view.rows.group_by("width", "height").len().sort("len", "width", "height")
    width, height, n_images = sizes.row(-1)
    if n_images < ONE_SIZE * view.rows.height:
        return ""
    size = f"{width:,} x {height:,} px"
    if sizes.height == 1:
        return f"All images have {size}."
    others = sizes.head(-1)
    sides = others.select(
        low=pl.min_horizontal("width", "height").min(),
        high=pl.max_horizontal("width", "height").max(),
    )
    low, high = sides.row(0)
    return (
        f"{n_images:,} of {view.rows.height:,} images have {size}; the sides of the other "
        f"{int(others['len'].sum()):,} are {low:,} to {high:,} px long."
    )


def _brightness(view: View, pictures: Pictures, progress: ShowProgress) -> Iterator[Plate]:
    sample = sample_to_measure(view)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in view.shown_classes}
    sampled, labels = pictures.of(sample), sample["label"].to_list()
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(sampled), CHUNK):
            chunk = range(start, min(start + CHUNK, len(sampled)))
            found = pool.map(lambda row: brightness_and_contrast(sampled[row]), chunk)
            for row, values in zip(chunk, found, strict=True):
                measured[labels[row]].append(values)
            progress(Progress("measuring brightness", chunk.stop, len(sampled)))
    of = f"Of {counted(sample.height, 'image')}, taken evenly from the classes as far as possible."
    for column, (name, title, axis, caption) in enumerate(
        (
            (
                "brightness",
                "Brightness",
                "mean luminance of an image, 0-255",
                "Of the whole image, background included. Classes that differ here can be "
                "distinguished without looking at what matters.",
            ),
            (
                "contrast",
                "Contrast",
                "SD of luminance within an image",
                "How much the pixels of an image differ: blurred and empty images are on the left.",
            ),
        )
    ):
        values = {
            label: np.array([pair[column] for pair in pairs]) for label, pairs in measured.items()
        }
        text = f"{caption} {of}"
        yield _distribution(view, values, name=name, title=title, axis=axis, caption=text)


def sample_to_measure(view: View) -> pl.DataFrame:
    """Sample images of the shown classes, evenly as far as possible; fewer of large images."""
    rows = view.rows.filter(pl.col("label").is_in(view.shown_classes))
    mean_pixels = float((rows["width"].cast(pl.Float64) * rows["height"]).mean())  # pyright: ignore[reportArgumentType]
    n_wanted = min(MEASURED_IMAGES, max(100, int(MEASURED_PIXELS / mean_pixels)))
    return by_turns(rows, seed=0, over="label").head(n_wanted).sort("image_id")


def brightness_and_contrast(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of the luminance, 0-255, of an image, uint8 (H, W, 3)."""
    every = -(-max(image.shape[:2]) // SIDE_PX)
    luminance = image[::every, ::every] @ np.array(LUMINANCE, np.float32)
    return float(luminance.mean()), float(luminance.std())
