"""Devices: what is resident, what is captured, and that neither changes what is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diascope.models.compact import Compact
from diascope.system.device import full_precision, resident, take
from diascope.training import loop as learning
from diascope.training.augment import sample_with_clamped_grid
from diascope.training.gradient_step import N_EAGER, GradientStep, Loss
from diascope.training.inputs import FeatureInputs, ImageInputs
from diascope.training.loop import Epoch, Step, train_epochs
from diascope.training.plan import Augmentation, Training

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FIRST_LOSSES = [0.9407, 0.6486, 1.2264, 0.6619, 0.6359]


@pytest.fixture(autouse=True)
def _a_gpu_where_one_is_asked_for(request, monkeypatch):
    if not request.node.get_closest_marker("gpu"):
        monkeypatch.setattr("diascope.training.loop.best_device", lambda: CPU)
    elif not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def some_images(n=96, side=32):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 200, (n, side, side, 3)).astype(np.uint8)
    images[labels == 1, 8:16, 8:16] += 50
    return images, labels


def a_training(**changes):
    settings = {
        "max_epochs": 3,
        "max_steps": 0,
        "batch_size": 20,
        "optimizer": "adamw",
        "learning_rate": 2e-3,
        "weight_decay": 0.02,
        "schedule": "one_cycle",
        "label_smoothing": 0.1,
        "imbalance": "none",
        "selection": "last",
        "patience_epochs": 0,
        "precision": "fp32",
    }
    return Training(**{**settings, **changes})


def learn(folder, *, images=None, network=Compact, how=None, stop_after=10**6):
    """Train a small network on some images; return it and the losses of its steps."""
    pixels, labels = some_images()
    images = resident(pixels, learning.best_device()) if images is None else images
    torch.manual_seed(0)
    module, rows = network(2), np.arange(len(labels))
    changed = Augmentation(flips="dihedral", rotation_degrees=10, colour_jitter=0.1)
    events = train_epochs(
        module,
        ImageInputs(images, (0.5,) * 3, (0.25,) * 3, changed, 0),
        labels,
        train=rows[16:],
        val=rows[:16],
        how=how or a_training(),
        seed=0,
        checkpoint=folder / "last.safetensors",
    )
    losses = []
    for event in events:
        losses += [event.loss] if isinstance(event, Step) else []
        if isinstance(event, Epoch) and event.epoch == stop_after:
            break
    return module, losses


def weights_of(module):
    return torch.cat([weight.detach().float().cpu().flatten() for weight in module.parameters()])


def test_the_first_five_losses_are_those_of_before(tmp_path):
    """A change here changes what every training learns: do it on purpose, and say so."""
    _, losses = learn(tmp_path)
    assert losses[:5] == pytest.approx(FIRST_LOSSES, abs=2e-3)


def test_a_processor_reads_from_the_map_itself():
    images, _ = some_images()
    assert resident(images, CPU) is images


def test_what_does_not_fit_is_not_copied():
    images, _ = some_images()
    assert resident(images, CUDA, free_bytes=images.nbytes) is images


def test_rows_are_the_same_wherever_they_lie():
    images, _ = some_images()
    rows = np.array([3, 1, 1])
    for array in (images, torch.from_numpy(images)):
        assert (take(array, (rows,), CPU).numpy() == images[rows]).all()
    features = np.random.default_rng(0).normal(size=(4, 7, 5)).astype(np.float32)
    kept, copied = FeatureInputs(features, 0), FeatureInputs(torch.from_numpy(features), 0)
    assert torch.equal(kept.to_learn(rows, 5, CPU), copied.to_learn(rows, 5, CPU))
    assert torch.equal(kept.to_see(rows, CPU), torch.from_numpy(features[0, rows]))


@pytest.mark.gpu
def test_streamed_and_resident_images_teach_the_same(tmp_path):
    streamed, _ = learn(tmp_path / "streamed", images=some_images()[0])
    held, _ = learn(tmp_path / "held")
    assert torch.allclose(weights_of(streamed), weights_of(held), atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_captured_and_eager_steps_teach_the_same(tmp_path, monkeypatch, precision, optimizer):
    how = a_training(precision=precision, optimizer=optimizer)
    captured, losses = learn(tmp_path / "captured", how=how)
    monkeypatch.setattr("diascope.training.gradient_step.N_EAGER", 10**6)
    eager, eager_losses = learn(tmp_path / "eager", how=how)
    assert losses == pytest.approx(eager_losses, abs=1e-4)
    assert torch.allclose(weights_of(captured), weights_of(eager), atol=1e-4)


@pytest.mark.gpu
def test_a_gpu_learns_about_what_a_processor_learns(tmp_path, monkeypatch):
    gpu, losses = learn(tmp_path / "gpu")
    monkeypatch.setattr("diascope.training.loop.best_device", lambda: CPU)
    cpu, cpu_losses = learn(tmp_path / "cpu", images=some_images()[0])
    assert losses[0] == pytest.approx(cpu_losses[0], abs=1e-3)
    assert torch.nn.functional.cosine_similarity(weights_of(gpu), weights_of(cpu), dim=0) > 0.99


@pytest.mark.gpu
def test_a_run_on_a_gpu_goes_on_from_its_checkpoint(tmp_path):
    whole, _ = learn(tmp_path / "whole")
    learn(tmp_path / "part", stop_after=1)
    resumed, losses = learn(tmp_path / "part")
    assert len(losses) == 8
    assert torch.allclose(weights_of(whole), weights_of(resumed), atol=1e-4)


class WithDropout(Compact):
    """Drops nearly everything, so that a mask that is used twice shows."""

    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, training=self.training)


@pytest.mark.gpu
def test_each_captured_step_has_a_dropout_mask_of_its_own(tmp_path, monkeypatch):
    captured, losses = learn(tmp_path / "captured", network=WithDropout)
    monkeypatch.setattr("diascope.training.gradient_step.N_EAGER", 10**6)
    _, eager_losses = learn(tmp_path / "eager", network=WithDropout)
    assert losses == pytest.approx(eager_losses, abs=1e-4)
    assert len(set(losses)) > 1
    assert captured.training is False


class LooksAtItsNumbers(Compact):
    """Cannot be captured."""

    def forward(self, x):
        return super().forward(x) * (1 if float(x.detach().mean()) > -(10**6) else 0)


@pytest.mark.gpu
def test_a_network_that_cannot_be_captured_learns_all_the_same(tmp_path):
    module, losses = learn(tmp_path, network=LooksAtItsNumbers)
    assert np.isfinite(losses).all()
    assert torch.isfinite(weights_of(module)).all()


@pytest.mark.gpu
def test_a_step_of_another_size_is_captured_anew():
    torch.manual_seed(0)
    module = nn.Linear(4, 2).to(CUDA)
    rate = torch.tensor(0.1, device=CUDA)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, fused=True, capturable=True)
    ones = torch.ones(2, device=CUDA)
    step = GradientStep(
        module, optimizer, Loss(torch.eye(2, device=CUDA), ones, 0 * ones), precision="fp32"
    )
    x, y = torch.randn(8, 4, device=CUDA), torch.arange(8, device=CUDA) % 2
    losses = [float(step(x[:n], y[:n])) for _ in range(N_EAGER + 30) for n in (8, 7)]
    assert losses[-1] < losses[0]
    assert step.is_captured


@pytest.mark.gpu
def test_scores_of_a_gpu_are_those_of_a_processor():
    torch.manual_seed(0)
    module, x = Compact(2).eval(), torch.rand(8, 3, 64, 64)
    with torch.inference_mode(), full_precision():
        there = module.to(CUDA)(x.to(CUDA)).cpu()
        here = module.to("cpu")(x)
    assert torch.allclose(here, there, atol=1e-4)


def test_what_stands_in_for_a_missing_padding_is_that_padding():
    torch.manual_seed(0)
    images, grid = torch.rand(4, 3, 16, 16), torch.randn(4, 16, 16, 2)
    border = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    assert torch.allclose(sample_with_clamped_grid(images, grid), border, atol=1e-5)
