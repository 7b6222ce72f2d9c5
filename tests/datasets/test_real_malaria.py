"""The real cells, where they are: archive to report, and a figure that must not sink."""

from __future__ import annotations

import re

import pytest

from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train

pytestmark = pytest.mark.slow


def test_real_cells_go_from_the_archive_to_an_honest_report(malaria_source, home, tmp_path):
    prepared = prepare("malaria", source=malaria_source, near_duplicates=False)
    facts = prepared.fingerprint
    assert (facts["n_images"], facts["n_groups"]) == (8890, 56)
    assert facts["classes"]["parasitized"] == {"n_images": 5036, "n_groups": 39}
    assert facts["rejected"] == []
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert facts["splits"][split]["n_images"] / 8890 == pytest.approx(share, abs=0.02)

    run = train("malaria", settings=["max_epochs=3"], out=tmp_path / "run")
    metrics = evaluate(run)
    assert metrics["estimates"]["auroc"]["value"] > 0.965
    assert metrics["per_group"]["auroc"]["mean"]["value"] > 0.95
    page = re.sub(r"base64,[^\"]*", "", report(run).read_text("utf-8"))
    for group in run.manifest["group"].unique():
        assert not re.search(rf"\b{group}\b", page)
