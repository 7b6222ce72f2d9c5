"""What must hold for heat maps of any method, and what is said where there are none."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from drawn.networks import CLASSES, as_if_trained, draw_bundle, draw_images, draw_network
from torch import nn

from diascope.bundle.preprocess import dihedral, undo_dihedral
from diascope.errors import DataError, SettingsError, UnknownNameError
from diascope.explanations import heat_maps as heat_maps_module
from diascope.explanations import perturbed
from diascope.explanations.cams import grad_cam, hires_cam
from diascope.explanations.heat_maps import (
    CAMS,
    DEFAULT_METHODS,
    METHODS,
    OF_PIXELS,
    ROLLOUT,
    Explainer,
    heat_maps,
    predicted,
)
from diascope.explanations.layers import named_layer
from diascope.explanations.perturbed import blurred, windows_in_a_row
from diascope.explanations.scores import centred_logits
from diascope.models.ensemble import Ensemble, Member

SIDE = 32
OF_ANY = (*CAMS, *OF_PIXELS)
PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
VIT = ("timm:vit_tiny_patch16_224", {"depth": 2, "img_size": SIDE})


@pytest.fixture(scope="module")
def network():
    return draw_network("compact", size_px=SIDE)


def evidence(module, method, images, targets, **facts):
    bundle = draw_bundle(module, size_px=images.shape[1], **facts)
    return Explainer.of(bundle, method).evidence(images, np.asarray(targets))


def assert_close(found, wanted, tolerance=1e-5):
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 0
    assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()


# What is computed


@pytest.mark.parametrize(
    ("name", "n_steps", "tolerance"),
    [("compact", 256, 0.03), ("timm:convnext_atto", 32, 0.05)],
)
def test_integrated_gradients_add_up_to_the_change_of_the_score(
    name, n_steps, tolerance, monkeypatch
):
    """With as few steps as there are by default, only where the network is smooth."""
    monkeypatch.setattr(perturbed, "STEPS", n_steps)
    drawn = draw_network(name, size_px=SIDE)
    x = draw_bundle(drawn, size_px=SIDE).to_input(draw_images(3, SIDE))
    targets = torch.tensor([0, 1, 2])
    found = perturbed.integrated_gradients(drawn, x, targets).sum(dim=(1, 2))
    with torch.no_grad():
        before = centred_logits(drawn(blurred(x)), targets)
        after = centred_logits(drawn(x), targets)
    assert (after - before).abs().min() > 0
    assert (found - (after - before)).abs().max() < tolerance * (after - before).abs().max()


def test_grad_cam_and_hires_cam_agree_before_global_average_pooling():
    """Draelos & Carin 2020, arXiv:2011.08891: there the gradient is the same at all places."""
    drawn = draw_network("timm:resnet10t", size_px=64)
    x = draw_bundle(drawn, size_px=64).to_input(draw_images(2, 64))
    last, earlier = (named_layer(drawn, x, f"backbone.layer{k}") for k in (4, 3))
    targets = torch.tensor([0, 2])
    first, second = (cam(drawn, x, targets, last).numpy() for cam in (grad_cam, hires_cam))
    assert_close(first, second)
    first, second = (cam(drawn, x, targets, earlier).numpy() for cam in (grad_cam, hires_cam))
    assert np.abs(first - second).max() > 0.1 * np.abs(second).max()


@pytest.mark.parametrize("method", OF_ANY)
def test_maps_are_averaged_over_views_turned_back(network, method):
    images, targets = draw_images(1, SIDE), [1]
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    each = []
    for view in range(8):
        turned = dihedral(planes, view).permute(0, 2, 3, 1).contiguous().numpy()
        found = torch.from_numpy(evidence(network, method, turned, targets))
        each.append(undo_dihedral(found, view).numpy())
    assert np.ptp(each, axis=0).max() > 0.01 * np.abs(each).max()
    assert_close(evidence(network, method, images, targets, views=8), np.mean(each, axis=0))


@pytest.mark.parametrize("method", OF_ANY)
def test_the_map_of_an_ensemble_is_the_mean_of_its_members(method):
    parts = [draw_network("compact", size_px=SIDE, seed=seed) for seed in range(2)]
    scales = [((0.5,) * 3, (0.25,) * 3), ((0.4,) * 3, (0.3,) * 3)]
    images, targets = draw_images(2, SIDE), [0, 2]
    each = [
        evidence(part, method, images, targets, mean=mean, std=std)
        for part, (mean, std) in zip(parts, scales, strict=True)
    ]
    if method in {"score-cam", *OF_PIXELS}:  # in these the normalisation is outside of the method
        each = [
            evidence(Member(part, *how), method, images, targets, **PLAIN)
            for part, how in zip(parts, scales, strict=True)
        ]
    joined = Ensemble([Member(part, *how) for part, how in zip(parts, scales, strict=True)])
    found = evidence(joined, method, images, targets, members=2, **PLAIN)
    assert_close(found, np.mean(each, axis=0))


@pytest.mark.parametrize("method", OF_ANY)
def test_a_number_added_to_all_logits_changes_no_map(network, method):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = copy.deepcopy(network)

        def forward(self, x):
            return self.network(x) + 3 * x[:, :1].mean(dim=(2, 3))

    images, targets = draw_images(2, SIDE), [0, 2]
    wanted = evidence(network, method, images, targets)
    assert_close(evidence(Shifted(), method, images, targets), wanted, 1e-3)


@pytest.mark.parametrize("method", OF_ANY)
def test_relu_in_place_changes_no_map(network, method):
    other = copy.deepcopy(network)
    changed = [m for m in other.modules() if isinstance(m, nn.ReLU) and m.inplace]
    assert changed
    for module in changed:
        module.inplace = False
    images, targets = draw_images(2, SIDE), [0, 2]
    wanted = evidence(other, method, images, targets)
    assert np.array_equal(evidence(network, method, images, targets), wanted)


@pytest.mark.parametrize("method", OF_ANY)
def test_a_frozen_backbone_is_explained_as_any_other(method):
    drawn = draw_network("timm:test_resnet", size_px=SIDE)
    images, targets = draw_images(2, SIDE), [0, 2]
    wanted = evidence(drawn, method, images, targets)
    drawn.freeze()
    drawn.requires_grad_(requires_grad=False)
    assert np.array_equal(evidence(drawn, method, images, targets), wanted)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_same_one_by_one_and_again(method, monkeypatch):
    name, smaller = VIT if method == ROLLOUT else ("compact", {})
    bundle = draw_bundle(draw_network(name, size_px=SIDE, **smaller), size_px=SIDE)
    explainer = Explainer.of(bundle, method)
    images, targets = draw_images(5, SIDE), np.array([0, 1, 2, 0, 1])
    together = explainer.evidence(images, targets)
    assert np.array_equal(explainer.evidence(images, targets), together)
    one_by_one = [explainer.evidence(images[k : k + 1], targets[k : k + 1]) for k in range(5)]
    assert_close(np.concatenate(one_by_one), together)
    monkeypatch.setattr(heat_maps_module, "BATCH_SIZE", 2)
    assert_close(explainer.evidence(images, targets), together)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_left_as_it_was(method):
    name, smaller = VIT if method == ROLLOUT else ("compact", {})
    drawn = draw_network(name, size_px=SIDE, **smaller)
    bundle = draw_bundle(drawn, size_px=SIDE)
    before = copy.deepcopy(drawn.state_dict())
    bundle.module.requires_grad_(requires_grad=True)
    heat_maps(bundle, draw_images(2, SIDE), method=method)
    assert all(torch.equal(tensor, before[key]) for key, tensor in drawn.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in drawn.parameters())
    for module in drawn.modules():
        assert not module.training
        hooks = [module._forward_hooks, module._forward_pre_hooks, module._backward_hooks]
        assert not any(hooks)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_maps_are_the_same_where_gradients_are_off(method, context):
    name, smaller = VIT if method == ROLLOUT else ("compact", {})
    bundle = draw_bundle(draw_network(name, size_px=SIDE, **smaller), size_px=SIDE)
    images = draw_images(2, SIDE)
    wanted = heat_maps(bundle, images, method=method).maps
    with context():
        found = heat_maps(bundle, images, method=method).maps
    assert np.array_equal(found, wanted)
    assert wanted.dtype == np.float32
    assert wanted.min() >= 0


# Where the truth is known


class OneQuadrant(nn.Module):
    """Sees nothing but the upper left quadrant, before or after its only convolution."""

    def __init__(self, *, is_blind_before):
        super().__init__()
        self.is_blind_before = is_blind_before
        self.convolution = nn.Conv2d(3, 8, 1, bias=False)
        self.head = nn.Linear(8, len(CLASSES))

    def seen(self, x):
        half = x.shape[-1] // 2
        mask = torch.zeros_like(x)
        mask[..., :half, :half] = 1
        return x * mask

    def forward(self, x):
        if self.is_blind_before:
            maps = self.convolution(self.seen(x)).relu()
        else:
            maps = self.seen(self.convolution(x).relu())
        return self.head((maps**2).mean(dim=(2, 3)))


def fraction_inside(method, *, is_blind_before):
    torch.manual_seed(0)
    drawn = as_if_trained(OneQuadrant(is_blind_before=is_blind_before), size_px=64)
    found = np.abs(evidence(drawn, method, draw_images(4, 64), [0, 1, 2, 0]))
    assert (found.sum(axis=(1, 2)) > 0).all()
    half = 32 + (8 if method == "occlusion" else 6 if method == "integrated-gradients" else 0)
    far = found.copy()
    far[:, :half, :half] = 0
    assert far.max() <= 1e-6 * found.max()  # but for windows and the blur, which reach over
    return (found[:, :32, :32].sum(axis=(1, 2)) / found.sum(axis=(1, 2))).min()


@pytest.mark.parametrize("method", OF_ANY)
def test_all_evidence_lies_where_the_network_looks(method):
    least = 0.75 if method == "occlusion" else 0.9 if method == "integrated-gradients" else 0.9999
    assert fraction_inside(method, is_blind_before=True) > least


@pytest.mark.parametrize("method", ["hires-cam", *OF_PIXELS])
def test_these_methods_show_no_place_that_is_not_used_behind_the_layer(method):
    least = 0.75 if method == "occlusion" else 0.9 if method == "integrated-gradients" else 0.9999
    assert fraction_inside(method, is_blind_before=False) > least


# What is said


def test_an_unknown_method_is_answered_with_the_nearest(network):
    with pytest.raises(UnknownNameError, match="Did you mean 'grad-cam'"):
        heat_maps(draw_bundle(network, size_px=SIDE), draw_images(1, SIDE), method="gradcam")


def test_a_layer_is_named_or_refused(network):
    bundle, images = draw_bundle(network, size_px=SIDE), draw_images(1, SIDE)
    found = heat_maps(bundle, images, method="grad-cam", layer="body.2")
    assert (found.layer, found.side, found.method) == ("body.2", 8, "grad-cam")
    with pytest.raises(SettingsError, match=r"no layer 'boby\.2'"):
        heat_maps(bundle, images, method="grad-cam", layer="boby.2")
    with pytest.raises(SettingsError, match="explains pixels, and takes no layer"):
        heat_maps(bundle, images, method="occlusion", layer="body.2")


@pytest.mark.parametrize(
    "targets",
    [[3], [-1], [0, 1], [0.0], ["a"], [True], 0, [[0]], [float("nan")], []],
    ids=str,
)
def test_targets_that_are_no_class_are_refused(network, targets):
    with pytest.raises(SettingsError, match="not one class index, 0 to 2, for each image"):
        heat_maps(draw_bundle(network, size_px=SIDE), draw_images(1, SIDE), targets=targets)


@pytest.mark.parametrize(
    "images",
    [
        draw_images(1, 40),
        draw_images(1, SIDE)[0],
        draw_images(1, SIDE)[..., :1],
        draw_images(1, SIDE) / np.float32(255),
        draw_images(1, SIDE).transpose(0, 3, 1, 2),
    ],
    ids=["size", "one", "grey", "float", "channels first"],
)
def test_images_that_the_network_does_not_take_are_refused(network, images):
    with pytest.raises(DataError, match=r"not uint8 \(N, 32, 32, 3\)"):
        heat_maps(draw_bundle(network, size_px=SIDE), images)


def test_the_predicted_class_is_explained_unless_another_is_named(network):
    bundle, images = draw_bundle(network, size_px=SIDE), draw_images(6, SIDE)
    found = heat_maps(bundle, images)
    assert np.array_equal(found.targets, predicted(bundle, images))
    others = heat_maps(bundle, images, targets=(found.targets + 1) % 3)
    assert not np.allclose(others.maps, found.maps)


@pytest.mark.parametrize("method", METHODS)
def test_no_images_give_no_maps(method):
    name, smaller = VIT if method == ROLLOUT else ("compact", {})
    bundle = draw_bundle(draw_network(name, size_px=SIDE, **smaller), size_px=SIDE)
    for targets in (None, []):
        found = heat_maps(bundle, draw_images(0, SIDE), method=method, targets=targets)
        assert found.maps.shape == (0, SIDE, SIDE)
        assert found.targets.shape == (0,)


def test_without_layers_that_keep_places_two_methods_are_left():
    torch.manual_seed(0)
    drawn = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.GELU(), nn.Linear(8, 3))
    bundle, images = draw_bundle(drawn.eval(), size_px=16), draw_images(2, 16)
    for method in (*CAMS, ROLLOUT):
        with pytest.raises(SettingsError, match="No layer of this network keeps places") as caught:
            heat_maps(bundle, images, method=method)
        assert all(other in caught.value.fix for other in OF_PIXELS)
    for method in OF_PIXELS:
        found = heat_maps(bundle, images, method=method)
        assert found.layer == ""
        assert (found.maps.std(axis=(1, 2)) > 0).all()


@pytest.mark.parametrize("size_px", [8, 12, 16, 50, 64, 224])
def test_no_map_is_said_to_tell_more_places_apart_than_it_can(network, size_px):
    bundle = draw_bundle(network, size_px=size_px)
    width, starts = windows_in_a_row(size_px)
    assert Explainer(bundle, "occlusion", None).side == len(starts) <= size_px
    assert {k for start in starts for k in range(start, start + width)} == set(range(size_px))
    assert Explainer(bundle, "integrated-gradients", None).side == min(16, size_px)


def test_the_methods_of_a_page_are_methods():
    assert set(DEFAULT_METHODS) < set(METHODS)
    assert len(set(METHODS)) == len(METHODS)
