"""What networks reject as out-of-distribution: other data sets, photographs, noise, plain colours.

``python -m benchmarks.honesty.out_of_distribution RUN...`` fits each network's limits as ``train``
does and prints the % of images that it rejects, its own test images among them. Real images are
those below ``DIASCOPE_TEST_DATA``; photographs are crops of the two that scikit-learn ships.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from benchmarks.conditions import conditions, real_data
from diascope.bundle.bundle import Bundle
from diascope.bundle.ood import learn_ood
from diascope.data.image import decode_image, fit_image
from diascope.data.manifest import rows_of
from diascope.data.pack import pack_images
from diascope.data.sources.folder import open_files
from diascope.system.environment import home
from diascope.training.run import Run

DATA = ("malaria", "ham10000", "idc")
N_IMAGES = 200


def main() -> None:
    """Print a row for each run."""
    kinds = ("own test", *DATA, "photographs", "noise", "plain colours")
    print(f"| run | {' | '.join(kinds)} |")
    print("|---" * (len(kinds) + 1) + "|")
    for folder in sys.argv[1:]:
        rejected = fractions_rejected(Run(Path(folder)))
        cells = [f"{rejected[kind]:.0%}" if kind in rejected else "" for kind in kinds]
        print(f"| {Path(folder).name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{conditions()}")


def fractions_rejected(run: Run) -> dict[str, float]:
    """Return the fraction of each kind of images that a network rejects."""
    manifest = run.manifest
    with open_files(Path(run.fingerprint["source"])) as files:
        images = pack_images(files, manifest, run.plan.pixels, home=home())
    bundle = run.load_networks()[0]
    bundle = replace(bundle, ood=learn_ood(manifest, images, bundle.classes, bundle.features))
    test = rows_of(manifest, "test")
    kinds = {"own test": images[test]} if len(test) else {}
    return {name: _rejected(bundle, one) for name, one in (kinds | _others(bundle)).items()}


def _rejected(bundle: Bundle, images: NDArray[np.uint8]) -> float:
    _, scores = bundle.predict_with_ood_scores(images)
    return float(np.mean(scores > 1)) if scores is not None else float("nan")


def _others(bundle: Bundle) -> dict[str, NDArray[np.uint8]]:
    """Draw and read images of other kinds, as the network would get them."""
    rng = np.random.default_rng(0)
    side, fit = bundle.card.size_px, bundle.card.fit
    found = {}
    for name in DATA:
        with open_files(real_data() / name) as files:
            paths = [path for path in files.names() if path.lower().endswith((".png", ".jpg"))]
            chosen = rng.permutation(len(paths))[:N_IMAGES]
            read = [decode_image(files.read(paths[number])) for number in chosen]
        found[name] = np.stack([fit_image(image, side, fit=fit) for image in read])
    pieces = []
    for image in load_sample_images().images:
        for _ in range(N_IMAGES // 2):
            cut = int(rng.integers(64, 400))
            y, x = rng.integers(0, image.shape[0] - cut), rng.integers(0, image.shape[1] - cut)
            piece = np.ascontiguousarray(image[y : y + cut, x : x + cut])
            pieces.append(fit_image(piece, side, fit=fit))
    colours = rng.integers(0, 256, (N_IMAGES, 1, 1, 3)).astype(np.uint8)
    return found | {
        "photographs": np.stack(pieces),
        "noise": rng.integers(0, 256, (N_IMAGES, side, side, 3)).astype(np.uint8),
        "plain colours": np.tile(colours, (1, side, side, 1)),
    }


if __name__ == "__main__":
    main()
