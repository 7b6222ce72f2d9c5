"""Real images have the same probabilities on the page, by REST, on the command line, in Python."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from drawn.run_folders import BINARY, bundle
from drawn.served import serving, with_sets_and_verdicts
from requests import Session

from diascope.data.sample import evenly
from diascope.data.sources.folder import open_files
from diascope.data.sources.listing import list_images
from diascope.serving.asgi import app
from diascope.steps.predict import predict as predict_to_table

SKIN = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
PROBLEMS = {  # archive, images that are taken, classes, side of the input and how it is filled
    "malaria": ("malaria/cell_images.zip", 400, BINARY, 64, "pad"),
    "ham10000": ("ham10000/ISIC2018_Task3_Training_Input.zip", 200, SKIN, 96, "stretch"),
    "idc": ("idc/IDC_regular_ps50_idx5.zip", 400, BINARY, 50, "pad"),
}


def real_images(archive, n_images):
    folder = os.environ.get("DIASCOPE_TEST_DATA")
    if not folder:
        pytest.skip("DIASCOPE_TEST_DATA is not set: no real images here")
    with open_files(Path(folder) / archive) as files:
        names = list_images(files)[0]
        return [files.read(names[row]) for row in evenly(len(names), n_images).tolist()]


def network_of(classes, side, fit):
    bare = bundle(classes, classes[1] if len(classes) == 2 else None)
    card = bare.card.model_copy(update={"size_px": side, "fit": fit, "views": 2})
    found = replace(bare, card=card)
    return with_sets_and_verdicts(found) if len(classes) == 2 else found


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_there_is_no_skew_over_real_images(problem, tmp_path):
    archive, n_images, classes, side, fit = PROBLEMS[problem]
    contents = real_images(archive, n_images)
    network = network_of(classes, side, fit).save(tmp_path / "bundle")
    paths = [tmp_path / f"{number:03}" for number in range(n_images)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)

    python = np.concatenate([network.predict_proba(path) for path in paths])
    alone, page, mixed = [], [], []
    with serving(app(network)) as server, Session() as client:
        for content in contents:
            answer = client.post(f"{server.url}/v1/predict", data=content).json()
            alone += answer["predictions"]
            shown = client.post(f"{server.url}/page/predict", data=content).text
            page.append(json.loads(html.unescape(re.search(r'data-row="([^"]*)"', shown)[1])))
        for start in range(0, n_images, 50):
            form = [("image", content) for content in contents[start : start + 50]]
            answer = client.post(f"{server.url}/v1/predict", files=form).json()
            mixed += answer["predictions"]
    table = pl.read_parquet(
        predict_to_table(tmp_path / "bundle", paths, out=tmp_path / "t.parquet")
    )

    def numbers(rows):
        return np.array([[float(row["probabilities"][name]) for name in classes] for row in rows])

    called = [classes[index] for index in network.decide(python)]
    np.testing.assert_array_equal(numbers(alone), python)
    np.testing.assert_array_equal(numbers(page), python)
    np.testing.assert_allclose(numbers(mixed), python, rtol=0, atol=1e-6)
    columns = [f"probability_{name}" for name in classes]
    np.testing.assert_allclose(table.select(columns).to_numpy(), python, rtol=0, atol=1e-6)
    assert [one["predicted"] for one in alone] == called
    assert [one["predicted"] for one in mixed] == called
    assert table["predicted"].to_list() == called
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    assert [one["sha256"] for one in alone] == digests
    assert [one["sha256"] for one in mixed] == digests
    sets = ["|".join(one["prediction_set"] or []) or None for one in mixed]
    assert sets == table["prediction_set"].to_list()
