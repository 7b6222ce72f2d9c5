"""How much of the evidence lies inside the lesion, on real photographs of skin.

``python -m benchmarks.honesty.lesion_maps RUN`` explains validation images of a run on HAM10000 and
prints, for each method, the share of the evidence inside a simple mask of the lesion (darker than
Otsu's threshold, the largest piece), beside the share of the area and that of the same maps turned
and moved. The masks are rough; images without a plausible one are left out and counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from benchmarks.conditions import conditions
from diascope.data.manifest import rows_of
from diascope.data.pack import pack_images
from diascope.data.sources.folder import open_files
from diascope.explanations.focus import energy_in
from diascope.explanations.heat_maps import DEFAULT_METHODS, Explainer, predicted
from diascope.explanations.removal import moved
from diascope.system.environment import home
from diascope.training.run import Run

N_IMAGES = 120
BLUR_PX = 1.5
LEAST, MOST = 0.02, 0.7  # of the area, of a plausible mask


def main() -> None:
    """Print a row for each method."""
    run = Run(Path(sys.argv[1]))
    with open_files(Path(run.fingerprint["source"])) as files:
        images = pack_images(files, run.manifest, run.plan.pixels, home=home())
    rows = rows_of(run.manifest, "val")
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, N_IMAGES).round().astype(np.intp))]
    seen = images[rows]
    masks = np.stack([lesion_in(image) for image in seen])
    kept = (masks.mean(axis=(1, 2)) > LEAST) & (masks.mean(axis=(1, 2)) < MOST)
    seen, masks, groups = seen[kept], masks[kept], run.manifest["group"].to_numpy()[rows[kept]]
    bundle = run.load_networks()[0]
    targets = predicted(bundle, seen)
    print(
        f"{kept.sum()} of {len(rows)} images have a plausible mask; it has "
        f"{masks.mean():.3f} of the area.\n"
    )
    print(
        "| method | inside the lesion | of maps turned and moved | difference |\n|---|---|---|---|"
    )
    for method in DEFAULT_METHODS:
        maps = Explainer.of(bundle, method).maps(seen, targets)
        own, control = (energy_in(one, masks) for one in (maps, moved(maps, seed=0)))
        shown = np.isfinite(own) & np.isfinite(control)
        cells = [interval(values[shown], groups[shown]) for values in (own, control, own - control)]
        print(f"| {method} | {' | '.join(cells)} |", flush=True)
    print(f"\n{conditions()}")


def lesion_in(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return a rough mask of the lesion of an image, uint8 (S, S, 3): bool (S, S)."""
    is_shown = image.max(axis=2) > 0
    grey = np.asarray(Image.fromarray(image).convert("L").filter(ImageFilter.GaussianBlur(BLUR_PX)))
    is_dark = is_shown & (grey < otsu(grey[is_shown]))
    pieces, n_pieces = ndimage.label(ndimage.binary_opening(is_dark))
    if not n_pieces:
        return np.zeros_like(is_shown)
    sizes = ndimage.sum_labels(is_dark, pieces, np.arange(1, n_pieces + 1))
    return ndimage.binary_fill_holes(pieces == 1 + int(np.argmax(sizes)))


def otsu(grey: NDArray[np.uint8]) -> int:
    """Return the threshold that parts grey values best (Otsu 1979)."""
    counts = np.bincount(grey, minlength=256).astype(float)
    below = np.cumsum(counts)
    sums = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nanargmax(apart)) + 1


def interval(values: NDArray[np.float64], groups: NDArray) -> str:
    """Return the mean with a 95 % interval from resampled groups."""
    _, of = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(of, values), np.bincount(of)
    drawn = np.random.default_rng(0).multinomial(len(sums), np.ones(len(sums)) / len(sums), 2000)
    low, high = np.quantile(drawn @ sums / (drawn @ sizes), [0.025, 0.975])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
