"""The filters of the first layer: what they look like, and the patches that they respond to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn.run_folders import BINARY, bundle
from torch import nn

from diascope.bundle.bundle import Bundle
from diascope.explanations.filters import FirstLayer, first_layer_filters

SIDE = 32


def network_of(first: nn.Module, *others: nn.Module) -> Bundle:
    module = nn.Sequential(first, *others, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2))
    module.eval()(torch.zeros(1, 3, SIDE, SIDE))  # the lazy layers get their sizes
    found = bundle(BINARY, "parasitized")
    return replace(found, module=module, card=found.card.model_copy(update={"first_layer": "0"}))


def with_weights(*kernels, **options) -> nn.Conv2d:
    """Return a convolution of kernels (k, k), the same for each colour."""
    weight = torch.tensor(np.array(kernels), dtype=torch.float32)[:, None].repeat(1, 3, 1, 1)
    layer = nn.Conv2d(3, len(kernels), weight.shape[-1], bias=False, **options)
    layer.weight.data = weight
    return layer


FALLING = [[1, 1, -1, -1]] * 4  # bright on the left


def found_in(network: Bundle, images, groups=None) -> FirstLayer:
    found = first_layer_filters(network, images, groups or [str(n) for n in range(len(images))])
    assert found is not None
    return found


def flat_images(n: int) -> np.ndarray:
    return np.full((n, SIDE, SIDE, 3), 100, np.uint8)


@pytest.mark.parametrize("options", [{}, {"padding": 2}, {"stride": 2, "padding": 1}])
def test_a_filter_for_an_edge_gets_the_patches_with_the_edge(options):
    images = flat_images(20)
    edges = {3: 10, 8: 18, 15: 24}
    for number, column in edges.items():
        images[number, :, :column] = 160
        images[number, :, column:] = 40
    layer = found_in(network_of(with_weights(FALLING, **options)), images)
    best = layer.filters[0].patches[:3]
    assert {one.number for one in best} == set(edges)
    for one in best:
        assert abs(one.left + 2 - edges[one.number]) <= options.get("stride", 1) // 2
        patch = images[one.number, one.top : one.top + 4, one.left : one.left + 4]
        assert patch.shape == (4, 4, 3)
        assert patch[:, 0].min() > patch[:, -1].max()


def test_the_response_is_that_of_the_patch():
    images = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    torch.manual_seed(0)
    network = network_of(nn.Conv2d(3, 5, 3, stride=2, padding=1))
    layer = found_in(network, images)
    weight, bias = network.module[0].weight, network.module[0].bias
    for one in layer.filters:
        for patch in one.patches:
            pixels = images[patch.number, patch.top : patch.top + 3, patch.left : patch.left + 3]
            seen = (torch.tensor(pixels).permute(2, 0, 1) / 255 - 0.5) / 0.2
            response = (seen * weight[one.number]).sum() + bias[one.number]
            assert float(response.detach()) == pytest.approx(patch.response, abs=1e-4)


@pytest.mark.parametrize("kernel", [FALLING, np.transpose(FALLING).tolist()])
def test_patches_lie_within_the_image_where_the_padding_would_win(kernel):
    images = np.full((4, SIDE, SIDE, 3), 255, np.uint8)
    images[:, 20:22, 20:22] = 250
    layer = found_in(network_of(with_weights(kernel, padding=3)), images)
    assert all(
        0 <= start <= SIDE - 4
        for patch in layer.filters[0].patches
        for start in (patch.top, patch.left)
    )


def test_patches_are_of_as_many_groups_as_possible():
    images = flat_images(12)
    for number in range(12):
        images[number, :, :16] = 110 + 5 * number
    groups = ["one"] * 9 + ["two", "three", "four"]
    patches = found_in(network_of(with_weights(FALLING)), images, groups).filters[0].patches
    assert [one.number for one in patches] == [11, 10, 9, 8, 7, 6, 5, 4]
    groups = ["four", "three", "two"] + ["one"] * 9
    patches = found_in(network_of(with_weights(FALLING)), images, groups).filters[0].patches
    assert [one.number for one in patches] == [11, 2, 1, 0, 10, 9, 8, 7]


def test_a_filter_that_batch_normalisation_turns_is_shown_turned():
    images = flat_images(10)
    images[4, :, :16], images[4, :, 16:] = 160, 40  # falling
    images[7, :, :16], images[7, :, 16:] = 40, 160  # rising
    normalisation = nn.BatchNorm2d(1)
    layer = found_in(network_of(with_weights(FALLING), normalisation), images)
    assert layer.filters[0].patches[0].number == 4
    assert layer.filters[0].picture[0].tolist() == [[255] * 3] * 2 + [[0] * 3] * 2
    normalisation.weight.data.fill_(-1)
    turned = found_in(network_of(with_weights(FALLING), normalisation), images)
    assert turned.filters[0].patches[0].number == 7
    assert turned.filters[0].picture[0].tolist() == [[0] * 3] * 2 + [[255] * 3] * 2


def test_the_most_varied_filters_come_first_and_dead_ones_are_left_out():
    images = np.random.default_rng(0).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    weak, dead = (np.array(FALLING) / 100).tolist(), np.zeros((4, 4)).tolist()
    layer = found_in(network_of(with_weights(weak, dead, FALLING)), images)
    assert [one.number for one in layer.filters] == [2, 0]
    assert layer.n_filters == 3
    assert layer.field_px == (4, 4)


def test_a_dilated_filter_sees_more_than_its_weights():
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    assert found_in(network_of(nn.Conv2d(3, 2, 3, dilation=4)), images).field_px == (9, 9)


def test_the_patch_embedding_of_a_transformer_is_a_first_layer():
    import timm

    torch.manual_seed(0)
    found = bundle(BINARY, "parasitized")
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=SIDE, num_classes=2, pretrained=False, depth=1
    )
    card = found.card.model_copy(update={"first_layer": "patch_embed.proj"})
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    layer = found_in(replace(found, module=vit, card=card), images)
    assert layer.field_px == (16, 16)
    assert {(one.top % 16, one.left % 16) for one in layer.filters[0].patches} == {(0, 0)}


def test_padding_as_in_tensorflow_is_known():
    import timm

    torch.manual_seed(0)
    found = bundle(BINARY, "parasitized")
    net = timm.create_model("tf_mobilenetv3_small_minimal_100", num_classes=2, pretrained=False)
    card = found.card.model_copy(update={"first_layer": "conv_stem"})
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    layer = found_in(replace(found, module=net.eval(), card=card), images)
    weight = net.conv_stem.weight.detach()
    for one in layer.filters[:4]:
        patch = one.patches[0]
        pixels = images[patch.number, patch.top : patch.top + 3, patch.left : patch.left + 3]
        seen = (torch.tensor(pixels).permute(2, 0, 1) / 255 - 0.5) / 0.2
        assert float((seen * weight[one.number]).sum().abs()) == pytest.approx(
            abs(patch.response), abs=1e-4
        )


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(48), nn.Unflatten(1, (3, 4, 4))), "linear"),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3)), "not RGB"),
        (nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3)), "of a smaller image"),
    ],
)
def test_a_first_layer_that_is_no_convolution_of_the_image_has_no_filters(first, why):
    network = network_of(first)
    name = "0.1"
    network = replace(network, card=network.card.model_copy(update={"first_layer": name}))
    assert first_layer_filters(network, flat_images(2), ["a", "b"]) is None, why


def test_the_module_is_left_as_it_was_found():
    network = network_of(with_weights(FALLING), nn.BatchNorm2d(1))
    first_layer_filters(network, flat_images(3), ["a", "b", "c"])
    for module in network.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
