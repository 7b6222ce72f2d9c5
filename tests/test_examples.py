"""What stands in examples/ works as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SMALL

from diascope.errors import DataError
from diascope.plugins import find
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.train import train

EXAMPLE = Path(__file__).parent.parent / "examples" / "lung_export.py"


@pytest.fixture
def export(tmp_path) -> Path:
    """Return the miniature that the example draws."""
    find("datasets", str(EXAMPLE)).fake(tmp_path / "export")
    return tmp_path / "export"


def test_a_data_set_in_one_file_is_prepared_trained_on_and_judged(export, tmp_path):
    prepared = prepare(str(EXAMPLE), source=export)
    assert prepared.manifest["age"].null_count() == 0
    assert prepared.manifest["group"].n_unique() == 15
    run = train(str(EXAMPLE), settings=SMALL, out=tmp_path / "run")
    metrics = evaluate(run)
    assert metrics["group_kind"] == "patient"
    assert metrics["n_images"] == prepared.fingerprint["splits"]["test"]["n_images"]


def test_the_example_says_what_is_wrong_with_a_file_name(export):
    (export / "P0000" / "holiday.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 file names are not"):
        prepare(str(EXAMPLE), source=export)


def test_the_example_is_short():
    assert len(EXAMPLE.read_text("utf-8").splitlines()) < 90
