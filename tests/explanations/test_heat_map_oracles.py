"""The methods against captum and pytorch-grad-cam, on five networks with noise in every tensor."""

from __future__ import annotations

import copy
from functools import cache
from unittest import mock

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, LayerGradientXActivation, Occlusion
from drawn.networks import draw_bundle, draw_images, draw_network
from pytorch_grad_cam import GradCAM, HiResCAM, ScoreCAM
from pytorch_grad_cam import score_cam as score_cam_module
from torch import nn

from diascope.explanations.cams import grad_cam, hires_cam, score_cam
from diascope.explanations.layers import default_layer, named_layer
from diascope.explanations.perturbed import STEPS, blurred, integrated_gradients, occlusion

SIDE = 64
NETWORKS = {
    "compact": {},
    "reference_cnn": {},
    "timm:resnet18": {},
    "timm:convnext_atto": {"depths": (1, 2, 2, 1)},
    "timm:vit_tiny_patch16_224": {"depth": 2, "img_size": SIDE},
}
OF_MAPS = [name for name in NETWORKS if "vit" not in name]
TOLERANCE = 1e-5  # of the largest value of a map


class Centred(nn.Module):
    """A network that gives the scores which diascope explains."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logits = self.network(x)
        return logits - logits.mean(dim=1, keepdim=True)


class Target:
    """The score of a class, as pytorch-grad-cam asks for it."""

    def __init__(self, number):
        self.number = number

    def __call__(self, scores):
        return scores[..., self.number]


@cache
def drawn(name):
    """Return a network, a copy for the oracle, two images as its input, and their classes.

    In the copy no ReLU works in place: it would change the maps that the oracle keeps.
    """
    network = draw_network(name, size_px=SIDE, **NETWORKS[name])
    bundle = draw_bundle(network, size_px=SIDE)
    other = Centred(copy.deepcopy(network))
    for module in other.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network, other, bundle.to_input(draw_images(2, SIDE)), torch.tensor([2, 0])


def layer_of(name, network, x):
    if name == "timm:resnet18":  # of as many maps as Score-CAM takes
        return named_layer(network, x, "backbone.layer3")
    return default_layer(network, x)


def kept(kind, other, x, targets, layer):
    """Return the evidence (B, H, W) that a method of pytorch-grad-cam finds, not yet scaled."""
    module = dict(other.network.named_modules())[layer.name]
    method = kind(other, [module], reshape_transform=layer.maps)
    raw = []
    get_cam_image = method.get_cam_image
    with mock.patch.object(
        method, "get_cam_image", lambda *given: raw.append(get_cam_image(*given)) or raw[0]
    ):
        method(x, [Target(int(k)) for k in targets])
    method.activations_and_grads.release()
    return raw[0]


def assert_equal(ours, theirs):
    ours, theirs = (np.asarray(torch.as_tensor(each).detach()) for each in (ours, theirs))
    assert ours.shape == theirs.shape
    largest = np.abs(theirs).max(axis=(1, 2))
    assert (largest > 0).all()
    assert theirs.std(axis=(1, 2)).min() > 0
    apart = np.abs(ours - theirs).max(axis=(1, 2)) / largest
    assert apart.max() < TOLERANCE, apart


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("ours", "theirs"), [(grad_cam, GradCAM), (hires_cam, HiResCAM)])
def test_cams_of_gradients_equal_those_of_pytorch_grad_cam(name, ours, theirs):
    network, other, x, targets = drawn(name)
    layer = layer_of(name, network, x)
    assert_equal(ours(network, x, targets, layer), kept(theirs, other, x, targets, layer))


@pytest.mark.parametrize("name", OF_MAPS)
def test_grad_cam_equals_that_of_captum(name):
    network, other, x, targets = drawn(name)
    layer = layer_of(name, network, x)
    module = dict(other.network.named_modules())[layer.name]
    theirs = LayerGradCam(other, module).attribute(x, target=targets)
    assert_equal(grad_cam(network, x, targets, layer), theirs[:, 0])


@pytest.mark.parametrize("name", NETWORKS)
def test_hires_cam_equals_gradient_times_activation_of_captum(name):
    network, other, x, targets = drawn(name)
    layer = layer_of(name, network, x)
    module = dict(other.network.named_modules())[layer.name]
    theirs = LayerGradientXActivation(other, module).attribute(x, target=targets)
    assert_equal(hires_cam(network, x, targets, layer), layer.maps(theirs).sum(dim=1))


@pytest.mark.parametrize("name", NETWORKS)
def test_score_cam_equals_that_of_pytorch_grad_cam(name):
    network, other, x, targets = drawn(name)
    layer = layer_of(name, network, x)
    unaligned = mock.Mock(side_effect=lambda size: nn.Upsample(size=size, mode="bilinear"))
    with (
        mock.patch.object(torch.nn, "UpsamplingBilinear2d", unaligned),
        mock.patch.object(score_cam_module.tqdm, "tqdm", lambda steps: steps),
    ):
        theirs = kept(ScoreCAM, other, x, targets, layer)
    assert unaligned.called
    assert_equal(score_cam(network, x, targets, layer), theirs)


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_equal_those_of_captum(name):
    network, other, x, targets = drawn(name)
    theirs = IntegratedGradients(other).attribute(
        x, baselines=blurred(x), target=targets, n_steps=STEPS, method="riemann_middle"
    )
    assert_equal(integrated_gradients(network, x, targets), theirs.sum(dim=1))


@pytest.mark.parametrize("name", NETWORKS)
def test_occlusion_equals_that_of_captum(name):
    network, other, x, targets = drawn(name)
    # What a score loses is small beside the score: in single precision rounding would be seen
    network, other, x = copy.deepcopy(network).double(), copy.deepcopy(other).double(), x.double()
    with torch.no_grad():
        theirs = Occlusion(other).attribute(
            x,
            sliding_window_shapes=(3, 8, 8),
            strides=(3, 4, 4),
            baselines=blurred(x),
            target=targets,
            perturbations_per_eval=32,
        )
    assert_equal(occlusion(network, x, targets), theirs[:, 0])
