"""What a bundle costs: counted as one would by hand, measured once, and told with the machine."""

from __future__ import annotations

import pytest
from drawn.run_folders import bundle

from diascope.bundle.bundle import Bundle
from diascope.bundle.cost import FILE, measure_speed, multiply_adds, read_cost, save_cost
from diascope.errors import RunError
from diascope.reporting.cost_table import cost_rows
from diascope.steps.evaluate import evaluate
from diascope.steps.report import report
from diascope.system.energy import EnergyCounters, read_energy
from diascope.training.run import Run


def by_hand(side_px):
    """Count the multiply-adds of `compact` for two classes: side, in and out of each layer."""
    half, quarter = side_px // 2, side_px // 4
    eighth, sixteenth = side_px // 8, side_px // 16
    convolutions = [
        (half, 3, 32),
        (half, 32, 64),
        *[(quarter, 64, 64)] * 2,
        (quarter, 64, 128),
        (eighth, 128, 128),
        *[(sixteenth, 128, 128)] * 2,
    ]
    return sum(px**2 * n_in * n_out * 9 for px, n_in, n_out in convolutions) + 256 * 2


def test_multiply_adds_are_those_that_one_counts_by_hand_for_every_view():
    one = bundle(("well", "ill"), "ill")
    assert multiply_adds(one) == by_hand(one.card.size_px)
    four = Bundle(one.card.model_copy(update={"views": 4}), one.module)
    assert multiply_adds(four) == 4 * by_hand(one.card.size_px)


def test_it_is_measured_once_for_the_same_weights(tmp_path):
    one = bundle(("well", "ill"), "ill")
    one.save(tmp_path / "bundle")
    one = Bundle.load(tmp_path / "bundle")
    found = save_cost(tmp_path, one, tmp_path / "bundle")
    assert found["n_parameters"] == sum(p.numel() for p in one.module.parameters())
    assert found["n_bytes"] == (tmp_path / "bundle" / "model.safetensors").stat().st_size
    written = (tmp_path / FILE).read_bytes()
    assert save_cost(tmp_path, one, tmp_path / "bundle") == found
    assert (tmp_path / FILE).read_bytes() == written
    other = Bundle(one.card.model_copy(update={"weights_sha256": "f" * 64}), one.module)
    assert save_cost(tmp_path, other, tmp_path / "bundle")["weights_sha256"] == "f" * 64
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(RunError, match=r"cost\.json|no format number"):
        read_cost(tmp_path)


def test_a_time_is_told_with_the_machine_and_what_is_not_measured_is_said(evaluated):
    rows = dict(cost_rows(evaluated))
    speed = read_cost(evaluated.folder)["speed"]
    assert f"{speed['device']}, {speed['threads']} thread" in rows["measured on"]
    assert rows["energy of the training"] == "not measured"
    assert "2 epochs, validation included" in rows["training time"]
    page = report(evaluated).read_text("utf-8")
    assert page == report(evaluated).read_text("utf-8")
    assert "1 MAC = 2 FLOPs" in page
    assert rows["multiply-adds for a prediction"] in page
    card = (evaluated.folder / "bundle" / "README.md").read_text("utf-8")
    assert rows["parameters"] in card
    assert "1 MAC = 2 FLOPs" in card


def test_a_run_that_nobody_measured_says_so(evaluated):
    (evaluated.folder / FILE).unlink()
    assert "Size and speed were not measured" in report(evaluated).read_text("utf-8")


def test_evaluating_validation_images_measures_too(trained):
    evaluate(trained, split="val")
    assert read_cost(Run(trained.folder).folder)["multiply_adds"] > 0


def test_batches_are_as_large_as_suits_the_time(monkeypatch):
    monkeypatch.setattr("diascope.bundle.cost.MEASURED_SECONDS", 1e9)
    monkeypatch.setattr("diascope.bundle.cost.MOST_ROUNDS", 1)
    speed = measure_speed(bundle(("well", "ill"), "ill"))
    assert speed.batch_size == 32
    assert speed.batch_image_ms > 0
    assert speed.one_image_ms > 0


def counters(folder, **packages):
    for name, (used, of) in packages.items():
        package = folder / name.replace("_", "-", 1).replace("_", ":")
        package.mkdir(parents=True, exist_ok=True)
        (package / "energy_uj").write_text(f"{used}\n")
        (package / "max_energy_range_uj").write_text(f"{of}\n")
    return read_energy(folder)


def test_energy_is_read_from_whole_packages_also_where_a_counter_begins_again(tmp_path):
    before = counters(tmp_path, intel_rapl_0=(900, 1000), intel_rapl_1=(5, 1000))
    counters(tmp_path, intel_rapl_0_0=(77, 1000))  # a part of the first package
    after = counters(tmp_path, intel_rapl_0=(200, 1000), intel_rapl_1=(10, 1000))
    assert set(after.values) == {"intel-rapl:0", "intel-rapl:1"}
    assert after.joules_since(before) == pytest.approx(305e-6)
    assert EnergyCounters({}, {}).joules_since(before) is None
    assert read_energy(tmp_path / "none").values == {}
