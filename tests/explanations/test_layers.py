"""Layers that keep places are found, read unchanged, and named in messages."""

from __future__ import annotations

import pytest
import torch
from drawn.networks import draw_bundle, draw_images, draw_network
from torch import nn

from diascope.errors import SettingsError
from diascope.explanations.layers import (
    Layer,
    default_layer,
    find_layers,
    named_layer,
    networks_of,
    read_layers,
)
from diascope.models.ensemble import Ensemble, Member


def noise(n_images=2, side=64):
    return torch.randn(n_images, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "size_px", "smaller", "wanted"),
    [
        ("compact", 64, {}, Layer("body.5", "maps", 128, 8)),
        ("reference_cnn", 64, {}, Layer("relu3", "maps", 128, 12)),
        ("timm:resnet10t", 224, {}, Layer("backbone.layer4", "maps", 512, 7)),
        ("timm:resnet10t", 64, {}, Layer("backbone.layer2", "maps", 128, 8)),
        (  # the stage itself is followed by a normalisation, which hides what it says
            "timm:convnext_atto",
            64,
            {"depths": (1, 2, 2, 1)},
            Layer("backbone.stages.2.downsample.0", "maps", 80, 8),
        ),
        (
            "timm:swin_tiny_patch4_window7_224",
            224,
            {"depths": (1, 1, 1, 1)},
            Layer("backbone.norm", "maps_last", 768, 7),
        ),
        (  # behind it the places have no say: only the class token has
            "timm:vit_tiny_patch16_224",
            224,
            {"depth": 2},
            Layer("backbone.blocks.1.norm1", "tokens", 192, 14, 1),
        ),
        (
            "timm:deit_tiny_distilled_patch16_224",
            224,
            {"depth": 2},
            Layer("backbone.blocks.1.norm1", "tokens", 192, 14, 2),
        ),
    ],
)
def test_the_last_layer_that_has_a_say_is_the_default(name, size_px, smaller, wanted):
    network = draw_network(name, size_px=size_px, **smaller)
    assert default_layer(network, noise(side=size_px)) == wanted


def test_layers_are_listed_in_the_order_in_which_they_run():
    network = draw_network("compact", size_px=64)
    found = find_layers(network, noise())
    sides = [layer.side for layer in found]
    assert sides == sorted(sides, reverse=True)
    names = [layer.name for layer in found]
    assert len(set(names)) == len(names)
    assert names[0] == "stem.0"
    assert names[-1] == "body"
    assert {"body.7", "head"}.isdisjoint(names)  # body.7 gives what body gives


def test_maps_have_one_form_whatever_the_layer_gives():
    places = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    last = places.permute(0, 2, 3, 1)
    tokens = torch.cat([torch.full((2, 2, 3), -1.0), last.flatten(1, 2)], dim=1)
    assert torch.equal(Layer("", "maps", 3, 4).maps(places), places)
    assert torch.equal(Layer("", "maps_last", 3, 4).maps(last), places)
    assert torch.equal(Layer("", "tokens", 3, 4, 2).maps(tokens), places)


def test_what_is_read_was_not_changed_by_a_layer_that_works_in_place():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2)
    )
    x = noise(side=8)
    network(x)
    layer = named_layer(network, x, "0")
    logits, (output,) = read_layers(network, x, [layer])
    assert (output < 0).any()
    assert torch.equal(output, network[0](x))
    assert torch.equal(logits, network(x))


@pytest.mark.parametrize(
    ("name", "problem", "near"),
    [
        ("body.9", "no layer 'body.9'", "body."),
        ("boby.5", "no layer 'boby.5'", "body.5"),
        ("head", "'head' gives no maps", "body"),
        ("", "no layer ''", "body"),
    ],
)
def test_an_unknown_layer_is_answered_with_near_names(name, problem, near):
    network = draw_network("compact", size_px=64)
    with pytest.raises(SettingsError, match=problem) as caught:
        named_layer(network, noise(), name)
    assert near in caught.value.fix
    assert caught.value.where == "--layer"


def test_every_layer_with_maps_can_be_named_also_one_that_is_not_listed():
    network = draw_network("timm:resnet10t", size_px=64)
    listed = {layer.name for layer in find_layers(network, noise())}
    assert "backbone.layer2.0" not in listed  # the same as backbone.layer2
    assert named_layer(network, noise(), "backbone.layer2.0").side == 8


def test_a_network_without_places_is_said_to_have_none():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5), nn.ReLU(), nn.Linear(5, 3))
    assert find_layers(network, noise(side=8)) == []
    with pytest.raises(SettingsError, match="No layer of this network keeps places") as caught:
        default_layer(network, noise(side=8))
    assert "occlusion or integrated-gradients" in caught.value.fix


def test_the_networks_of_an_ensemble_take_what_the_bundle_gives():
    parts = [draw_network("compact", size_px=32, seed=seed) for seed in range(2)]
    members = [Member(part, (0.5,) * 3, (0.25,) * 3) for part in parts]
    bundle = draw_bundle(Ensemble(members), size_px=32, members=2, mean=(0.0,) * 3, std=(1.0,) * 3)
    x = bundle.to_input(draw_images(2, 32))
    assert networks_of(bundle) == members
    mean = torch.stack([network(x) for network in networks_of(bundle)]).mean(dim=0)
    assert torch.equal(mean, bundle.module(x))
