"""Make the pictures in docs/ that are old: ``make pictures``, or ``python docs/pictures.py``.

The report and the page of the server are those of a demo that is trained for them, in a headless
Chromium; the charts of the stories are those of ``diascope show`` for the official files in the
folders malaria, ham10000 and idc of ``$DIASCOPE_TEST_DATA``. They show no image and no name of
anybody: the cells are synthetic. ``--check`` only says which pictures are not of the current code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from picture_sources import DOCS, PICTURES, REMAKE, old, record, stale
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import diascope
from diascope.cli.demo import run_demo
from diascope.data.prepared import load_prepared
from diascope.system.environment import dataset_folder
from diascope.system.machine import commit

STORIES = {  # the story: its data set, the folder of that, and the plate of `diascope show`
    "story_malaria.png": ("malaria", "malaria", "groups"),
    "story_skin_lesions.png": ("ham10000", "ham10000", "balance"),
    "story_breast_tissue.png": ("breast_idc", "idc", "groups"),
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NOISE_PX = (96, 128)  # height, width
WAIT_MS = 120_000


def main() -> None:
    """Make the pictures that are asked for, or else those that are old; record what they show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", help="make these, old or not", nargs="+", metavar="NAME", choices=PICTURES
    )
    parser.add_argument("--check", action="store_true", help="make none; exit with 1 if one is old")
    options = parser.parse_args()
    if options.check:
        sys.exit("\n".join([*lines, f"So {REMAKE}."]) if (lines := stale()) else 0)
    options.only = options.only or old()
    if not options.only:
        return
    made_by = committed()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DIASCOPE_HOME"] = str(Path(folder, "home"))
        if {"report.png", "serve.png"} & {*options.only}:
            picture_demo(Path(folder), options.only)
        for name in [name for name in STORIES if name in options.only]:
            picture_story(name, Path(folder))
    record(options.only, commit=made_by, day=datetime.now(UTC).date().isoformat())


def committed() -> str:
    """Return the commit whose code makes the pictures; the pictures themselves may be edited."""
    words = [
        "git",
        "status",
        "--porcelain",
        "--",
        "diascope",
        "pyproject.toml",
        *map(str, DOCS.glob("*.py")),
    ]
    done = subprocess.run(words, cwd=DOCS.parent, capture_output=True, text=True, check=True)
    if done.stdout:
        sys.exit("Commit what is edited first: the pictures name the commit that they are of.")
    return commit(DOCS.parent).removesuffix("-dirty")[:12]


def picture_demo(folder: Path, names: list[str]) -> None:
    """Train the demo; picture its report and the page that serves it."""
    report = run_demo(folder / "demo")
    with opened_page(width=1200, height=1250) as page:
        if "report.png" in names:
            page.goto(report.as_uri())
            page.screenshot(path=DOCS / "report.png")
        if "serve.png" in names:
            page.set_viewport_size({"width": 1100, "height": 900})
            with served(folder / "demo") as address:
                page.goto(address)
                picture_predictions(page, images_for(folder / "demo", folder))


def picture_predictions(page: Page, images: list[Path]) -> None:
    """Send the images to the page, wait for their predictions, and picture it whole."""
    page.set_input_files("input[type=file]", images)
    for number in range(1, len(images) + 1):
        page.locator(f"#image-{number}[data-row]").wait_for(timeout=WAIT_MS)
    page.locator("#image-1").scroll_into_view_if_needed()
    page.locator("#image-1 .heat").wait_for(timeout=WAIT_MS)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=DOCS / "serve.png", full_page=True)


def images_for(run: Path, folder: Path) -> list[Path]:
    """Return the first test cell that is rightly called parasitized and not referred, and noise.

    The picture is to show what the page says of a prediction and of none, not how good it is.
    """
    rows = load_prepared("synthetic").manifest.filter(split="test", label="parasitized")
    root = next(dataset_folder("synthetic").glob("drawn-*"))
    cells = [root / path for path in rows.sort("image_id")["path"].head(40)]
    table = pl.read_csv(diascope.predict(run, cells, out=folder / "cells.csv"))
    kept = [
        cell
        for cell, (called, refer) in zip(
            cells, table.select("predicted", "refer").iter_rows(), strict=True
        )
        if called == "parasitized" and refer != "yes"  # empty where there are no prediction sets
    ]
    shutil.copyfile(kept[0], folder / "cell.png")
    noise = np.random.default_rng(0).integers(0, 256, (*NOISE_PX, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "picture.png")
    return [folder / "cell.png", folder / "picture.png"]


def picture_story(name: str, folder: Path) -> None:
    """Prepare the data set of a story, and keep one plate of ``diascope show``."""
    data, place, plate = STORIES[name]
    source = Path(os.environ.get("DIASCOPE_TEST_DATA", "data"), place)
    if not source.is_dir():
        sys.exit(f"{name} needs the official files in {source}: set DIASCOPE_TEST_DATA.")
    diascope.prepare(data, source=source, near_duplicates=False)
    page = diascope.show(data, out=folder / "looks" / data)
    shutil.copyfile(page.parent / f"{plate}.png", DOCS / name)


@contextmanager
def opened_page(*, width: int, height: int) -> Iterator[Page]:
    """Open an empty page in a headless browser of this machine."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("The pictures need Chromium, and none of its commands is on this machine.")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]) as opened,
    ):
        yield opened.new_page(viewport={"width": width, "height": height})


@contextmanager
def served(run: Path) -> Iterator[str]:
    """Serve a run on a free port while the block lasts; give the address."""
    words = [sys.executable, "-m", "diascope", "serve", str(run), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield next(iter(server.stdout or [])).strip()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
