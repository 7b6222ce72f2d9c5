"""Every figure of a report, recounted from the stored predictions by other means."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from drawn.recount import Recount
from PIL import Image

from diascope.datasets.own.dataset import own_dataset
from diascope.errors import SettingsError
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train

SKIN = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SMALL = ["max_epochs=2", "size_px=32", "batch_size=32", "flips=none"]
ESTIMATE = re.compile(
    r'<span class="estimate">([+-]?\d+\.\d+)(?: <span class="interval">\[([^\]]+)\]</span>)?'
)


def draw_skin(root, seed):
    """Draw lesions of seven colours: forty a class, every other one with two images."""
    rng = np.random.default_rng(seed)
    lines = ["path,label,group"]
    (root / "images").mkdir(parents=True)
    for lesion in range(280):
        k = lesion % 7
        colour = np.array([[90, 60, 40], [60, 90, 40], [60, 40, 90], [90, 90, 40], [40, 90, 90],
                           [90, 40, 90], [70, 70, 70]][k])  # fmt: skip
        for n in range(1 + lesion % 2):
            noise = rng.integers(0, 110, (24, 24, 3))
            path = f"images/{lesion:03d}_{n}.png"
            Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(root / path)
            lines.append(f"{path},{SKIN[k]},L{lesion:03d}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root / "table.csv"


@pytest.fixture
def skin(home, tmp_path):
    """Train a network on seven classes of lesions that were drawn."""
    data = own_dataset(draw_skin(tmp_path / "skin", 0), group_kind="lesion")
    prepare(data, near_duplicates=False)
    return train(data.name, settings=SMALL, out=tmp_path / "run")


def at(metrics: Any, path: str) -> float | None:
    """Return the value at a path such as ``per_class/mel/recall``."""
    for part in path.split("/"):
        metrics = metrics[int(part)] if isinstance(metrics, list) else metrics[part]
    return metrics["value"] if isinstance(metrics, dict) else metrics


def check(run, name: str, *, has_folds: bool = False) -> int:
    metrics = run.metrics(name)
    recount = Recount(run.predictions_path(name), metrics["classes"], metrics["positive"])
    found = recount.everything(metrics, has_folds=has_folds)
    for path, value in found.items():
        ours = at(metrics, path)
        if value is None or ours is None:
            assert ours is value, path
        else:
            assert ours == pytest.approx(value, rel=1e-5, abs=1e-7), path
    return len(found)


def printed(values: Any) -> set[tuple[str, str]]:
    """Return every estimate of metrics as pages print it: value and interval."""
    found = set()
    if isinstance(values, dict):
        if {"value", "low", "high"} <= set(values):
            for digits in (2, 3, 4):
                for sign in ("", "+"):
                    form = f"{sign}.{digits}f"
                    ends = [values["low"], values["high"]]
                    ends = "" if None in ends else ", ".join(f"{end:{form}}" for end in ends)
                    if values["value"] is not None:
                        found.add((f"{values['value']:{form}}", ends))
        for one in values.values():
            found |= printed(one)
    elif isinstance(values, list):
        for one in values:
            found |= printed(one)
    return found


def check_page(run) -> None:
    """Every estimate on the page is one of the metrics, which were recounted."""
    page = report(run).read_text("utf-8")
    shown = set(ESTIMATE.findall(page))
    assert len(shown) > 20
    known = set()
    for path in sorted((run.folder / "metrics").glob("*.json")):
        known |= printed(run.metrics(path.stem))
    assert shown <= known, sorted(shown - known)[:5]


def test_a_run_on_two_classes(evaluated):
    assert check(evaluated, "test") > 60
    check_page(evaluated)


@pytest.mark.slow
def test_a_cross_validation(cross_validated):
    evaluate(cross_validated)
    assert check(cross_validated, "test", has_folds=True) > 60
    check_page(cross_validated)


@pytest.mark.slow
def test_seven_classes_and_a_data_set_from_elsewhere(skin, tmp_path):
    wanted = ["malignant=mel,bcc,akiec", "melanoma=mel"]
    with pytest.raises(SettingsError, match="cannot be promised"):
        evaluate(skin, class_groups=wanted, target="sensitivity=0.99")
    assert not skin.predictions_path("test").exists()  # refused before test was opened
    assert skin.openings_now() is None
    evaluate(skin, class_groups=wanted, target="sensitivity=0.6")
    first = skin.metrics("test")["class_groups"]
    evaluate(skin, class_groups=["naevus=nv"])
    again = {row["name"]: row for row in skin.metrics("test")["class_groups"]}
    assert set(again) == {"malignant", "melanoma", "naevus"}
    assert all(again[row["name"]] == row for row in first)  # what was asked for is kept
    assert check(skin, "test") > 130
    assert skin.metrics("test")["group_level"]["rule"]
    other = own_dataset(draw_skin(tmp_path / "elsewhere", 1), group_kind="lesion")
    prepare(other, near_duplicates=False)
    evaluate(skin, on=other.name, class_groups=wanted)
    assert check(skin, f"on-{other.name}") > 130
    check_page(skin)
