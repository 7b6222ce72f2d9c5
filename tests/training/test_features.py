"""The features of a frozen backbone: the file of numpy, though written a batch at a time."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from diascope.bundle.preprocess import dihedral, normalise, to_unit
from diascope.models.spec import Head
from diascope.training.features import BATCH_SIZE, frozen_features

MEAN, STD = (0.5,) * 3, (0.3,) * 3


@pytest.mark.parametrize("n_images", [1, BATCH_SIZE, 2 * BATCH_SIZE + 3])
def test_the_file_is_that_of_all_features_at_once(n_images, tmp_path):
    pytest.importorskip("timm")
    from diascope.models.timm_backbone import timm_model

    torch.manual_seed(0)
    module = timm_model("timm:test_efficientnet", Head(dropout=0.0)).build(2, 32)
    images = np.random.default_rng(0).integers(0, 256, (n_images, 32, 32, 3), np.uint8)
    found = frozen_features(
        module, images, mean=MEAN, std=STD, views=3, made_of={}, folder=tmp_path
    )
    parts = []
    with torch.inference_mode():
        for start in range(0, n_images, BATCH_SIZE):
            x = normalise(to_unit(torch.from_numpy(images[start : start + BATCH_SIZE])), MEAN, STD)
            parts.append(torch.stack([module.features(dihedral(x, view)) for view in range(3)]))
    whole = io.BytesIO()
    np.save(whole, torch.cat(parts, dim=1).numpy())
    assert found.shape[:2] == (3, n_images)
    assert next(tmp_path.rglob("features.npy")).read_bytes() == whole.getvalue()
