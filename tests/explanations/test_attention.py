"""Attention rollout: against a loop written by hand, and refused where it cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn.networks import draw_bundle, draw_images, draw_network

from diascope.errors import SettingsError
from diascope.explanations.attention import rollout
from diascope.explanations.heat_maps import Explainer
from diascope.explanations.layers import default_layer

TWO_BLOCKS = {"depth": 2, "img_size": 64}


def drawn(name, size_px=64, smaller=TWO_BLOCKS):
    network = draw_network(name, size_px=size_px, **smaller)
    x = draw_bundle(network, size_px=size_px).to_input(draw_images(2, size_px))
    return network, x, default_layer(network, x)


def attention_by_hand(network, x):
    """Return what block by block timm computes without its fused attention, (B, heads, N, N)."""
    seen, handles = [], []
    for block in network.backbone.blocks:
        block.attn.fused_attn = False
        hook = lambda _module, inputs: seen.append(inputs[0].detach())  # noqa: E731
        handles.append(block.attn.attn_drop.register_forward_pre_hook(hook))
    network(x)
    for handle, block in zip(handles, network.backbone.blocks, strict=True):
        handle.remove()
        block.attn.fused_attn = True
    return seen


@pytest.mark.parametrize(
    ("name", "n_prefix", "classified"),
    [
        ("timm:vit_tiny_patch16_224", 1, [0]),
        ("timm:deit_tiny_distilled_patch16_224", 2, [0, 1]),
        ("timm:deit3_small_patch16_224", 1, [0]),
        ("timm:beit_base_patch16_224", 1, range(1, 17)),  # the mean of its places
        ("timm:eva02_tiny_patch14_224", 1, range(1, 17)),
    ],
)
def test_rollout_equals_a_loop_written_by_hand(name, n_prefix, classified):
    side = 56 if "patch14" in name else 64
    network, x, layer = drawn(name, side, {"depth": 2, "img_size": side})
    assert layer.n_prefix == n_prefix
    n_tokens = n_prefix + 16
    wanted = []
    first, second = attention_by_hand(network, x)
    for one, two in zip(first.mean(dim=1), second.mean(dim=1), strict=True):
        stays = np.eye(n_tokens)
        flow = (two.numpy() / 2 + stays / 2) @ (one.numpy() / 2 + stays / 2)
        assert np.allclose(flow.sum(axis=1), 1, atol=1e-5)
        row = np.mean([flow[k] for k in classified], axis=0)
        wanted.append(row[n_prefix:].reshape(4, 4))
    found = rollout(network, x, layer).numpy()
    assert np.abs(found - wanted).max() < 1e-6
    assert found.std() > 0


def test_what_arrives_in_a_token_adds_up_to_one():
    network, x, layer = drawn("timm:vit_base_patch16_clip_224", 64, TWO_BLOCKS)
    arrived = rollout(network, x, layer).sum(dim=(1, 2))
    assert ((arrived > 0) & (arrived < 1)).all()  # the rest comes from the class token
    mean_of_places = draw_network(
        "timm:vit_base_patch16_224", size_px=64, **TWO_BLOCKS, class_token=False, global_pool="avg"
    )
    layer = default_layer(mean_of_places, x)
    assert layer.n_prefix == 0
    assert torch.allclose(rollout(mean_of_places, x, layer).sum(dim=(1, 2)), torch.ones(2))


def test_the_map_is_the_same_for_every_class():
    network = draw_network("timm:vit_tiny_patch16_224", size_px=64, **TWO_BLOCKS)
    explainer = Explainer.of(draw_bundle(network, size_px=64), "attention-rollout")
    images = draw_images(1, 64)
    first, second = (explainer.evidence(images, np.array([k])) for k in (0, 1))
    assert np.array_equal(first, second)
    assert (first >= 0).all()


@pytest.mark.parametrize(
    ("name", "size_px", "smaller"),
    [
        ("compact", 64, {}),
        ("timm:swin_tiny_patch4_window7_224", 224, {"depths": (1, 1, 1, 1)}),
        ("timm:xcit_nano_12_p16_224", 224, {"depth": 1}),  # attention between channels
        ("timm:cait_xxs24_224", 224, {"depth": 1}),  # heads are mixed
        ("timm:mixer_s32_224", 224, {}),
        ("timm:test_maxvit", 160, {}),
        ("timm:pit_ti_224", 224, {"depth": (1, 1, 1)}),  # the number of tokens falls
    ],
)
def test_other_networks_are_refused_in_words(name, size_px, smaller):
    bundle = draw_bundle(draw_network(name, size_px=size_px, **smaller), size_px=size_px)
    with pytest.raises(SettingsError, match="attention of this network cannot be read"):
        Explainer.of(bundle, "attention-rollout")


def test_attention_that_is_computed_in_another_way_is_refused():
    network, x, layer = drawn("timm:vit_tiny_patch16_224")
    network.backbone.blocks[0].attn.fused_attn = False
    with pytest.raises(SettingsError, match="attention of this network cannot be read"):
        rollout(network, x, layer)
