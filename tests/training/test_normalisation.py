"""Statistics of batch normalisation that fit the weights, and a word where validation is bad."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diascope.models.compact import Compact
from diascope.models.spec import Head
from diascope.models.timm_backbone import timm_model
from diascope.training import normalisation
from diascope.training.inputs import ImageInputs
from diascope.training.loop import Epoch, train_epochs
from diascope.training.normalisation import refresh_statistics
from diascope.training.plan import Augmentation, Training
from diascope.training.validation import below_chance

CPU = torch.device("cpu")
ROWS = np.arange(24)


@pytest.fixture
def inputs():
    images = np.random.default_rng(0).integers(0, 256, (48, 16, 16, 3), np.uint8)
    return ImageInputs(images, (0.5,) * 3, (0.3,) * 3, Augmentation(), seed=0)


def test_scoring_the_rows_measured_is_as_in_training(inputs):
    torch.manual_seed(0)
    network = Compact(2)
    refresh_statistics(network, inputs, [ROWS], precision="fp32")
    x = inputs.to_see(ROWS, CPU)
    with torch.no_grad():
        in_training = network.train()(x)
        momentum = [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        refresh_statistics(network, inputs, [ROWS], precision="fp32")
        scored = network.eval()(x)
    assert torch.allclose(in_training, scored, atol=0.15)  # one divides by n, the other by n - 1
    assert set(momentum) == {0.1}


def test_what_was_there_before_is_forgotten_and_each_batch_counts_alike(inputs):
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3))
    layer = network[0]
    layer.running_mean.fill_(1e6)
    refresh_statistics(network, inputs, [ROWS[:12], ROWS[12:]], precision="fp32")
    wanted = inputs.to_see(ROWS, CPU).mean(dim=(0, 2, 3))
    assert torch.allclose(layer.running_mean, wanted, atol=1e-4)


def test_a_frozen_backbone_keeps_its_statistics():
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    inputs = ImageInputs(images, (0.5,) * 3, (0.3,) * 3, Augmentation(), seed=0)
    network = timm_model("timm:test_efficientnet", Head()).build(2, 32)
    network.freeze()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    refresh_statistics(network, inputs, [np.arange(8)], precision="fp32")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def validated(tmp_path) -> tuple[list[float], list[float]]:
    """Train on few images of many stains, at the usual rate; return validation loss and AUROC."""
    rng = np.random.default_rng(0)
    n_train, n_images = 96, 160
    labels = np.arange(n_images) % 2
    images = rng.integers(0, 100, (n_images, 16, 16, 3)).astype(float)
    images[labels == 1, 4:12, 4:12] += rng.integers(10, 30, (n_images // 2, 1, 1, 3))
    images = (images * rng.uniform(0.5, 1.5, (n_images, 1, 1, 3))).clip(0, 255).astype(np.uint8)
    how = Training(
        max_epochs=8,
        max_steps=0,
        batch_size=32,
        optimizer="muon",
        learning_rate=2e-3,
        weight_decay=0.02,
        schedule="one_cycle",
        label_smoothing=0.1,
        imbalance="none",
        selection="last",
        patience_epochs=0,
        precision="fp32",
    )
    torch.manual_seed(0)
    events = train_epochs(
        Compact(2),
        ImageInputs(images, (0.2,) * 3, (0.1,) * 3, Augmentation(), seed=0),
        labels,
        train=np.arange(n_train),
        val=np.arange(n_train, n_images),
        how=how,
        seed=0,
        checkpoint=tmp_path / "last.safetensors",
    )
    epochs = [event for event in events if isinstance(event, Epoch)]
    return [e.val_loss for e in epochs], [e.val_auroc or 0.0 for e in epochs]


def test_validation_does_not_lag_behind_the_weights(tmp_path, monkeypatch):
    losses, aurocs = validated(tmp_path / "new")
    monkeypatch.setattr(normalisation, "FEW_BATCHES", 0)
    lagging_losses, lagging_aurocs = validated(tmp_path / "lagging")
    assert all(np.array(losses[1:6]) < np.array(lagging_losses[1:6]) - 0.02)
    assert aurocs[0] > lagging_aurocs[0]
    assert aurocs[-1] > lagging_aurocs[-1] - 0.02


def test_epochs_below_chance_are_counted():
    log = [{"val_auroc": value} for value in (0.6, 0.41, None, 0.3, 0.5)]
    note = below_chance(log)
    assert note is not None
    assert "after 2 of 5 epochs (lowest 0.300)" in note
    assert below_chance(log[:1]) is None
