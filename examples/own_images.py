"""Your own images: a table that states which patient each image is from.

``python examples/own_images.py TABLE``, a CSV file with the columns ``path,label,group``; a folder
with one sub-folder a class works as well (see docs/prepare.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

import diascope


def main(table: str) -> None:
    """Prepare, train, report, and predict a few images."""
    # Only you know which images are from the same patient. Without `group`, diascope asks.
    prepared = diascope.prepare(table)
    run = diascope.train(table, out="runs/own-story")
    diascope.evaluate(run)
    print(diascope.report(run))

    # A bundle is all you need elsewhere: the network, its preprocessing and its thresholds.
    bundle = diascope.load(run)
    images = [Path(table).parent / path for path in prepared.manifest["path"].head(3)]
    for image, probabilities in zip(images, bundle.predict_proba(images), strict=True):
        print(image.name, dict(zip(bundle.classes, probabilities.round(3), strict=True)))


if __name__ == "__main__":
    main(sys.argv[1])
