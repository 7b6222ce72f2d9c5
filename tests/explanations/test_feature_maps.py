"""Feature maps: of the first convolution, and of every stage of a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from drawn.run_folders import BINARY
from drawn.run_folders import bundle as draw_bundle

from diascope.bundle.bundle import Bundle
from diascope.explanations.feature_maps import activity, stage_layers, stage_maps
from diascope.models.ensemble import Ensemble, Member

RNG = np.random.default_rng(3)


def image_of(side):
    return RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)


def of_timm(name, size_px):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=2)
    modules = network.named_modules()
    first = next(name for name, one in modules if isinstance(one, torch.nn.Conv2d))
    card = draw_bundle(BINARY, BINARY[1]).card
    return Bundle(card.model_copy(update={"size_px": size_px, "first_layer": first}), network)


def test_a_stage_ends_with_the_last_layer_of_each_resolution():
    layers = stage_layers(draw_bundle(BINARY, BINARY[1]))
    found = [(layer.name, layer.side) for layer in layers]
    assert found == [("stem.0", 16), ("body.0", 16), ("body.3", 8), ("body.5", 4), ("body", 2)]


@pytest.mark.parametrize(
    ("name", "size_px", "expected"),
    [
        ("resnet10t", 64, ["conv1.0", "act1", "layer1", "layer2", "layer3", "layer4"]),
        ("convnext_atto", 64, ["stem.0", "stages.0", "stages.1", "stages.2", "stages"]),
        (
            "vit_tiny_patch16_224",
            224,
            ["patch_embed.proj", "blocks.0", "blocks.4", "blocks.7", "blocks"],
        ),
    ],
)
def test_networks_of_timm_have_their_stages_and_transformers_four_blocks(name, size_px, expected):
    bundle = of_timm(name, size_px)
    layers = stage_layers(bundle)
    assert [layer.name for layer in layers] == expected
    stages = stage_maps(bundle, image_of(size_px), layers)
    assert all(np.isfinite(stage.maps).all() for stage in stages)
    assert all(np.ptp(stage.maps) > 0 for stage in stages)


def test_the_maps_are_those_that_the_layers_give_and_the_most_active_come_first():
    bundle = draw_bundle(BINARY, BINARY[1])
    image = image_of(32)
    layers = stage_layers(bundle)
    stages = stage_maps(bundle, image, layers)
    x = bundle.to_input(image[np.newaxis])
    with torch.no_grad():
        first = bundle.module.stem[0](x)[0].numpy()
        last = bundle.module.body(bundle.module.stem(x))[0].numpy()
    assert np.array_equal(stages[0].channels, np.arange(len(first)))
    assert np.allclose(stages[0].maps, first, atol=1e-6)
    assert sorted(stages[-1].channels.tolist()) == list(range(len(last)))
    assert np.allclose(stages[-1].maps, last[stages[-1].channels], atol=1e-5)
    found = activity(stages[-1].maps)
    assert np.all(np.diff(found) <= 1e-6)
    assert found[0] > found[-1]


def test_all_stages_are_read_in_one_pass(monkeypatch):
    bundle = draw_bundle(BINARY, BINARY[1])
    layers = stage_layers(bundle)
    passes = []
    bundle.module.stem.register_forward_hook(lambda *_: passes.append(1))
    stage_maps(bundle, image_of(32), layers)
    assert len(passes) == 1


def test_of_an_ensemble_the_first_member_is_shown():
    one, other = (draw_bundle(BINARY, BINARY[1]) for _ in range(2))
    torch.nn.init.zeros_(other.module.stem[0].weight)
    members = [Member(each.module, each.card.mean, each.card.std) for each in (one, other)]
    update = {
        "members": 2,
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
        "first_layer": "members.0.network.stem.0",
    }
    joined = Bundle(one.card.model_copy(update=update), Ensemble(members))
    image = image_of(32)
    layers = stage_layers(joined)
    assert layers[0].name == "network.stem.0"
    alone = stage_maps(one, image, stage_layers(one))
    together = stage_maps(joined, image, layers)
    for mine, shown in zip(alone, together, strict=True):
        assert np.allclose(mine.maps, shown.maps, atol=1e-4)


def test_a_network_without_maps_has_no_stages():
    bundle = draw_bundle(BINARY, BINARY[1])
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    assert stage_layers(replace(bundle, module=flat)) == []
    assert stage_maps(bundle, image_of(32), []) == []
