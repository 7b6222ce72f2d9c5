"""Near-duplicates within groups: planted copies are found, other pictures of a group are not."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from diascope.data.duplicates import within_groups as near_within
from diascope.data.duplicates.within_groups import near_within_groups
from diascope.datasets.own.dataset import own_dataset
from diascope.steps.audit import audit
from diascope.steps.prepare import prepare

SIDE_PX = 96


def tissue(rng):
    """Draw a picture with structure, uint8 (H, W, 3)."""
    coarse = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8))
    fine = rng.normal(0, 6, (SIDE_PX, SIDE_PX, 3))
    pixels = np.asarray(coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))
    return (pixels + fine).clip(0, 255).astype(np.uint8)


def again(image, *, turned):
    """Return the picture re-compressed and a little lighter; mirrored and turned if so."""
    changed = np.rot90(image[:, ::-1]) if turned else image
    lighter = (changed * 0.97 + 8).clip(0, 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(lighter).save(content, "JPEG", quality=70)
    return np.asarray(Image.open(content))


def search(pictures, groups, known=()):
    small = np.stack(
        [
            np.asarray(Image.fromarray(one).resize((64, 64), Image.Resampling.BOX))
            for one in pictures
        ]
    )
    ids = [str(number) for number in range(len(pictures))]
    table = pl.DataFrame({"image_id": ids, "label": "a", "group": groups, "pixel_digest": ids})
    pairs = pl.DataFrame(known, {"image_id": pl.String, "other_id": pl.String}, orient="row")
    return near_within_groups(table, small, lambda row: pictures[row], known=pairs)


def test_planted_copies_within_a_group_are_found_and_nothing_else():
    rng = np.random.default_rng(0)
    pictures = [tissue(rng) for _ in range(12)]
    pictures += [again(pictures[0], turned=False), again(pictures[5], turned=True)]
    pictures += [again(pictures[1], turned=False)]  # of another group: not asked for here
    groups = [*(["p"] * 6), *(["q"] * 6), "p", "p", "q"]
    found = search(pictures, groups)
    assert found.pairs.select("image_id", "other_id").rows() == [("0", "12"), ("5", "13")]
    assert found.pairs["mirrored"].to_list() == [False, True]
    assert found.pairs["group"].to_list() == ["p", "p"]
    assert (found.pairs["agreement"] > 0.8).all()
    assert found.n_compared <= found.n_proposed
    assert search(pictures, groups, known=[("12", "0")]).pairs.height == 1
    assert search(pictures, [str(n) for n in range(15)]).n_proposed == 0


def test_a_large_group_is_compared_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    pictures = [tissue(rng) for _ in range(9)]
    pictures.append(again(pictures[7], turned=False))
    whole = search(pictures, ["p"] * 10)
    monkeypatch.setattr(near_within, "BLOCK", 4)
    assert search(pictures, ["p"] * 10).pairs.equals(whole.pairs)
    assert whole.pairs.height == 1
    monkeypatch.setattr(near_within, "MOST_COMPARED", 0)
    assert search(pictures, ["p"] * 10).pairs.height == 0


@pytest.mark.parametrize("across", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_page_shows_pairs_within_and_across_groups(tmp_path, across):
    rng = np.random.default_rng(2)
    for number in range(60):
        label = "ab"[number % 2]
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        pixels = tissue(rng)
        name = tmp_path / "data" / label / f"P{number // 5:02d}_{number}.png"
        Image.fromarray(pixels).save(name)
        if number in (3, 4, 5):
            group = (number // 5 + 3 * across) % 12
            copy = name.with_name(f"P{group:02d}_{number}copy.png")
            Image.fromarray(again(pixels, turned=number == 4)).save(copy)
    prepare(own_dataset(tmp_path / "data", name="shots", group_from=r"^P\d+"))
    page, facts = audit("shots", out=tmp_path / "audit")
    near = next(row for row in facts["duplicates"] if row["kind"] == "near")
    assert near["across_groups" if across else "within_groups"] == 3
    assert near["within_groups" if across else "across_groups"] == 0
    text = page.read_text("utf-8")
    place = "across" if across else "within"
    assert f"Near-duplicates, {place} groups: 3" in text
    assert text.count('alt="one of a pair"') == 6
    first = page.read_bytes()
    audit("shots", out=tmp_path / "audit")
    assert page.read_bytes() == first
    assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == facts
