"""Real images have the same probabilities on the page, by REST, on the command line, in Python."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from drawn.real_images import real_images, write_all
from drawn.run_folders import BINARY, bundle
from drawn.served import serving, with_sets_and_verdicts
from requests import Session

from diascope.serving.asgi import app
from diascope.steps.predict import predict as predict_to_table

SKIN = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
PROBLEMS = {  # classes, side of the input and how it is filled
    "malaria": (BINARY, 64, "pad"),
    "ham10000": (SKIN, 96, "stretch"),
    "idc": (BINARY, 50, "pad"),
}


def network_of(classes, side, fit):
    bare = bundle(classes, classes[1] if len(classes) == 2 else None)
    card = bare.card.model_copy(update={"size_px": side, "fit": fit, "views": 2})
    found = replace(bare, card=card)
    return with_sets_and_verdicts(found) if len(classes) == 2 else found


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_there_is_no_skew_over_real_images(problem, tmp_path):
    classes, side, fit = PROBLEMS[problem]
    named = real_images(problem)
    contents, n_images = list(named.values()), len(named)
    network = network_of(classes, side, fit).save(tmp_path / "bundle")
    paths = write_all(tmp_path / "images", named)

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
